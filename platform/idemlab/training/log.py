"""What training logs: sums that stay on the device until an entry is due, and the elapsed time."""

from __future__ import annotations

import time
from collections.abc import Mapping

from torch import Tensor

from ..objective.engines import Engine

__all__ = ["Clock", "Sums"]


class Sums:
    """Sums of the logged numbers since the last entry. They stay on the device, so that a step reads nothing back.

    Each number is a scalar, or one value for each of several replicas.
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Tensor, int]] = {}  # (sum, how many)

    def __bool__(self) -> bool:
        return bool(self._sums)

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add the numbers of one step, or of one micro-batch."""
        for name, value in values.items():
            total, count = self._sums.get(name, (0, 0))
            self._sums[name] = (total + value, count + 1)

    def means(self) -> dict[str, Tensor]:
        """Name -> mean since the last entry, in the order of the names."""
        return {name: total / count for name, (total, count) in sorted(self._sums.items())}

    def clear(self) -> None:
        """Start over after an entry."""
        self._sums = {}

    def state(self, engine: Engine) -> dict[str, tuple[Tensor, int]]:
        """State for a checkpoint, one row per process: each process resumes its own sums and logs the same bits."""
        return {name: (engine.rows(total), count) for name, (total, count) in self._sums.items()}

    def load(self, state: Mapping[str, tuple[Tensor, int]], engine: Engine) -> None:
        """Restore the sums from a checkpoint."""
        self._sums = {name: (engine.own(rows), count) for name, (rows, count) in state.items()}


class Clock:
    """Time since training began, and since the last entry.

    Args:
        done: number of steps that an earlier process did and logged.
    """

    def __init__(self, done: int = 0) -> None:
        self._began = self._since = time.perf_counter()
        self.logged_at = done

    def seconds(self, replicas: int = 1) -> float:
        """Seconds so far, divided by the number of replicas."""
        return round((time.perf_counter() - self._began) / replicas, 4)

    def steps_per_second(self, done: int) -> float:
        """Steps per second since the last call, or since the start."""
        now = time.perf_counter()
        pace = (done - self.logged_at) / max(now - self._since, 1e-9)
        self.logged_at, self._since = done, now
        return round(pace, 3)

    def leave_out(self, seconds: float) -> None:
        """Leave these seconds, which an evaluation took, out of the pace."""
        self._since += seconds
