"""Where the time goes: code says which phase it is in, and a stopwatch adds up the time of each while one runs.

Without a stopwatch, entering a phase costs a quarter of a microsecond.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import ParamSpec, TypeVar

__all__ = ["Stopwatch", "phase", "timed"]

P = ParamSpec("P")
R = TypeVar("R")

_IDLE: AbstractContextManager[None] = nullcontext()
_running: list[Stopwatch] = []


class Stopwatch:
    """Adds up the time of each phase. A phase inside another one is left out of the outer one.

    Attributes:
        stretches: seconds of each stretch of time in a phase, by phase, in order.
        wait: waits until the device has finished its work; called wherever a phase begins or ends.
    """

    def __init__(self) -> None:
        self.stretches: dict[str, list[float]] = {}
        self.wait: Callable[[], None] = lambda: None
        self._inner = [0.0]
        """Seconds that inner phases took, for each open phase; the first entry is for what is in no phase."""

    @property
    def totals(self) -> dict[str, float]:
        """Seconds in each phase so far."""
        return {name: sum(seconds) for name, seconds in self.stretches.items()}

    @contextmanager
    def running(self) -> Iterator[Stopwatch]:
        """Time the phases of everything in the block."""
        _running.append(self)
        try:
            yield self
        finally:
            _running.remove(self)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time the block as a stretch of this phase."""
        self.wait()
        began = time.perf_counter()
        self._inner.append(0.0)
        try:
            yield
        finally:
            self.wait()
            took = time.perf_counter() - began
            self.stretches.setdefault(name, []).append(took - self._inner.pop())
            self._inner[-1] += took


def phase(name: str) -> AbstractContextManager[None]:
    """A block of code that belongs to a phase of the work, such as `forward`."""
    return _running[-1].phase(name) if _running else _IDLE


def timed(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function that belongs to a phase."""

    def within(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*arguments: P.args, **keywords: P.kwargs) -> R:
            with phase(name):
                return function(*arguments, **keywords)

        return call

    return within
