"""OpenMP wait settings: waiting threads soon sleep, so that other processes can use their cores."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

__all__ = ["SPINNING", "rest_while_waiting", "spinning"]

_CHOSEN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Environment variables by which the user may have chosen how threads wait."""
_RESTFUL = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}
"""Spin for a thousand turns (GNU OpenMP) or a millisecond (LLVM OpenMP), then sleep.

By default a waiting thread keeps its core busy. Two trainings with two threads each, on two cores, then ran at 0.15 to 1.5
steps a second. With a thousand turns they ran at 2.7 to 4.6 steps a second, and a single training kept its 4.6 to 7.8.
Sleeping at once slowed a single training by a tenth.
"""

SPINNING = (
    "torch was loaded before idemlab, so its threads keep their cores busy while they wait: trainings side by side slow "
    "each other down up to tenfold. Import idemlab first, or set GOMP_SPINCOUNT=1000."
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
