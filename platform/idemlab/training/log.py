"""What training logs: sums of figures that stay on the device until an entry is due, and the time that passed."""

from __future__ import annotations

import time
from collections.abc import Mapping

from torch import Tensor

from ..objective.engines import Engine

__all__ = ["Clock", "Sums"]


class Sums:
    """Figures since the last entry, added up on the device: the step reads nothing back.

    Figures are scalars, or have one value for each of several replicas.
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Tensor, int]] = {}  # (sum, how many)

    def __bool__(self) -> bool:
        return bool(self._sums)

    def add(self, figures: Mapping[str, Tensor]) -> None:
        """Count the figures of one step, or of one micro-batch."""
        for name, value in figures.items():
            total, count = self._sums.get(name, (0, 0))
            self._sums[name] = (total + value, count + 1)

    def means(self) -> dict[str, Tensor]:
        """The means since the last entry, by name in order."""
        return {name: total / count for name, (total, count) in sorted(self._sums.items())}

    def clear(self) -> None:
        """Begin anew, after an entry."""
        self._sums = {}

    def state(self, engine: Engine) -> dict[str, tuple[Tensor, int]]:
        """What a checkpoint keeps: one row a process, so that each goes on with its own and logs the same bits."""
        return {name: (engine.rows(total), count) for name, (total, count) in self._sums.items()}

    def load(self, state: Mapping[str, tuple[Tensor, int]], engine: Engine) -> None:
        """Go on from what a checkpoint kept."""
        self._sums = {name: (engine.own(rows), count) for name, (rows, count) in state.items()}


class Clock:
    """Time since training began, and since the last entry.

    Args:
        done: steps that were done before, and logged.
    """

    def __init__(self, done: int = 0) -> None:
        self._began = self._since = time.perf_counter()
        self.logged_at = done

    def seconds(self, replicas: int = 1) -> float:
        """Seconds so far; divided among replicas, what one of them cost."""
        return round((time.perf_counter() - self._began) / replicas, 4)

    def steps_per_second(self, done: int) -> float:
        """The pace since the last entry, or since the start; the next one counts from here."""
        now = time.perf_counter()
        pace = (done - self.logged_at) / max(now - self._since, 1e-9)
        self.logged_at, self._since = done, now
        return round(pace, 3)

    def leave_out(self, seconds: float) -> None:
        """Do not count these seconds in the pace: an evaluation took them."""
        self._since += seconds
