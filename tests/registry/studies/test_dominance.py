"""The study `dominance`: what its claims conclude from given trials, and that its settings are those that were chosen."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from idemlab import Sweep
from idemlab.studies.study import Material
from idemlab.sweeps.results import Results, Trial
from idemlab_registry.studies import dominance


def trial(error: float, *, verdict: str = "genuine", rank: float = 2.0, off: float = 0.1, **values: float) -> Trial:
    metrics: dict[str, float | None] = dict.fromkeys(dominance.ERRORS, error)
    metrics |= dict.fromkeys(dominance.QUALITY, off) | {"data/rank": rank, "noise/spread": 0.3}
    return Trial(
        number=0, values=values, seed=0, state="complete", error="", verdict=verdict, metrics=metrics, steps=1,
        flops=1.0, seconds=1.0, path=Path("run"),
    )  # fmt: skip


def claims(**finals: list[Trial]) -> list[bool | None]:
    results = {f"torus-final-{n.replace('_', '-')}": Results(tuple(t), (), Path("sweep")) for n, t in finals.items()}
    found = dominance.examine(Material(results, True, lambda line: None)).claims
    return [claim.holds for claim in found]


def test_a_collapse_has_no_score() -> None:
    assert dominance.score(trial(0.1, off=0.1)) == pytest.approx(0.1)
    assert dominance.score(trial(0.1, off=0.2)) > 0.1
    assert dominance.score(trial(0.1, verdict="constant")) == math.inf


@pytest.mark.parametrize(
    ("relative", "expected"),
    [
        ([trial(0.01), trial(0.011), trial(0.02)], [True, True, True]),
        ([trial(0.04), trial(0.05), trial(0.06)], [False, True, True]),
        ([trial(0.01), trial(0.01), trial(0.2)], [True, False, True]),
        ([trial(0.01, rank=4.0)] * 3, [True, True, False]),
        ([trial(0.01, off=0.2)] * 3, [True, True, False]),
    ],
)
def test_the_goal_is_three_times_everywhere_at_no_cost(relative: list[Trial], expected: list[bool]) -> None:
    assert claims(gradient=[trial(0.1)] * 3, relative=relative) == expected


@pytest.mark.parametrize("others", [[trial(0.1)] * 3, [replace(trial(0.1), state="failed")] * 3, [trial(0.0)] * 3])
def test_claims_are_open_where_trials_failed(others: list[Trial]) -> None:
    failed = [replace(trial(0.1), state="failed")] * 2 + [trial(0.1)]
    assert claims(gradient=others, relative=failed, relative_cold=others) == [None] * 4
    assert claims(gradient=others, relative=[trial(0.0)] * 3)[:2] == [None] * 2


def test_the_construction_has_to_be_ten_times_better() -> None:
    assert claims(gradient=[trial(0.1)] * 3, section=[trial(0.009)] * 3) == [True, True, True]
    assert claims(gradient=[trial(0.1)] * 3, section=[trial(0.02)] * 3) == [False, True, True]


def test_an_ingredient_is_needed_where_errors_rise_without_it() -> None:
    assert claims(relative=[trial(0.01)], relative_cold=[trial(0.02)], relative_noise=[trial(0.009)]) == [True, False]
    assert claims(mixed=[trial(0.01)], mixed_root=[trial(0.02)], relative_cold=[trial(0.009)]) == [True]


@pytest.mark.parametrize(("error", "agree"), [(0.1, True), (0.3, False)])
def test_the_settings_of_the_finals_are_those_that_the_trials_chose(error: float, agree: bool) -> None:
    loss = {"enforcer": {"name": "gradient", "weight": 30.0}, "optimizer.lr": 5e-3}
    over = {"optimizer.lr": [5e-3, 2e-2], "enforcer.weight": [3.0, 30.0]}
    sweeps = {
        "torus-gradient-muon": Sweep(experiment="torus-relative", set={"enforcer": loss["enforcer"]}, over=over),
        "torus-final-gradient": Sweep(experiment="torus-relative", set=loss),
    }
    tried = (
        trial(error, **{"optimizer.lr": 5e-3, "enforcer.weight": 30.0}),
        trial(0.2, **{"optimizer.lr": 2e-2, "enforcer.weight": 30.0}),
        trial(0.01, verdict="constant", **{"optimizer.lr": 5e-3, "enforcer.weight": 3.0}),
    )
    (claim,) = dominance._as_chosen(sweeps, {"torus-gradient-muon": tried}, {"torus-final-gradient": (trial(0.1),)})
    assert claim.holds is agree


@pytest.mark.parametrize(("rate", "agree"), [(2e-2, True), (5e-3, False)])
def test_the_construction_is_compared_at_the_best_setting_of_its_rank(rate: float, agree: bool) -> None:
    section = {"enforcer": {"name": "section", "rank": 4}, "source": {"name": "data"}}
    over = {"optimizer.lr": [5e-3, 2e-2], "enforcer.rank": [4, 6]}
    sweeps = {
        "torus-section-muon": Sweep(experiment="torus-relative", set=section, over=over),
        "torus-final-section": Sweep(experiment="torus-relative", set=section | {"optimizer.lr": rate}),
    }
    tried = (
        trial(0.3, **{"optimizer.lr": 5e-3, "enforcer.rank": 4}),
        trial(0.2, **{"optimizer.lr": 2e-2, "enforcer.rank": 4}),
        trial(0.1, **{"optimizer.lr": 5e-3, "enforcer.rank": 6}),
    )
    (claim,) = dominance._as_chosen(sweeps, {"torus-section-muon": tried}, {"torus-final-section": (trial(0.1),)})
    assert claim.holds is agree
    assert "of 2 trials" in claim.ours


def test_the_rank_of_a_construction_stands_in_the_column_of_the_weight() -> None:
    sweeps = dominance.study().sweeps
    assert dominance._setting(sweeps["torus-final-section"], {}) == ("muon", 0.02, 4.0)
    row = dominance._tuned_row("torus-section-adam", trial(1e-7, **{"optimizer.lr": 3e-3, "enforcer.rank": 3}))
    assert (row["arm"], row["weight or rank"]) == ("section", 3)


def test_all_are_tuned_alike_and_measured_on_test_samples() -> None:
    study = dominance.study()
    for task in ("torus", "longtorus", "gratings"):
        tuned = [
            [sweep.count for name, sweep in study.sweeps.items() if name.startswith(f"{task}-{arm}-")]
            for arm in dominance.ARMS
        ]
        counts = [own for own in tuned if own]
        assert len(counts) > 1, task
        assert all(own == counts[0] for own in counts), task
    for sweeps in (study.sweeps, study.quick):
        budgets: dict[str, set[float | None]] = {}
        for name, sweep in sweeps.items():
            if name.startswith(dominance.PREFIX):
                continue
            task, final = name.split("-")[0], "-final-" in name
            experiment = sweep.resolve(sweep.settings()[0])
            assert experiment.evaluation.split == ("test" if final else "validation"), name
            held_out = {"newsphere": 4, "newgratings": 2}.get(
                task, 2 if "fresh" in task else 3 if "long" in task else 1
            )
            assert experiment.dataset.arguments["seed"] == (held_out if final else 0), name
            budgets.setdefault(task, set()).add(experiment.training.flops)
        assert all(len(own) == 1 for own in budgets.values()), budgets
