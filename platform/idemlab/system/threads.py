"""OpenMP wait settings: waiting threads soon sleep, so that other processes can use their cores."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping

__all__ = ["SPINNING", "rest_while_waiting", "shared_out", "spinning"]

_CHOSEN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Environment variables by which the user may have chosen how threads wait."""
_RESTFUL = {"GOMP_SPINCOUNT": "2000", "KMP_BLOCKTIME": "1"}
"""Spin for two thousand turns (GNU OpenMP; a tenth of a millisecond) or a millisecond (LLVM OpenMP), then sleep.

By default a waiting thread keeps its core busy. Two trainings with two threads each, on two cores, then slow each other down
tenfold. To wake a sleeping thread takes about a tenth of a millisecond. Whoever spins for as long as the waking takes never
waits more than twice as long as necessary. Steps a second of the main job on two virtual AVX-512 cores, alone and each of
two side by side, when couplings still used NumPy's threads; without them, 12 and 5.5 with 2000 turns:

    turns      1000   2000   4000   16000   64000   300000, the default
    alone      10.1   11.8   12.3    13.7    14.7    14.3
    beside      5.3    4.3    4.2     2.8     1.4     1.4
"""

SPINNING = (
    "torch was loaded before idemlab, so its threads keep their cores busy while they wait: trainings side by side slow "
    "each other down up to tenfold. Import idemlab first, or set GOMP_SPINCOUNT=2000."
)
"""The warning if it is too late to change the setting; Python's own filter shows it once."""


def spinning(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Whether the user has not chosen how threads wait, so that waiting threads keep their cores busy."""
    return not any(name in environment for name in _CHOSEN)


def rest_while_waiting(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let waiting OpenMP threads sleep, unless the user has chosen otherwise.

    OpenMP reads these variables when torch is loaded. Call this before, or for the processes that this one starts.
    """
    if spinning(environment):
        environment.update(_RESTFUL)


def shared_out(cores: int, processes: int, environment: Mapping[str, str] = os.environ) -> int:
    """Threads of each of several processes that share the cores, or the threads that OMP_NUM_THREADS allows; at least 1."""
    chosen = environment.get("OMP_NUM_THREADS", "")
    all_of_them = min(cores, int(chosen)) if chosen.isdecimal() and int(chosen) > 0 else cores
    return max(all_of_them // processes, 1)
