"""Other programs on the same cores: how busy they are, and what a run that competes with them is told."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping

import psutil

from ..wording import number

__all__ = ["Neighbours", "crowded", "own_cores"]

_SHORTEST = 0.5
"""Seconds below which nothing is measured: the clock of CPU time ticks a hundred times a second."""
_SHORT = 0.75
"""Share of the threads for which there must be cores. A single core missing of many hardly slows a run."""


class Neighbours:
    """How busy other programs keep the cores that this process may use, from the moment at which this object is made.

    Attributes:
        cores: number of these cores.
    """

    def __init__(self) -> None:
        self._own = own_cores()
        self.cores = len(self._own)
        self._began = self._now()

    def busy(self) -> float:
        """Cores that other programs kept busy on average, from 0 to all of them; 0 if that cannot be measured."""
        now = self._now()
        if now is None or self._began is None:
            return 0.0
        clock, all_programs, this_one = (after - before for after, before in zip(now, self._began, strict=True))
        return max(all_programs - this_one, 0.0) / clock if clock >= _SHORTEST else 0.0

    def _now(self) -> tuple[float, float, float] | None:
        """Seconds of the clock; CPU seconds of all programs on these cores, and of this one with its children."""
        try:
            every = psutil.cpu_times(percpu=True)
            machine = sum(t.user + t.system + getattr(t, "nice", 0.0) for t in (every[i] for i in self._own))
            children = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
        except (OSError, RuntimeError, IndexError, psutil.Error):  # not every container lets a program look
            return None
        return time.perf_counter(), machine, time.process_time() + sum(t.user + t.system for t in children)


def own_cores() -> list[int]:
    """Numbers of the cores that this process may use."""
    try:
        return psutil.Process().cpu_affinity() or list(range(os.cpu_count() or 1))
    except (AttributeError, OSError, psutil.Error):  # macOS has no such thing
        return list(range(os.cpu_count() or 1))


def crowded(threads: int, busy: float, cores: int, environment: Mapping[str, str] = os.environ) -> str:
    """What to tell a run whose threads lack cores; empty if they do not, or if OMP_NUM_THREADS says that it is meant so.

    Args:
        threads: threads of this run, at least 1.
        busy: cores that other programs keep busy.
        cores: cores that this run may use.
    """
    free = max(math.floor(cores - busy + 0.5), 1)
    if "OMP_NUM_THREADS" in environment or free > _SHORT * min(threads, cores):
        return ""
    return (
        f"other programs keep {number(busy)} of the {cores} cores busy, so the threads of this run wait for each other. "
        f"Started with OMP_NUM_THREADS={free}, it may be faster, and its results differ by rounding only"
    )
