"""Threads that wait for each other: asleep soon, so that a busy machine does not stand still."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

__all__ = ["SPINNING", "rest_while_waiting", "spinning"]

_CHOSEN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables by which somebody may have decided already."""
_RESTFUL = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}
"""A thousand turns, or a millisecond, and then sleep: for GNU's OpenMP and for LLVM's.

By default a waiting thread keeps its core busy. Two trainings of two threads on two cores then ran at 0.15 to 1.5 steps a
second each. With a thousand turns they ran at 2.7 to 4.6, and one alone was as fast as before (4.6 to 7.8); a policy of
sleeping at once cost one alone a tenth.
"""

SPINNING = (
    "torch was loaded before idemlab, so its threads keep their cores busy where they wait: trainings side by side slow "
    "each other down up to tenfold. Import idemlab first, or set GOMP_SPINCOUNT=1000."
)
"""What a caller is told whom nothing helps any more; Python's own filter says it once."""


def spinning(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Whether nobody has said how threads shall wait, so that they keep their cores busy."""
    return not any(name in environment for name in _CHOSEN)


def rest_while_waiting(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let OpenMP's threads sleep where they wait, unless somebody has chosen.

    OpenMP reads this when torch is loaded: call it before that, or for the processes that are started from here.
    """
    if spinning(environment):
        environment.update(_RESTFUL)
