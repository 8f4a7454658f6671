"""The standing of an arm in a task: its numbers over the seeds, and which arms no other one beats."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

from ..certificate.goal import Goal
from ..sweeps.results import Results, Trial
from .entry import Entry
from .suite import Task

__all__ = ["Standing", "Stat", "chosen_setting", "deviation", "pareto", "relative", "score", "standing_of"]


@dataclass(frozen=True)
class Stat:
    """A number over the seeds: median, smallest and largest value. A seed that failed or collapsed is infinite."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Stat:
        """The statistics of at least one value."""
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The standing of one arm in one task.

    Args:
        arm: its name.
        state: "complete"; "failed", if no trial of the tuning or no seed has a result; or "refused", if the arm does not
            fit the task.
        reason: why it failed or was refused, or why some of its trials failed; otherwise empty.
        model: name of the model.
        chosen: the tuned keys and their values.
        score: of the chosen setting, on held-out training samples: relative error plus deviation.
        tried, tried_failed: settings of the tuning, and how many of them have no result or collapsed.
        seeds, seeds_failed: the same of the seeds.
        verdicts: verdict -> number of seeds.
        steps: of a trial.
        flops: counted FLOPs of a trial.
        seconds: wall time of a trial, the median.
        step_cost, call_cost: of a step and of one application of f, in forwards of the task's own model.
        relative: the worst relative error, at data and off it.
        deviation: the worst error against the right answer; the best constant has 1.
        metrics: further numbers by name, over the seeds that have them.
        pareto: whether no other arm is at least as good in relative error and deviation and better in one of them.
    """

    arm: str
    state: Literal["complete", "failed", "refused"]
    reason: str = ""
    model: str = ""
    chosen: Mapping[str, Any] = field(default_factory=dict)
    score: float | None = None
    tried: int = 0
    tried_failed: int = 0
    seeds: int = 0
    seeds_failed: int = 0
    verdicts: Mapping[str, int] = field(default_factory=dict)
    steps: int | None = None
    flops: float | None = None
    seconds: float | None = None
    step_cost: float | None = None
    call_cost: float | None = None
    relative: Stat | None = None
    deviation: Stat | None = None
    metrics: Mapping[str, Stat] = field(default_factory=dict)
    pareto: bool = False

    @classmethod
    def of_dict(cls, content: Mapping[str, Any]) -> Standing:
        """The standing from its entry in league.json."""
        stats = {key: content[key] and Stat(**content[key]) for key in ("relative", "deviation")}
        metrics = {name: Stat(**stat) for name, stat in content["metrics"].items()}
        return cls(**{**content, **stats, "metrics": metrics})


# -- one trial ------------------------------------------------------------------------------------------------------------


def relative(trial: Trial, task: Task) -> float:
    """The worst relative error of a trial; infinite for one that failed, collapsed, or shrank its outputs."""
    return max(_value(trial, name) for name in task.relative)


def deviation(trial: Trial, task: Task) -> float:
    """The worst error against the right answer, in units of the best constant's error; infinite as `relative`."""
    return max(_value(trial, name) / unit for name, unit in task.deviation.items())


def score(trial: Trial, task: Task) -> float:
    """The number that tuning minimises: relative error plus deviation. Where both are shares of the spread, their sum
    bounds how far f(f(x)) is from the right answer, by the triangle inequality."""
    return relative(trial, task) + deviation(trial, task)


def _value(trial: Trial, name: str) -> float:
    return Goal(name).of_run(trial.metrics, trial.verdict) if trial.state == "complete" else math.inf


def chosen_setting(results: Results, task: Task) -> tuple[dict[str, Any], float] | None:
    """(values, score) of the best setting of a tuning, the first of equal ones; None if none has a finite score."""
    scored = [(score(trial, task), trial.number, trial.values) for trial in results.trials]
    best = min(scored, key=lambda each: each[:2], default=None)
    return None if best is None or not math.isfinite(best[0]) else (dict(best[2]), best[0])


# -- one arm --------------------------------------------------------------------------------------------------------------


def standing_of(entry: Entry, task: Task, tuning: Results | None, final: Results | None) -> Standing:
    """The standing of an arm, from what its sweeps left."""
    common: dict[str, Any] = {"arm": entry.arm, "model": entry.model}
    common |= {"step_cost": entry.step_cost, "call_cost": entry.call_cost}
    if entry.refused or tuning is None:
        return Standing(state="refused", reason=entry.refused, **common)
    tried = [score(trial, task) for trial in tuning.trials]
    common |= {"tried": len(tried), "tried_failed": sum(map(math.isinf, tried))}
    chosen = chosen_setting(tuning, task)
    if chosen is None or final is None:
        return Standing(state="failed", reason=_why(tuning.trials) or "every setting collapsed", **common)
    common |= {"chosen": chosen[0], "score": chosen[1], "seeds": len(final.trials)}
    complete = [trial for trial in final.trials if trial.state == "complete"]
    common |= {"reason": _why(final.trials)}
    if not complete:
        return Standing(state="failed", seeds_failed=len(final.trials), **common)
    errors = [relative(trial, task) for trial in final.trials]
    names = dict.fromkeys(name for trial in complete for name in trial.metrics)
    found = {name: [v for trial in complete if (v := trial.metrics.get(name)) is not None] for name in names}
    first = complete[0]
    return Standing(
        state="complete",
        seeds_failed=sum(map(math.isinf, errors)),
        verdicts=dict(Counter(trial.verdict for trial in complete)),
        steps=first.steps,
        flops=first.flops,
        seconds=median(trial.seconds or 0.0 for trial in complete),
        relative=Stat.of(errors),
        deviation=Stat.of([deviation(trial, task) for trial in final.trials]),
        metrics={name: Stat.of(values) for name, values in found.items() if values},
        **common,
    )


def _why(trials: Sequence[Trial]) -> str:
    """The first error of some trials."""
    return next((trial.error for trial in trials if trial.error), "")


def pareto(standings: Sequence[Standing]) -> set[str]:
    """The arms that no other one beats: none is at least as good in both medians, and better in one."""
    points = {
        row.arm: (row.relative.median, row.deviation.median)
        for row in standings
        if row.relative is not None and row.deviation is not None
    }
    finite = {arm: point for arm, point in points.items() if all(map(math.isfinite, point))}
    return {
        arm
        for arm, point in finite.items()
        if not any(
            other != point and all(a <= b for a, b in zip(other, point, strict=True)) for other in finite.values()
        )
    }
