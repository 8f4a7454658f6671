"""Phases: exclusive times, nothing without a stopwatch."""

from __future__ import annotations

from contextlib import suppress

import pytest

from idemlab.system import phases
from idemlab.system.phases import Stopwatch, phase, timed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time: a list of one number, which tests change."""
    now = [0.0]
    monkeypatch.setattr(phases.time, "perf_counter", lambda: now[0])
    return now


def test_an_inner_phase_is_left_out_of_the_outer_one(clock: list[float]) -> None:
    with Stopwatch().running() as watch:
        for _ in range(2):
            with phase("forward"):
                clock[0] += 1
                with phase("source"):
                    clock[0] += 10
                    with phase("draw"):
                        clock[0] += 100
                clock[0] += 2
            clock[0] += 1000
    assert watch.stretches == {"draw": [100, 100], "source": [10, 10], "forward": [3, 3]}
    assert watch.totals == {"draw": 200, "source": 20, "forward": 6}


def test_a_phase_that_raises_ends(clock: list[float]) -> None:
    with Stopwatch().running() as watch:
        with suppress(ValueError), phase("forward"):
            clock[0] += 1
            raise ValueError
        with phase("backward"):
            clock[0] += 2
    assert watch.totals == {"forward": 1, "backward": 2}


def test_nothing_is_timed_without_a_stopwatch() -> None:
    @timed("log")
    def work(value: int, *, more: int) -> int:
        """Add."""
        return value + more

    watch = Stopwatch()
    assert work(1, more=2) == 3
    assert watch.totals == {}
    with watch.running():
        assert work(1, more=2) == 3
    work(1, more=2)
    assert [len(seconds) for seconds in watch.stretches.values()] == [1]
    assert work.__doc__ == "Add."


def test_the_device_is_waited_for_at_both_ends() -> None:
    watch, waited = Stopwatch(), []
    watch.wait = lambda: waited.append(1)
    with watch.running(), phase("forward"):
        assert len(waited) == 1
    assert len(waited) == 2
