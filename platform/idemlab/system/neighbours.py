"""Other programs on the same cores: how busy they are, and what a run that competes with them is told."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping

import psutil

from ..wording import number

__all__ = ["Neighbours", "crowded"]


class Neighbours:
    """How busy other programs keep the machine, from the moment at which this object is made."""

    def __init__(self) -> None:
        self._began = self._now()

    def cores(self) -> float:
        """Cores that other programs kept busy on average, from 0 to all of them."""
        clock, all_programs, this_one = (now - then for now, then in zip(self._now(), self._began, strict=True))
        return max(all_programs - this_one, 0.0) / clock if clock > 0 else 0.0

    @staticmethod
    def _now() -> tuple[float, float, float]:
        """Seconds of the clock, and CPU seconds of all programs and of this one."""
        machine = psutil.cpu_times()
        return time.perf_counter(), machine.user + machine.system + getattr(machine, "nice", 0.0), time.process_time()


def crowded(threads: int, others: float, cores: int, environment: Mapping[str, str] = os.environ) -> str:
    """What to tell a run whose threads have no core of their own; empty if they have, or if the user chose their number.

    Args:
        threads: threads of this run, at least 1.
        others: cores that other programs keep busy.
        cores: cores of the machine.
    """
    free = max(math.floor(cores - others + 0.5), 1)
    if "OMP_NUM_THREADS" in environment or free >= threads:
        return ""
    return (
        f"other programs keep {number(others)} of the {cores} cores busy, so the {threads} threads of this run wait for "
        f"each other. OMP_NUM_THREADS={free} is probably faster; it changes results by rounding only"
    )
