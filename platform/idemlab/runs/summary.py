"""Progress and results of a run, finished or not, as one record for reports and comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .run import Run, Which

__all__ = ["Kept", "Summary", "summarise"]

_MEANING: dict[Which, str] = {
    "last": "those of the last step",
    "ema": "their moving average",
    "best": "those of the best evaluation",
}


@dataclass(frozen=True)
class Kept:
    """One of the sets of weights that a finished run kept.

    Args:
        which: as `idemlab.load(run, which=...)` takes it.
        meaning: what these weights are, in words.
        step: optimiser steps that made them.
        verdict: of their own certificate.
        errors: inputs -> relative error; None where it was not measured.
    """

    which: Which
    meaning: str
    step: int
    verdict: str
    errors: dict[str, float | None]


_OF_CLASSES = ("relative_worst_class", "spread_narrowest_class")
"""Values that a run under a condition has besides."""


@dataclass(frozen=True)
class Summary:
    """Progress and results of a run.

    Args:
        verdict: None while the run is unfinished.
        sentence: the verdict in plain words, or how far the run got.
        step: optimiser steps done.
        steps: optimiser steps planned, if known.
        flops: counted floating-point operations so far, if known.
        seconds: wall time so far, including evaluations and all resumptions.
        values: inputs -> name -> value (`relative`, `absolute`, `rank`, `trace`, `spread`, `input_spread`, the metrics),
            at the end of the run, or at the last evaluation so far.
        weights: the sets of weights, the last ones first, where the run kept others than these: their average, the best.
    """

    verdict: str | None
    sentence: str
    step: int
    steps: int | None
    flops: float | None
    seconds: float | None
    values: dict[str, dict[str, float | None]]
    weights: tuple[Kept, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether there is a certificate."""
        return self.verdict is not None


def summarise(run: Run) -> Summary:
    """Summarise a run folder.

    Raises:
        Failure: if one of its JSON files is damaged.
    """
    certificates, entries = run.certificates, run.metrics
    certificate = certificates.get("last")
    plan: Mapping[str, Any] = (run.environment or {}).get("plan", {})
    if certificate is not None:
        return Summary(
            verdict=certificate["verdict"],
            sentence=certificate["sentence"],
            step=certificate["steps"],
            steps=certificate["steps"],
            flops=certificate["flops"],
            seconds=_seconds(entries),
            values={name: _values(one) for name, one in certificate["inputs"].items()},
            weights=_kept(certificates) if len(certificates) > 1 else (),
        )
    step, steps = max((entry["step"] for entry in entries), default=0), plan.get("steps")
    share = f" of {steps} ({100 * step / steps:.0f} %)" if steps else ""
    return Summary(
        verdict=None,
        sentence=f"Not finished: it reached step {step}{share}.",
        step=step,
        steps=steps,
        flops=step * plan["flops_per_step"] if "flops_per_step" in plan else None,
        seconds=_seconds(entries),
        values=_last_evaluation(entries),
    )


def _kept(certificates: Mapping[Which, Mapping[str, Any]]) -> tuple[Kept, ...]:
    names = certificates["last"]["inputs"]
    return tuple(
        Kept(
            which=which,
            meaning=_MEANING[which],
            step=one["steps"],
            verdict=one["verdict"],
            errors={name: one["inputs"][name]["relative"][0] if name in one["inputs"] else None for name in names},
        )
        for which, one in certificates.items()
    )


def _values(certificate: Mapping[str, Any]) -> dict[str, float | None]:
    """The values of one set of inputs in certificate.json, named as in metrics.jsonl."""
    own = {"relative": certificate["relative"][0], "absolute": certificate["absolute"][0]}
    own |= {key: certificate[key] for key in ("rank", "trace", "spread", "input_spread")}
    own |= {key: certificate[key] for key in _OF_CLASSES if key in certificate}
    return own | dict(certificate["figures"])


def _last_evaluation(entries: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    values: dict[str, dict[str, float | None]] = {}
    for entry in [entry for entry in entries if entry["split"] == "evaluation"][-1:]:
        for key, value in entry.items():
            inputs, slash, name = key.partition("/")
            if slash:
                values.setdefault(inputs, {})[name] = value
    return values


def _seconds(entries: Sequence[Mapping[str, Any]]) -> float | None:
    """Total wall time. The clock restarts when a run is resumed, so the last entry of each stretch is added up."""
    clock = [float(entry["time"]["seconds"]) for entry in entries]
    if not clock:
        return None
    return clock[-1] + sum(now for now, after in pairwise(clock) if after < now)
