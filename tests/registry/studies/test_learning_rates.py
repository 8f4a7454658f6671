"""The study `learning-rates`, examined from made-up results of which it is known what must come out."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import idemlab
from idemlab.studies.study import Claim, Findings, Material
from idemlab.sweeps.results import Results, Trial
from idemlab.sweeps.sweep import Sweep
from idemlab_registry.studies import learning_rates
from idemlab_registry.studies.arms import Arm, Outcome, Pair, arms_of, pairs, range_of
from idemlab_registry.studies.paper import HEADLINE, POSTER, RATES
from idemlab_registry.studies.unstated_choices import candidates, distance, nearest

STUDY = learning_rates.study()
Law = Callable[[str, Mapping[str, Any], int], float | None]
"""(name of the sweep, settings, seed) -> final error, or None where the trial diverges."""


def trial(folder: Path, number: int, values: dict[str, Any], seed: int, error: float | None, **figures: float) -> Trial:
    """A trial with curves that fall to its final error; without one it diverges half-way."""
    path = folder / f"trial-{number}"
    path.mkdir(parents=True, exist_ok=True)
    last = 50 if error is None else 100
    entries = [
        {"step": s, "split": "train", "idempotence": 0.1 if error is None else 0.1 + (error - 0.1) * s / 100}
        for s in range(25, last + 1, 25)
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    measured = {"absolute": error or 0.0, "relative": 1.0, "rank": 0.0} | figures
    return Trial(
        number=number,
        values=values,
        seed=seed,
        state="failed" if error is None else "complete",
        error="the loss is not finite at step 51 of 100" if error is None else "",
        verdict="" if error is None else "genuine" if measured["relative"] < 0.1 else "constant",
        metrics={} if error is None else {f"noise/{name}": value for name, value in measured.items()},
        steps=last,
        flops=None,
        seconds=None,
        path=path,
    )


def results_of(name: str, sweep: Sweep, law: Law, folder: Path, **figures: float) -> Results:
    trials = []
    for number, (values, seed) in enumerate(
        itertools.product(itertools.product(*sweep.over.values()), range(sweep.seeds))
    ):
        own = dict(zip(sweep.over, values, strict=True))
        error = law(name, {**sweep.set, **own}, seed)
        trials.append(trial(folder / name, number, own, seed, error, **figures))
    return Results(tuple(trials), tuple(sweep.over), folder / name)


def power_law(name: str, settings: Mapping[str, Any], seed: int) -> float | None:
    """Errors fall with the rate; the cubic iteration with `unit` is 20 times better, with another constant as good. Under
    controls it is twice as bad."""
    rate = settings["optimizer.lr"]
    error = 0.1 / (1 + 100 * min(rate, 1.0)) * (1 + 0.1 * seed)
    if name.startswith("control"):
        return error * 2 if name.endswith("cubic") else error
    if name.endswith("cubic") and settings.get("enforcer.cotangent", "unit") == "unit":
        return None if rate > 1.3 else error / 20
    return error


def examined(
    folder: Path, law: Law = power_law, quick: bool = False, names: list[str] | None = None, draw: bool = False
) -> Findings:
    sweeps = STUDY.quick if quick else STUDY.sweeps
    chosen = {name: sweep for name, sweep in sweeps.items() if names is None or name in names}
    results = {name: results_of(name, sweep, law, folder) for name, sweep in chosen.items()}
    with nullcontext() if draw else mock.patch.object(learning_rates, "figures"):
        return learning_rates.examine(Material(results, quick, lambda text: None))


def about(findings: Findings, words: str) -> Claim:
    (claim,) = [claim for claim in findings.claims if words in claim.claim]
    return claim


def drawn(findings: Findings) -> None:
    """Draw all figures without fitting them to their frames, which would double the time."""
    for figure in findings.figures.values():
        figure.set_layout_engine("none")
        figure.draw_without_rendering()
        assert figure.axes


PAPER = ["paper-gradient", "paper-cubic"]
CONTROL = ["control-adam-gradient", "control-adam-cubic"]


@pytest.mark.parametrize("quick", [False, True])
def test_every_sweep_resolves(quick: bool) -> None:
    sweeps = STUDY.quick if quick else STUDY.sweeps
    assert len(sweeps) >= 4
    for sweep in sweeps.values():
        first = {key: values[-1] for key, values in sweep.over.items()} | dict(sweep.set)
        overrides = [f"{key}={_toml(value)}" for key, value in first.items()]
        experiment = idemlab.resolve(sweep.experiment, overrides)
        assert experiment.optimizer.lr == first["optimizer.lr"]


def _toml(value: Any) -> str:
    return json.dumps(value)


def test_the_paper_is_run_at_its_rates() -> None:
    for name in PAPER:
        assert tuple(STUDY.sweeps[name].over["optimizer.lr"]) == RATES
        assert STUDY.sweeps[name].seeds == 5


def test_each_sweep_has_its_counterpart() -> None:
    for sweeps in (STUDY.sweeps, STUDY.quick):
        groups = {name.rpartition("-")[0] for name in sweeps}
        assert set(sweeps) == {f"{group}-{method}" for group in groups for method in ("gradient", "cubic")}
    for name, sweep in STUDY.sweeps.items():
        assert dict(sweep.set).get("enforcer.name", "cubic") == name.rpartition("-")[2]


def test_a_gain_that_controls_take_away(tmp_path: Path) -> None:
    findings = examined(tmp_path, names=PAPER + CONTROL)
    milder = about(findings, "(configuration B2)")
    assert milder.holds
    assert "unit" in milder.conclusion
    assert "matched" not in milder.conclusion
    assert "5.2x" in milder.paper
    assert not about(findings, "(configuration B3)").holds  # 39 times is more than 20
    headline = about(findings, "More than ten times")
    assert headline.holds is False
    assert headline.ours.startswith("4 of 8 comparisons")
    assert headline.controlled.startswith("0 of 4 comparisons")
    adam = about(findings, "lower absolute error: Adam")
    assert adam.holds is False
    assert "worse on every seed in 4" in adam.conclusion
    constant = about(findings, "not the constant's")
    assert constant.holds is False
    assert "unit: 20x" in constant.ours
    assert "matched: 1x" in constant.ours


def test_a_gain_that_survives(tmp_path: Path) -> None:
    def law(name: str, settings: Mapping[str, Any], seed: int) -> float:
        error = 0.1 / (1 + settings["optimizer.lr"])
        return error / 50 if name.endswith("cubic") else error

    findings = examined(tmp_path, law, names=PAPER + CONTROL)
    for words in ("(configuration B2)", "(configuration B3)", "More than ten", "not the constant's", "Adam"):
        assert about(findings, words).holds is True, words


def test_an_untuned_baseline_is_told(tmp_path: Path) -> None:
    names = [*PAPER, "control-rates-gradient", "control-rates-cubic"]

    def law(name: str, settings: Mapping[str, Any], seed: int) -> float | None:
        rate = settings["optimizer.lr"]
        return None if rate > 20 else 0.1 / (1 + rate)

    tuned = about(examined(tmp_path / "edge", law, names=names), "at its best learning rate")
    assert tuned.holds is False
    assert "4 of 4 configurations" in tuned.ours
    assert f"{(1 + 16) / (1 + 1.42):.3g}x" in tuned.controlled

    def optimum(name: str, settings: Mapping[str, Any], seed: int) -> float:
        return 0.01 + abs(settings["optimizer.lr"] - 0.22)

    assert about(examined(tmp_path / "inside", optimum, names=names), "at its best learning rate").holds is True


def test_collapse_is_told_beside_the_error(tmp_path: Path) -> None:
    findings = examined(tmp_path, names=PAPER)
    genuine = about(findings, "the network projects")
    assert genuine.holds is False
    assert "0 of" in genuine.conclusion
    assert "constant" in genuine.conclusion
    assert {"gradient: relative", "cubic: relative", "gradient: verdicts", "cubic: rank"} <= set(
        findings.tables["best"].columns
    )


@pytest.mark.long
def test_every_figure_and_table_has_a_caption(tmp_path: Path) -> None:
    findings = examined(tmp_path, quick=True, draw=True)
    assert {"final-error", "epochs-32x2", "epochs-32x4", "search", "ratios"} <= set(findings.figures)
    assert {"best", "search", "controls"} <= set(findings.tables)
    for name in (*findings.figures, *findings.tables):
        assert findings.captions[name]
    drawn(findings)


@pytest.mark.long
def test_all_sweeps_together(tmp_path: Path) -> None:
    findings = examined(tmp_path)
    assert [name for name in findings.figures if name.startswith("final")] == ["final-error", "final-error-2"]
    assert "gradient: distance" not in findings.tables["best"]
    compared = set(findings.tables["controls"]["comparison"])
    assert compared == {"SGD, the paper's rates", *learning_rates.CONTROLS.values()}
    assert about(findings, "lower relative error: Adam, torus").ours


@pytest.mark.long
@pytest.mark.parametrize("names", [[], ["paper-gradient"], CONTROL], ids=str)
def test_parts_of_the_sweeps_are_enough(names: list[str], tmp_path: Path) -> None:
    findings = examined(tmp_path, names=names, draw=True)
    assert findings.text
    assert not any("(configuration" in claim.claim for claim in findings.claims)


@pytest.mark.long
def test_all_trials_diverged(tmp_path: Path) -> None:
    findings = examined(tmp_path, lambda name, settings, seed: None, quick=True, draw=True)
    assert "0 complete" in findings.text
    assert findings.tables["best"]["gradient: verdicts"].tolist() == ["no rate without divergence"] * 4
    drawn(findings)


# -- arms -----------------------------------------------------------------------------------------------------------------


def arm(errors: Mapping[float, list[float | None]], folder: Path, method: str = "gradient", **figures: float) -> Arm:
    outcomes = [
        Outcome.of(trial(folder, number, {"optimizer.lr": rate}, seed, error, **figures))
        for rate, own in errors.items()
        for number, (seed, error) in enumerate(enumerate(own))
    ]
    return Arm("paper", "32 x 2", method, "" if method == "gradient" else "unit", outcomes)


def test_the_best_rate_counts_divergence_as_an_infinite_error(tmp_path: Path) -> None:
    one = arm({0.1: [3.0, 3.0, 3.0], 1.0: [1.0, 5.0, 2.0], 10.0: [0.1, None, None], 20.0: [None] * 3}, tmp_path)
    assert one.best() == 1.0
    assert one.best(among=[0.1, 10.0]) == 0.1
    assert one.best(among=[20.0]) is None
    assert math.isinf(one.median("absolute", 10.0))
    assert one.verdicts(10.0) == "2 diverged, 1 constant"
    assert arm({1.0: [0.1, None]}, tmp_path).best() is None  # half of the seeds are not most of them


def test_a_complete_trial_with_an_error_that_is_not_finite_counts_as_diverged(tmp_path: Path) -> None:
    outcome = Outcome.of(trial(tmp_path, 0, {"optimizer.lr": 1.0}, 0, math.nan))
    assert outcome.failed
    assert outcome.verdict == ""


def test_ratios_are_taken_seed_by_seed(tmp_path: Path) -> None:
    gradient = arm({0.1: [8.0, 6.0, 9.0], 1.0: [4.0, 6.0, 5.0]}, tmp_path / "g")
    cubic = arm({0.1: [1.0, 2.0, None], 1.0: [None, None, None]}, tmp_path / "c", "cubic")
    pair = Pair(gradient, cubic)
    assert pair.rates == (1.0, 0.1)
    assert pair.ratios() == [4.0, 3.0]
    assert pair.ratio == 3.5
    assert Pair(gradient, cubic, among=(0.1,)).ratios() == [8.0, 3.0]
    assert math.isnan(Pair(gradient, cubic, among=(1.0,)).ratio)


def test_an_error_of_zero_makes_an_infinite_ratio(tmp_path: Path) -> None:
    gradient, cubic = arm({1.0: [1.0, 0.0]}, tmp_path / "g"), arm({1.0: [0.0, 0.0]}, tmp_path / "c", "cubic")
    assert Pair(gradient, cubic).ratios() == [math.inf, 1.0]


@pytest.mark.parametrize(
    ("settings", "constant"),
    [
        ({}, "unit"),
        ({"enforcer.cotangent": "matched"}, "matched"),
        ({"enforcer.weight": 64.0}, "sum"),
        ({"enforcer.weight": 8.0}, "8 unit"),
    ],
)
def test_the_constant_is_named(settings: dict[str, Any], constant: str, tmp_path: Path) -> None:
    sweep = Sweep(experiment="noise-mlp", set=settings | {"model.width": 32}, over={"optimizer.lr": [1.0]})
    results = {"paper-cubic": results_of("paper-cubic", sweep, lambda *_: 0.1, tmp_path)}
    (one,) = arms_of(results, {"paper-cubic": sweep})
    assert (one.constant, one.configuration, one.group) == (constant, "32 x 2", "paper")
    assert pairs([one]) == []


def test_configurations_are_named_by_what_differs(tmp_path: Path) -> None:
    for experiment, settings, name in [
        ("noise-conv", {}, "conv 8 x 2"),
        ("noise-mlp", {"model.activation": "tanh", "dataset.shape": [64], "model.depth": 6}, "32 x 6, tanh, d = 64"),
    ]:
        sweep = Sweep(experiment=experiment, set=settings, over={"optimizer.lr": [1.0]})
        results = {"paper-gradient": results_of("paper-gradient", sweep, lambda *_: 0.1, tmp_path / name)}
        assert arms_of(results, {"paper-gradient": sweep})[0].configuration == name


def test_ranges_in_words() -> None:
    assert range_of([]) == "none"
    assert range_of([2.0], "x") == "2x"
    assert range_of([1.0, 4.0, 2.0], "x") == "2x (1 to 4)"


# -- the poster -----------------------------------------------------------------------------------------------------------


def poster_pair(folder: Path, index: int, factor: float = 1.0) -> Pair:
    """Errors as on the poster, the gradient's times a factor."""
    poster = POSTER[index]
    gradient = {RATES[0]: [poster.start]} | {rate: [error * factor] for rate, error in poster.gradient.items()}
    return Pair(arm(gradient, folder / "g"), arm({r: [e] for r, e in poster.cubic.items()}, folder / "c", "cubic"))


def test_the_poster() -> None:
    assert [round(poster.ratio, 1) for poster in POSTER] == [5.2, 38.8]
    assert HEADLINE == 10


def test_distance_from_the_poster_is_in_decades(tmp_path: Path) -> None:
    assert distance(poster_pair(tmp_path / "0", 0), POSTER[0]) == pytest.approx(0)
    assert distance(poster_pair(tmp_path / "1", 0, 10**0.5), POSTER[0]) == pytest.approx(0.5 * 4 / 9)
    assert distance(poster_pair(tmp_path / "2", 0, 1e4), POSTER[0]) == pytest.approx(4 / 9)  # a decade each at most
    one = poster_pair(tmp_path / "3", 0)
    without_rate = Pair(Arm(*_key(one.gradient), one.gradient.outcomes[:-1]), one.cubic)
    assert math.isinf(distance(without_rate, POSTER[0]))


def _key(one: Arm) -> tuple[str, str, str, str]:
    return one.group, one.configuration, one.method, one.constant


def test_the_nearest_is_found(tmp_path: Path) -> None:
    found = [poster_pair(tmp_path / "0", 0), poster_pair(tmp_path / "1", 1)]
    assert [(poster.name, found.index(pair)) for poster, pair in nearest(found)] == [("B2", 0), ("B3", 1)]
    table = candidates(found)
    assert table["decades from B2"].tolist() == sorted(table["decades from B2"])
    assert table["ratio"].tolist() == pytest.approx([5.2, 1.9e-2 / 4.9e-4])
    assert nearest([]) == []
    assert candidates([]).empty


def test_a_collapse_never_wins_by_its_relative_error() -> None:
    """A constant has the relative error 0, and is worse than any projection; two of them say nothing."""

    def outcome(seed: int, relative: float, verdict: str) -> Outcome:
        trial: Any = None
        return Outcome(seed, 0.1, 1e-3, relative, 0.0, math.nan, verdict, trial)

    gradient = [outcome(0, 0.02, "genuine"), outcome(1, 0.02, "constant"), outcome(2, 0.0, "identity")]
    cubic = [outcome(0, 0.0, "constant"), outcome(1, 0.01, "genuine"), outcome(2, 0.0, "constant")]
    arms = Arm("g", "c", "gradient", "", gradient), Arm("g", "c", "cubic", "unit", cubic)
    assert Pair(*arms, figure="projecting").ratios() == [0.0, math.inf]
