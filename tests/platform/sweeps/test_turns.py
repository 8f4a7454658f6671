"""Trials of several sweeps take turns in one group of workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from idemlab import Catalog, Interrupted
from idemlab.sweeps import turns as module
from idemlab.sweeps.course import Course
from idemlab.sweeps.jobs import Job, Outcome, Task
from idemlab.sweeps.turns import Opening, Turns

NONE = cast("Any", None)


class Sweep:
    """A sweep of a few trials, numbered from 0, which writes down what happens to it."""

    def __init__(self, name: str, trials: int, seen: list[str]) -> None:
        self.name, self.waiting, self.seen = name, list(range(trials)), seen
        self.running: set[int] = set()
        self.left = trials

    @contextmanager
    def opened(self) -> Iterator[Course]:
        self.seen.append(f"{self.name} opens")
        yield cast("Course", self)
        self.seen.append(f"{self.name} closes")

    def next_job(self, worker: int, workers: int) -> Job | None:
        if not self.waiting:
            return None
        number = self.waiting.pop(0)
        self.running.add(number)
        return Job([Task(number, "", NONE)], label=self.name)

    @property
    def over(self) -> bool:
        return not self.running

    def others(self) -> bool:
        return False

    def passing(self, number: int, *_: Any) -> bool:
        self.seen.append(f"{self.name}{number} passes")
        return number == 0

    def end(self, outcome: Outcome) -> None:
        self.running.remove(outcome.number)
        self.seen.append(f"{self.name}{outcome.number} ends")


class Two:
    """Stands in for two workers; the later one is always the faster."""

    threads = 1

    def __init__(self, count: int, *_: Any) -> None:
        self.count = count

    def __enter__(self) -> Two:
        return self

    def __exit__(self, *_: object) -> None: ...

    def run(
        self, next_job: Callable[[int], Job | None], passing: Callable[..., bool], others: Callable[[], bool]
    ) -> Iterator[Outcome]:
        at: dict[int, Job] = {}
        while True:
            for place in range(self.count):
                if place not in at and (job := next_job(place)) is not None:
                    at[place] = job
            if not at:
                return
            (task,) = at.pop(max(at)).tasks
            passing(task.number, 1, {}, "")
            yield Outcome(task.number, "")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(module, "Workers", Two)
    return []


def run(sweeps: list[Sweep], jobs: int = 2) -> None:
    openings: list[Opening] = [sweep.opened for sweep in sweeps]
    Turns(openings, sum(sweep.left for sweep in sweeps[1:]), jobs, Catalog([]), lambda line: None).run()


def test_the_next_sweep_begins_while_the_last_trial_of_the_one_before_runs(seen: list[str]) -> None:
    run([Sweep("a", 1, seen), Sweep("b", 2, seen), Sweep("c", 1, seen)])
    assert seen == [
        "a opens", "b opens",
        "b0 passes", "b0 ends",
        "b1 passes", "b1 ends",
        "b closes", "c opens",
        "c0 passes", "c0 ends",
        "c closes",
        "a0 passes", "a0 ends",
        "a closes",
    ]  # fmt: skip


def test_an_error_at_the_opening_of_a_sweep_leaves_those_before_unclosed(seen: list[str]) -> None:
    """Their tables are written at the end only."""

    @contextmanager
    def taken() -> Iterator[Course]:
        raise Interrupted("taken")
        yield

    with pytest.raises(Interrupted, match="taken"):
        Turns([Sweep("a", 1, seen).opened, taken], 1, 2, Catalog([]), lambda line: None).run()
    assert seen == ["a opens"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_last_table_is_written_is_not_lost(number: int, seen: list[str]) -> None:
    class Stopped(Sweep):
        @contextmanager
        def opened(self) -> Iterator[Course]:
            yield cast("Course", self)
            os.kill(os.getpid(), number)

    with pytest.raises(Interrupted, match="finished trials are kept"):
        run([Stopped("a", 1, seen)])
    assert seen == ["a0 passes", "a0 ends"]


def test_a_sweep_that_is_done_is_closed_and_no_worker_is_started(
    seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(module, "Workers")
    run([Sweep("a", 0, seen), Sweep("b", 0, seen)])
    assert seen == ["a opens", "a closes", "b opens", "b closes"]
