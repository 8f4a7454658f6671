"""Stop signals: Ctrl-C and SIGTERM."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Stop", "stop_signals"]


class Stop:
    """Whether Ctrl-C or SIGTERM has arrived. The caller asks between steps and stops where the work can be resumed.

    A second Ctrl-C raises KeyboardInterrupt at once.

    Attributes:
        at_once: whether the first signal of either kind does, as there are no more steps between which the caller asks.
    """

    def __init__(self) -> None:
        self.at_once = False
        self._arrived = threading.Event()

    def __call__(self) -> bool:
        return self._arrived.is_set()

    def arrived(self, number: int, frame: FrameType | None) -> None:
        """The handler of both signals."""
        if self.at_once or (number == signal.SIGINT and self()):
            raise KeyboardInterrupt
        self._arrived.set()


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Watch for stop signals in the block. Outside the main thread, none arrive."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.arrived) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, old in before.items():
            signal.signal(number, old)
