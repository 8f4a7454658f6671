"""What a sweep looks for: which figure is judged, which way, over seeds; and that a collapse never wins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["Goal"]


@dataclass(frozen=True)
class Goal:
    """The figure by which runs are compared.

    Args:
        metric: ``inputs/figure`` as in the table, ``noise/relative``; or a figure alone: its worst value over all inputs.
        maximize: more is better; otherwise less is.
        minimum_spread: of f(x), as a share of the spread of x, below which a run is worth the worst: an operator that
            shrinks everything moves little, too.
    """

    metric: str = "relative"
    maximize: bool = False
    minimum_spread: float = 0.05

    @property
    def worst(self) -> float:
        """What counts as worse than all that can be measured."""
        return -math.inf if self.maximize else math.inf

    def of_run(self, figures: Mapping[str, float | None], verdict: str) -> float:
        """The value of a run. One that has collapsed, to a constant or to the identity, is worth the worst whatever its
        figures say: a constant has no idempotence error at all. So is one that has shrunk its inputs below the minimum
        spread, and one whose figure was not measured, or is no number."""
        from ..certificate.verdict import Verdict

        own = {name: value for name, value in figures.items() if self.metric in (name, name.partition("/")[2])}
        if not own or verdict in (Verdict.CONSTANT, Verdict.IDENTITY):
            return self.worst
        values = [
            self.worst if value is None or math.isnan(value) or self._shrunk(figures, name.partition("/")[0]) else value
            for name, value in own.items()
        ]
        return min(values) if self.maximize else max(values)

    def _shrunk(self, figures: Mapping[str, float | None], inputs: str) -> bool:
        """Whether f(x) is too narrow at these inputs; not known of figures without a spread."""
        spread, whole = figures.get(f"{inputs}/spread"), figures.get(f"{inputs}/input_spread")
        return spread is not None and whole is not None and spread < self.minimum_spread * whole

    def of_setting(self, values: Sequence[float]) -> float:
        """The value of a setting: the median over its seeds, so that no lucky one decides."""
        return float(median(values))

    def better(self, one: float, other: float) -> bool:
        """Whether one value is better than another."""
        return one > other if self.maximize else one < other
