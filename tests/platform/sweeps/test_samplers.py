"""Samplers and pruners: what is chosen, what wins, what is given up; and that all of it can be had again."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest
import tomli_w

from idemlab import BadInput, Results, Sweep, Trial, open_sweep, run_sweep, sweep_status
from idemlab.certificate.goal import Goal
from idemlab.errors import Interrupted
from idemlab.reports.style import png
from idemlab.sweeps.ledger import Ledger
from idemlab.sweeps.pictures import sweep_figure
from idemlab.sweeps.samplers import Tried, known_settings, propose

Make = Callable[..., dict[str, Any]]
RATES = {"optimizer.lr": "log:1e-5:1"}


@pytest.fixture
def file(tiny: Make, tmp_path: Path) -> str:
    path = tmp_path / "tiny.toml"
    path.write_text(tomli_w.dumps(tiny()))
    return str(path)


# -- what is judged -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", ["constant", "identity"])
@pytest.mark.parametrize("goal", [Goal(), Goal("noise/absolute"), Goal("rank", maximize=True)])
def test_a_collapse_never_wins(verdict: str, goal: Goal) -> None:
    """A constant map has no idempotence error, and the identity full rank: neither is what is looked for."""
    collapsed = {"noise/relative": 0.0, "noise/absolute": 0.0, "noise/rank": 9.0}
    honest = {"noise/relative": 0.9, "noise/absolute": 5.0, "noise/rank": 1.0}
    assert goal.better(goal.of_run(honest, "not idempotent"), goal.of_run(collapsed, verdict))
    assert goal.better(goal.of_run(collapsed, "genuine"), goal.of_run(honest, "not idempotent"))


@pytest.mark.parametrize("goal", [Goal(), Goal("noise/absolute"), Goal("rank", maximize=True)])
def test_shrinking_cannot_win(goal: Goal) -> None:
    """A narrow operator can be genuine, but its small errors, and any figure at those inputs, are not compared."""
    narrow = {"noise/relative": 0.0, "noise/absolute": 0.0, "noise/rank": 9.0, "noise/input_spread": 1.0}
    honest = {
        "noise/relative": 0.9,
        "noise/absolute": 5.0,
        "noise/rank": 1.0,
        "noise/input_spread": 1.0,
        "noise/spread": 0.05,
    }
    assert goal.better(goal.of_run(honest, "genuine"), goal.of_run(narrow | {"noise/spread": 0.049}, "genuine"))
    assert goal.better(goal.of_run(narrow | {"noise/spread": 0.05}, "genuine"), goal.of_run(honest, "genuine"))
    wide = Goal(goal.metric, goal.maximize, minimum_spread=0.0)
    assert wide.better(wide.of_run(narrow | {"noise/spread": 0.049}, "genuine"), wide.of_run(honest, "genuine"))


def test_a_figure_alone_is_its_worst_over_the_inputs() -> None:
    figures = {"data/relative": 0.1, "noise/relative": 0.4, "noise/absolute": 7.0}
    assert Goal().of_run(figures, "genuine") == 0.4
    assert Goal(maximize=True).of_run(figures, "genuine") == 0.1
    assert Goal("data/relative").of_run(figures, "genuine") == 0.1
    assert Goal().of_run({"data/relative": None}, "") == math.inf
    assert Goal().of_run({"data/relative": math.nan, "noise/relative": 0.0}, "") == math.inf
    assert Goal("readable", maximize=True).of_run(figures, "genuine") == -math.inf


def trial(number: int, rate: float, seed: int, error: float, state: str = "complete") -> Trial:
    figures: dict[str, float | None] = {"data/relative": error}
    took: dict[str, Any] = {"steps": 1, "flops": 1.0, "seconds": 1.0}
    own: dict[str, Any] = {"values": {"optimizer.lr": rate}, "seed": seed, "state": state, "error": ""}
    return Trial(number=number, verdict="genuine", metrics=figures, path=Path(str(number)), **own, **took)


def test_the_best_is_that_of_the_median() -> None:
    """One lucky seed does not decide, nor does a run that was given up; a setting that lacks seeds is not compared."""
    lucky, steady, begun = [0.01, 0.9, 0.8], [0.3, 0.4, 0.35], [0.001]
    told = [
        (rate, seed, error) for rate, errors in enumerate((lucky, steady, begun)) for seed, error in enumerate(errors)
    ]
    trials = [trial(i, float(rate), seed, error) for i, (rate, seed, error) in enumerate(told)]
    best = Results(tuple(trials), ("optimizer.lr",), Path()).best
    assert best is not None
    assert (best.values, best.value, len(best.trials)) == ({"optimizer.lr": 1.0}, 0.35, 3)
    given_up = [trial(0, 0.0, 0, 0.1, "pruned"), trial(1, 1.0, 0, 0.2)]
    results = Results(tuple(given_up), ("optimizer.lr",), Path())
    assert results.best is not None
    assert results.best.values == {"optimizer.lr": 1.0}
    ranges = results.ranges()
    assert ranges["pruned"].tolist() == [1, 0]
    assert math.isnan(ranges["data/relative"][0])
    assert Results(tuple(given_up[:1]), ("optimizer.lr",), Path()).best is None


# -- what is chosen -----------------------------------------------------------------------------------------------------


def test_random_points_are_the_same_everywhere_and_inside() -> None:
    over = RATES | {"model.depth": "int:1:3", "enforcer.step": "uniform:0:1", "enforcer": [{"name": "cubic"}, "ign"]}
    plan = Sweep(experiment="mlp-cubic", over=over, sampler="random", trials=40, seeds=2)
    settings = known_settings(plan)
    assert settings == known_settings(plan)
    assert len({setting.key for setting in settings}) == 80
    values = [setting.values for setting in settings[::2]]
    assert values == [setting.values for setting in settings[1::2]]
    rates = sorted(math.log10(value["optimizer.lr"]) for value in values)
    assert -5 <= rates[0] < -4
    assert -1 < rates[-1] <= 0
    assert sum(rate < -2.5 for rate in rates) in range(10, 31)  # of 40, uniform in the logarithm
    assert {value["model.depth"] for value in values} == {1, 2, 3}
    assert all(0 <= value["enforcer.step"] <= 1 for value in values)
    assert len({str(value["enforcer"]) for value in values}) == 2
    fewer = Sweep(experiment="mlp-cubic", over=over, sampler="random", trials=10, seeds=2)
    assert known_settings(fewer) == settings[:20]


def test_halton_spreads_few_settings_evenly_and_alike_for_keys_in_common() -> None:
    over = {
        "optimizer.lr": "log:1e-8:1",
        "enforcer.step": "uniform:0:9",
        "model.depth": "int:1:5",
        "enforcer": ["cubic", "ign"],
    }
    plan = Sweep(experiment="mlp-cubic", over=over, sampler="halton", trials=7, seeds=2)
    settings = known_settings(plan)
    values = [setting.values for setting in settings[::2]]
    assert values == [setting.values for setting in settings[1::2]]
    rates = [value["optimizer.lr"] for value in values]
    assert rates == pytest.approx(
        [1e-4, 1e-6, 1e-2, 1e-7, 1e-3, 1e-5, 1e-1], rel=1e-5
    )  # base 2: 1/2, 1/4, 3/4, 1/8, ...
    assert [value["enforcer.step"] for value in values] == pytest.approx([3, 6, 1, 4, 7, 2, 5])  # base 3: 1/3, 2/3, 1/9
    assert [value["model.depth"] for value in values] == [2, 3, 4, 5, 1, 2, 3]  # base 5
    assert {value["enforcer"] for value in values[:4]} == {
        "cubic",
        "ign",
    }  # base 7, scrambled: not the first half alone
    alone = Sweep(experiment="mlp-cubic", over={"optimizer.lr": over["optimizer.lr"]}, sampler="halton", trials=3)
    assert [setting.values["optimizer.lr"] for setting in known_settings(alone)] == rates[:3]


@pytest.mark.long
def test_tpe_goes_where_it_was_good_and_is_a_function_of_what_was_before() -> None:
    plan = Sweep(experiment="mlp-cubic", over=RATES | {"x": ["a", "b"]}, sampler="tpe", trials=60)
    history: list[Tried] = []
    for index in range(60):
        values = propose(plan, index, history)
        assert values == propose(plan, index, list(history))
        distance = abs(math.log10(values["optimizer.lr"]) + 2)
        worth = math.inf if distance > 1.5 else distance + (values["x"] == "a")  # what diverges is worth nothing
        history.append(Tried(values, worth))
    late = [tried for tried in history[30:] if abs(math.log10(tried.values["optimizer.lr"]) + 2) < 0.5]
    assert len(late) >= 12  # twice what chance gives of 30
    assert sum(tried.values["x"] == "b" for tried in history[30:]) >= 20


def test_points_that_are_not_done_keep_others_away() -> None:
    plan = Sweep(experiment="mlp-cubic", over=RATES, sampler="tpe", trials=60)
    done = [Tried({"optimizer.lr": 10 ** (-4 + 0.2 * i)}, abs(-4 + 0.2 * i + 2)) for i in range(20)]
    running = [Tried({"optimizer.lr": 10 ** (-2 + 0.01 * i)}, None) for i in range(-20, 20)]

    def near(history: list[Tried]) -> int:
        return sum(0.005 < propose(plan, i, history)["optimizer.lr"] < 0.02 for i in range(60, 100))

    assert near(done + running) < near(done)


# -- sweeps that choose -------------------------------------------------------------------------------------------------


@pytest.fixture
def plan(file: str) -> Sweep:
    over = RATES | {"enforcer.name": ["gradient", "cubic"]}
    return Sweep(experiment=file, over=over, sampler="tpe", trials=12, seeds=2, set={"training.steps": 6})


def rows(results: Results) -> list[Any]:
    return [(trial.values, trial.seed, trial.metrics) for trial in results.trials]


@pytest.mark.long
def test_a_tpe_sweep_is_the_same_again_however_often_it_is_stopped(plan: Sweep, tmp_path: Path) -> None:
    whole = run_sweep(plan, tmp_path / "whole")
    assert len(whole.trials) == 24
    assert len({trial.values["optimizer.lr"] for trial in whole.trials}) == 12
    for stop in ("5/24", "16/24"):

        def say(text: str, stop: str = stop) -> None:
            if text.startswith(f"{stop}  "):
                raise Interrupted("stop")

        with pytest.raises(Interrupted):
            run_sweep(plan, tmp_path / "stopped", resume=stop != "5/24", say=say)
    stopped = run_sweep(plan, tmp_path / "stopped", resume=True)
    assert sorted(map(str, rows(stopped))) == sorted(map(str, rows(whole)))
    assert stopped.best is not None
    assert whole.best is not None
    assert stopped.best.values == whole.best.values
    more = Sweep(**(plan.table() | {"trials": 13, "seeds": 3}))
    grown = run_sweep(more, tmp_path / "whole", resume=True)
    assert len(grown.trials) == 39
    assert [row for row in rows(grown) if row in rows(whole)] == rows(whole)
    assert pandas.read_csv(tmp_path / "whole/ranges.csv")["trials"].tolist() == [3] * 13


@pytest.mark.long
def test_what_a_sampler_chose_is_drawn(plan: Sweep, tmp_path: Path) -> None:
    small = Sweep(**(plan.table() | {"trials": 8, "seeds": 1, "sampler": "random"}))
    results = run_sweep(small, tmp_path / "sweep")
    figure = sweep_figure(results)
    assert figure is not None
    assert [axes.get_xlabel() for axes in figure.axes] == ["optimizer.lr (log scale)", "enforcer.name"]
    assert png(figure)[:4] == b"\x89PNG"
    drawn = sum(len(line.get_xdata()) for line in figure.axes[0].lines)
    assert drawn == 8 + (results.best is not None)
    for changes in ({"sampler": "tpe"}, {"metric": "data/relative"}, {"maximize": True}, {"pruner": "median"}):
        (key,) = changes
        with pytest.raises(BadInput, match=f"the sweep differs from the one in .*{key}"):
            run_sweep(Sweep(**(small.table() | changes)), tmp_path / "sweep", resume=True)


def test_what_the_sampler_chose_and_does_not_fit_fails_alone(file: str, tmp_path: Path) -> None:
    """The ends fit; what lies between is found out when it is chosen."""
    over = {"model": [{"name": "mlp"}, {"name": "dcgan"}]}
    plan = Sweep(experiment=file, over=over, sampler="tpe", trials=6, set={"training.steps": 4})
    results = run_sweep(plan, tmp_path / "sweep")
    states = {(trial.values["model"]["name"], trial.state) for trial in results.trials}
    assert states == {("mlp", "complete"), ("dcgan", "failed")}
    assert len(open_sweep(tmp_path / "sweep").trials) == 6


def test_long_lists_of_lines_say_what_is_left_out() -> None:
    made = [trial(i, 0.1 * (i % 2 + 1), 0, 0.5) for i in range(40)]
    for each in made:
        long = {"name": "cubic", "weight": each.number // 2, "note": f"{each.number // 2} " + "a long story " * 9}
        each.values["enforcer"] = long | {"alike": "in all of them"}
    figure = sweep_figure(Results(tuple(made), ("optimizer.lr", "enforcer"), Path()))
    assert figure is not None
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[14] == "6 more are in the table, not drawn"
    assert max(map(len, labels)) <= 60
    assert sum(label.count(" … ") for label in labels) == 14
    assert len(set(labels[:14])) == 14
    assert not [label for label in labels if "alike" in label]
    given_up = [trial(i, 0.1 * i, 0, 0.5, "pruned") for i in range(3)]
    assert sweep_figure(Results(tuple(given_up), ("optimizer.lr",), Path())) is None


# -- pruning ------------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(
    ("pruner", "jobs"), [("median", 1), ("halving", 1), pytest.param("median", 2, marks=pytest.mark.slow)]
)
def test_what_is_worse_than_others_is_given_up(tiny: Make, tmp_path: Path, pruner: str, jobs: int) -> None:
    """Rates that learn nothing come last: their reconstruction stays what it was."""
    file = tmp_path / "tiny.toml"
    table = tiny(training={"steps": 32, "batch_size": 16}, reconstruction={"weight": 1.0})
    table["evaluation"] |= {"every": 4, "rank_points": 0}
    file.write_text(tomli_w.dumps(table))
    rates = [3e-2, 4e-2, 5e-2, 6e-2, 7e-2, 2e-2, 1e-7, 2e-7]
    plan = Sweep(experiment=str(file), over={"optimizer.lr": rates}, pruner=pruner, metric="data/spread", maximize=True)
    results = run_sweep(plan, tmp_path / "sweep", jobs=jobs)
    states = {trial.values["optimizer.lr"]: trial.state for trial in results.trials}
    assert set(states) == set(rates)
    assert "pruned" in (states[1e-7], states[2e-7])
    pruned = [trial for trial in results.trials if trial.state == "pruned"]
    for given_up in pruned:
        assert given_up.steps is not None
        assert 4 <= given_up.steps < 32
        assert given_up.metrics["data/relative"] is not None
        assert not given_up.run.certificate
        assert not given_up.run.checkpoints.exists()
    table = pandas.read_csv(tmp_path / "sweep/table.csv")
    assert (table["state"] == "pruned").sum() == len(pruned)
    assert sweep_status(tmp_path / "sweep").counts["pruned"] == len(pruned)
    said: list[str] = []
    run_sweep(plan, tmp_path / "sweep", resume=True, retry=True, say=said.append)
    assert said == ["trials: 8, 8 of them done before"]


# -- mistakes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "what", "told"),
    [
        ({"sampler": "tpee"}, "there is no sampler 'tpee'", "tpe"),
        ({"pruner": "medain"}, "there is no pruner 'medain'", "median"),
        ({"sampler": "tpe"}, "sampler 'tpe' needs a number of settings", "`trials = N`"),
        ({"sampler": "tpe", "trials": 0}, "0 trials", "`trials = N`"),
        (
            {"sampler": "random", "trials": 9, "over": {}},
            "sampler 'random' has nothing to choose",
            "a key with log",
        ),
        ({"trials": 5}, "a grid has as many trials as it has combinations", "`sampler = random`"),
        ({"over": {"optimizer.lr": "uniform:0:1"}}, "infinitely many values, and a grid tries", "`halton` or `tpe`"),
        ({"over": {"model.depth": "int:1:3"}}, "infinitely many values, and a grid tries", "`halton` or `tpe`"),
        ({"sampler": "tpe", "trials": 5, "over": {"optimizer.lr": "lin:0:1:3"}}, "is a list of values", "uniform:0:1"),
        ({"sampler": "tpe", "trials": 5, "over": {"optimizer.lr": "log:1:9:3"}}, "is a list of values", "log:1:9"),
        ({"sampler": "tpe", "trials": 5, "over": {"model.depth": "int:1:2.5"}}, "is not a range", "whole numbers"),
        ({"sampler": "tpe", "trials": 5, "over": {"model.depth": "int:3:1"}}, "is not a range", "LOW < HIGH"),
        ({"sampler": "tpe", "trials": 5, "over": {"optimizer.lr": "log:0:1"}}, "is not a range", "LOW > 0"),
        ({"sampler": "tpe", "trials": 5, "over": {"optimizer.lr": "log:1"}}, "is not a range", "log:LOW:HIGH"),
        (
            {"sampler": "tpe", "trials": 5, "over": {"training.seed": "int:1:3"}},
            "the seed cannot be varied",
            "`seeds = N`",
        ),
        ({"sampler": "tpe", "trials": 5, "over": {"model.depth": "uniform:1:3"}}, "depth", "integer"),
        ({"sampler": "random", "trials": 5, "over": {"optimizer.lr": "uniform:-2:-1"}}, "lr", "greater"),
        ({"metric": "noise/relativ"}, "no evaluation measures 'noise/relativ'", "noise/relative"),
        ({"metric": "nois/relative"}, "no evaluation measures 'nois/relative'", "noise/relative"),
        ({"metric": "reconstruction-error"}, "no evaluation measures", "reconstruction_error"),
    ],
)
def test_mistakes_are_told_before_anything_runs(
    file: str, tmp_path: Path, changes: dict[str, Any], what: str, told: str
) -> None:
    plan = Sweep(**({"experiment": file, "over": {"optimizer.lr": [1e-3, 1e-2]}} | changes))
    with pytest.raises(BadInput) as caught:
        run_sweep(plan, tmp_path / "sweep")
    assert what in caught.value.what
    assert told in str(caught.value)
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize("metric", ["noise/rank", "reconstruction_error"])
def test_whatever_is_measured_can_be_judged(file: str, tmp_path: Path, metric: str) -> None:
    over = {"optimizer.lr": [1e-2]}
    results = run_sweep(Sweep(experiment=file, over=over, metric=metric, set={"training.steps": 2}), tmp_path / "sweep")
    assert results.goal.metric == metric
    assert any(metric in (name, name.partition("/")[2]) for name in results.metrics)


def test_the_journal_has_what_the_tools_of_optuna_show(plan: Sweep, tmp_path: Path) -> None:
    small = Sweep(**(plan.table() | {"trials": 2, "seeds": 1}))
    results = run_sweep(small, tmp_path / "sweep")
    for frozen, trial in zip(Ledger(tmp_path / "sweep").trials(), results.trials, strict=True):
        assert frozen.params == trial.values | {"seed": 0}
        assert frozen.value == results.worth(trial)
