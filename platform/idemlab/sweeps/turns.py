"""Runs the trials of one sweep or of several: in this process one after the other, or in workers side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from itertools import count

from ..catalog.catalog import Catalog
from ..errors import Interrupted
from ..system.signals import stop_signals
from ..wording import AGAIN, counted
from .course import Course
from .jobs import Job, Outcome, work
from .workers import Workers

__all__ = ["Opening", "Turns"]

Opening = Callable[[], AbstractContextManager[Course]]
"""Locks the folder of a sweep and opens it; closing it writes its table, unless an error ends it."""


class Turns:
    """Hands the trials of sweeps to workers, sweep by sweep.

    An idle worker gets a trial of the first sweep that has one. A sweep is opened when those before it have no trial left
    to begin, and closed when a worker asks for a trial after the last one has ended: the end of one sweep and the beginning
    of the next overlap.

    Args:
        sweeps: opens each, in this order.
        trials: number of trials that all sweeps but the first have left. No more workers are started than there are trials.
        jobs: number of worker processes; 1 trains in this process.
        catalog: sent to the workers.
        say: called with each line of progress.
    """

    def __init__(
        self, sweeps: Sequence[Opening], trials: int, jobs: int, catalog: Catalog, say: Callable[[str], None]
    ) -> None:
        self._sweeps, self._trials, self._jobs = iter(sweeps), trials, jobs
        self._catalog, self._say = catalog, say
        self._open: dict[Course, ExitStack] = {}
        self._tickets = count()
        self._begun: dict[int, tuple[Course, int]] = {}  # ticket -> (its sweep, its number there)
        self._remarks: set[str] = set()

    def run(self) -> None:
        """Run every trial that is not done yet.

        Raises:
            Interrupted: if it was asked to stop.
        """
        with stop_signals() as stopped, ExitStack() as held:
            self._held = held
            first = self._opened()
            self._workers = (
                1 if self._jobs == 1 else min(self._jobs, max(1, (first.left if first else 0) + self._trials))
            )
            for outcome in self._outcomes(stopped):
                course, number = self._begun.pop(outcome.number)
                course.end(replace(outcome, number=number))
            for course in list(self._open):
                self._close(course)
            if stopped():
                raise Interrupted("stopped; finished trials are kept", next_step=AGAIN)

    def _outcomes(self, stopped: Callable[[], bool]) -> Iterator[Outcome]:
        """The outcome of each trial, as soon as it has ended. Its number is the ticket."""
        if self._jobs > 1:
            begun = [job for job in [self._next_job(0)] if job is not None]
            if not begun and not self._others():
                return  # nothing is left to do: no worker is started for it
            with Workers(self._workers, stopped, self._say, self._catalog, self._remark) as workers:
                self._say(f"{counted(self._workers, 'worker')} with {counted(workers.threads, 'thread')} each")
                yield from workers.run(
                    lambda place: begun.pop() if begun else self._next_job(place), self._passing, self._others
                )
            return
        while True:
            job = self._next_job(0)
            if job is not None:
                yield from work(job, self._catalog, stopped, self._say, self._passing, self._remark)
            elif not self._others():
                return
            elif stopped():
                raise Interrupted("stopped; finished trials are kept", next_step=AGAIN)
            else:
                time.sleep(0.5)

    def _opened(self) -> Course | None:
        """The next sweep, opened; None after the last."""
        opening = next(self._sweeps, None)
        if opening is None:
            return None
        stack = self._held.enter_context(ExitStack())
        course = stack.enter_context(opening())
        self._open[course] = stack
        return course

    def _close(self, course: Course) -> None:
        self._open.pop(course).close()

    def _next_job(self, worker: int) -> Job | None:
        """The next trials for an idle worker, under their tickets; None if no trial waits now."""
        for course in list(self._open):
            if job := self._of(course, worker):
                return job
        while new := self._opened():
            if job := self._of(new, worker):
                return job
        return None

    def _of(self, course: Course, worker: int) -> Job | None:
        """The next trials of a sweep. A sweep that is over is closed."""
        job = course.next_job(worker, self._workers)
        if job is None:
            if course.over:
                self._close(course)
            return None
        tasks = []
        for task in job.tasks:
            ticket = next(self._tickets)
            self._begun[ticket] = course, task.number
            tasks.append(replace(task, number=ticket))
        return replace(job, tasks=tasks)

    def _others(self) -> bool:
        """Whether other machines still run trials."""
        return any(course.others() for course in self._open)

    def _passing(self, ticket: int, step: int, metrics: Mapping[str, float], verdict: str) -> bool:
        course, number = self._begun[ticket]
        return course.passing(number, step, metrics, verdict)

    def _remark(self, text: str) -> None:
        """Say once what many trials say, such as what was understood of the data."""
        if text not in self._remarks:
            self._remarks.add(text)
            self._say(text)
