"""The goal of a sweep or a run: which metric decides, in which direction, and why a collapsed operator never wins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from .verdict import Verdict

__all__ = ["Goal"]


@dataclass(frozen=True)
class Goal:
    """The metric by which runs are compared.

    Args:
        metric: ``inputs/metric`` as in the table, such as ``noise/relative``; a metric alone takes its worst value over all
            inputs.
        maximize: a larger value is better; otherwise a smaller one is.
        minimum_spread: smallest spread of f(x), as a share of the spread of x, also under each class of a condition. Below
            it, a run gets the worst value: an operator that shrinks everything has a small error without being useful.
    """

    metric: str = "relative"
    maximize: bool = False
    minimum_spread: float = 0.05

    @property
    def worst(self) -> float:
        """A value worse than any that can be measured."""
        return -math.inf if self.maximize else math.inf

    def of_run(self, metrics: Mapping[str, float | None], verdict: str) -> float:
        """The value of a run.

        It is the worst for a run that collapsed to a constant or to the identity (both have no idempotence error), for one
        that shrank its inputs below the minimum spread, and for one whose metric is missing or NaN.
        """
        own = {name: value for name, value in metrics.items() if self.metric in (name, name.partition("/")[2])}
        if not own or verdict in (Verdict.CONSTANT, Verdict.IDENTITY):
            return self.worst
        values = [
            self.worst if value is None or math.isnan(value) or self._shrunk(metrics, name.partition("/")[0]) else value
            for name, value in own.items()
        ]
        return min(values) if self.maximize else max(values)

    def _shrunk(self, metrics: Mapping[str, float | None], inputs: str) -> bool:
        """Whether f(x) is too narrow at these inputs; False where the spread was not measured."""
        narrowest = metrics.get(
            f"{inputs}/spread_narrowest_class"
        )  # of the operators f(., c), where there is a condition
        if narrowest is not None and narrowest < self.minimum_spread:
            return True
        spread, whole = metrics.get(f"{inputs}/spread"), metrics.get(f"{inputs}/input_spread")
        return spread is not None and whole is not None and spread < self.minimum_spread * whole

    def of_setting(self, values: Sequence[float]) -> float:
        """The value of a setting: the median over its seeds, so that no lucky seed decides."""
        return float(median(values))

    def better(self, one: float, other: float) -> bool:
        """Whether one value is better than another."""
        return one > other if self.maximize else one < other
