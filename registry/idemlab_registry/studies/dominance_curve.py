"""Digits: the whole curve of idempotence error against restoration, of the canonical loss and of `log-relative`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median

from pandas import DataFrame, Series

from idemlab import Claim, Results, Trial, Verdict
from idemlab.wording import number

__all__ = ["PREFIX", "curve_claim", "curve_rows"]

PREFIX = "repair-curve-"
"""Of the sweeps' names; what follows is the arm."""
ARMS = {"gradient": "canonical loss", "log": "logarithm of the relative error"}
MEASURED = {
    "data/relative": "error at digits",
    "corrupted/relative": "error at corrupted digits",
    "data/reconstruction_error": "reconstruction error",
    "corrupted/restoration_error": "restoration error",
    "data/rank": "rank at digits",
}
COMPARED = tuple(label for label in MEASURED.values() if not label.startswith("rank"))


def curve_rows(results: Mapping[str, Results]) -> list[dict[str, object]]:
    """A row for each arm and weight, with the medians over its seeds."""
    return [
        {"trained with": ARMS[arm], "weight": weight, "seeds": len(trials)}
        | {label: median(_figure(trial, name) for trial in trials) for name, label in MEASURED.items()}
        | {"constant": sum(trial.state == "complete" and trial.verdict == Verdict.CONSTANT for trial in trials)}
        for arm in ARMS
        if PREFIX + arm in results
        for weight, trials in _by_weight(results[PREFIX + arm].trials).items()
    ]


def curve_claim(results: Mapping[str, Results]) -> list[Claim]:
    """Whether each weight of the canonical loss is beaten, or equalled, in all that is compared by one of the other."""
    rows = DataFrame(curve_rows(results))
    if rows.empty or set(rows["trained with"]) != set(ARMS.values()):
        return []
    theirs, ours = (rows[rows["trained with"] == words] for words in ARMS.values())
    told, beaten, failed = [], [], not rows[list(COMPARED)].map(math.isfinite).all(axis=None)
    for _, one in theirs[_varies(theirs)].iterrows():
        better = ours[(ours[list(COMPARED)] <= one[list(COMPARED)]).all(axis=1) & _varies(ours)]
        beaten.append(not better.empty)
        by = f"by {', '.join(number(weight) for weight in better['weight'])}" if beaten[-1] else "by none"
        told.append(f"weight {number(one['weight'])} {by}")
    if failed:
        conclusion = "Open: trials failed."
    elif not beaten:
        conclusion = "Open: the canonical loss is constant at all weights."
    else:
        conclusion = "There is." if all(beaten) else "Not for all weights."
    return [
        Claim(
            claim="At digits, for each weight of the canonical loss there is one of the logarithm of the relative error "
            f"that is not worse in {', '.join(COMPARED[:-1])} and {COMPARED[-1]}.",
            ours="; ".join(told) or "no weight to compare with",
            conclusion=conclusion,
            holds=None if failed or not beaten else all(beaten),
        )
    ]


def _varies(rows: DataFrame) -> Series[bool]:
    """Which rows are neither constant nor of rank 0, where f is constant around each digit."""
    return (rows["constant"] == 0) & (rows["rank at digits"] > 0)


def _by_weight(trials: tuple[Trial, ...]) -> dict[float, list[Trial]]:
    groups: dict[float, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(float(next(v for k, v in trial.values.items() if k.endswith("weight"))), []).append(trial)
    return dict(sorted(groups.items()))


def _figure(trial: Trial, name: str) -> float:
    """A measured value; infinite where a trial has none."""
    value = trial.metrics.get(name) if trial.state == "complete" else None
    return math.inf if value is None else float(value)
