"""The numbers of a standing: worst inputs, medians over seeds, failed and collapsed seeds, the arms that none beats."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from idemlab import Results, Standing, Stat, Sweep, Trial, installed
from idemlab.standings.entry import Entry
from idemlab.standings.standing import chosen_setting, deviation, pareto, relative, score, standing_of
from idemlab.standings.suite import Task, find_suite

GOOD = {
    "data/relative": 0.1,
    "noise/relative": 0.3,
    "data/reconstruction_error": 0.2,
    "data/spread": 1.0,
    "noise/spread": 1.0,
}


def trial(number: int, state: str = "complete", verdict: str = "genuine", error: str = "", **changes: Any) -> Trial:
    metrics = GOOD | {key.replace("__", "/"): value for key, value in changes.items() if "__" in key}
    values = {key: value for key, value in changes.items() if "__" not in key}
    return Trial(
        number=number, values=values, seed=number, state=state, error=error, verdict=verdict,
        metrics=dict(metrics) if state == "complete" else {}, steps=5, flops=1e6, seconds=2.0, path=Path(),
    )  # fmt: skip


def results(*trials: Trial) -> Results:
    return Results(trials, (), Path())


@pytest.fixture
def task(write_suite: Callable[..., str]) -> Task:
    return find_suite(write_suite(), installed()).task["plain"]


ENTRY = Entry(
    arm="mine", task="plain", settings={}, tuning=Sweep(experiment="x"), model="mlp", step_cost=6, call_cost=1
)


def test_the_worst_inputs_count_and_a_collapse_is_infinite(task: Task) -> None:
    assert (relative(trial(0), task), deviation(trial(0), task)) == (0.3, 0.25)
    assert score(trial(0), task) == 0.55
    for bad in (
        trial(0, verdict="constant"),
        trial(0, verdict="identity"),
        trial(0, "failed"),
        trial(0, data__spread=0.01, data__input_spread=1.0),
        trial(0, noise__relative=None),
    ):
        assert math.isinf(score(bad, task))


def test_tuning_chooses_the_smallest_score_and_the_first_of_equal_ones(task: Task) -> None:
    tried = results(
        trial(0, "failed", lr=1),
        trial(1, lr=2),
        trial(2, lr=3, noise__relative=0.2),
        trial(3, lr=4, noise__relative=0.2),
    )
    assert chosen_setting(tried, task) == ({"lr": 3}, pytest.approx(0.45))
    assert chosen_setting(results(trial(0, verdict="constant")), task) is None
    assert chosen_setting(results(), task) is None


def test_a_standing_has_medians_ranges_and_what_failed(task: Task) -> None:
    tuning = results(trial(0, lr=1), trial(1, "failed", error="boom"))
    final = results(trial(0), trial(1, noise__relative=0.5), trial(2, "failed", error="not finite"))
    row = standing_of(ENTRY, task, tuning, final)
    assert (row.state, row.reason, row.chosen) == ("complete", "not finite", {"lr": 1})
    assert (row.tried, row.tried_failed, row.seeds, row.seeds_failed) == (2, 1, 3, 1)
    assert row.relative == Stat(0.5, 0.3, math.inf)
    assert row.deviation == Stat(0.25, 0.25, math.inf)
    assert row.metrics["noise/relative"] == Stat(0.4, 0.3, 0.5)
    assert row.verdicts == {"genuine": 2}
    assert (row.steps, row.flops, row.seconds, row.step_cost) == (5, 1e6, 2.0, 6)


@pytest.mark.parametrize(
    ("refused", "tuning", "final", "state", "reason"),
    [
        ("no", None, None, "refused", "no"),
        ("", results(trial(0, "failed", error="boom")), None, "failed", "boom"),
        ("", results(trial(0, verdict="constant")), None, "failed", "every setting collapsed"),
        ("", results(trial(0)), results(trial(0, "failed", error="bang")), "failed", "bang"),
    ],
)
def test_what_has_no_result_keeps_a_row_with_the_reason(
    task: Task, refused: str, tuning: Any, final: Any, state: str, reason: str
) -> None:
    row = standing_of(Entry(**{**vars(ENTRY), "refused": refused}), task, tuning, final)
    assert (row.state, row.reason, row.relative) == (state, reason, None)


@pytest.mark.parametrize(
    ("points", "best"),
    [
        ({"a": (1, 2), "b": (2, 1), "c": (2, 2)}, {"a", "b"}),
        ({"a": (1, 1), "b": (1, 1)}, {"a", "b"}),  # equal ones do not beat each other
        ({"a": (1, 2), "b": (1, 1)}, {"b"}),
        ({"a": (1, math.inf), "b": (2, 2)}, {"b"}),
        ({"a": (math.inf, math.inf)}, set()),
        ({}, set()),
    ],
)
def test_the_arms_that_no_other_one_beats(points: dict[str, tuple[float, float]], best: set[str]) -> None:
    rows = [
        Standing(arm=arm, state="complete", relative=Stat(x, x, x), deviation=Stat(y, y, y))
        for arm, (x, y) in points.items()
    ]
    assert pareto([*rows, Standing(arm="none", state="failed")]) == best
