"""Running the trials of a sweep: a job is one experiment, or several that are trained as one program."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..catalog.catalog import Catalog
from ..errors import IdemlabError, Interrupted
from ..experiment.experiment import Experiment
from ..training.watcher import Watcher
from ..wording import AGAIN

if TYPE_CHECKING:
    from ..objective.evaluation import Evaluation
    from ..objective.preflight import Plan

__all__ = ["Job", "Outcome", "Passing", "Task", "work"]

Passing = Callable[[int, int, Mapping[str, float], str], bool]
"""Told, at an evaluation during a run, the trial's number, the step, the metrics and the verdict: whether to give it up."""


@dataclass(frozen=True)
class Task:
    """One trial that is to be run: its number, the folder of its run, and the experiment."""

    number: int
    out: str
    experiment: Experiment


@dataclass(frozen=True)
class Job:
    """Tasks that are run together; more than one are `stackable`. Those of a job that is `watched` may be given up."""

    tasks: list[Task]
    watched: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a trial: `error` is "" where it is complete, or was given up (`pruned`)."""

    number: int
    error: str
    pruned: bool = False


def work(
    job: Job,
    catalog: Catalog,
    stopped: Callable[[], bool],
    say: Callable[[str], None] = lambda text: None,
    passing: Passing = lambda number, step, measured, verdict: False,
) -> Iterator[Outcome]:
    """Run a job and tell what became of each of its trials.

    Raises:
        Interrupted: if it was asked to stop; what has not ended is to be run again.
    """
    if len(job.tasks) > 1:
        try:
            yield from _together(job, catalog, stopped, say)
            return
        except _Refused as refused:
            say(f"trained one after the other, as together it cannot be: {refused}")
    for task in job.tasks:
        yield _alone(task, catalog, stopped, _Judged(task.number, passing) if job.watched else Watcher())


class _Refused(Exception):
    pass


class _GivenUp(Exception):
    pass


class _Judged(Watcher):
    """Ends a run that is to be given up."""

    def __init__(self, number: int, passing: Passing) -> None:
        self._number, self._passing = number, passing

    def started(self, experiment: Experiment, plan: Plan, first_step: int) -> None:
        self._steps = plan.steps

    def evaluated(self, step: int, evaluation: Evaluation) -> None:
        if step < self._steps and self._passing(self._number, step, evaluation.flat(), evaluation.verdict.value):
            raise _GivenUp


def _together(job: Job, catalog: Catalog, stopped: Callable[[], bool], say: Callable[[str], None]) -> Iterator[Outcome]:
    from ..training.stacked_loop import train_stacked

    count = len(job.tasks)

    def stepped(done: int, steps: int) -> None:
        if done % max(1, steps // 10) == 0:
            say(f"{count} trials as one program: step {done} of {steps}")

    try:
        errors = train_stacked(
            [task.experiment for task in job.tasks],
            [Path(task.out) for task in job.tasks],
            catalog,
            stopped=stopped,
            stepped=stepped,
        )
    except Interrupted:
        raise
    except IdemlabError as error:
        raise _Refused(error.what) from error
    for task, fault in zip(job.tasks, errors, strict=True):
        yield Outcome(task.number, fault)


def _alone(task: Task, catalog: Catalog, stopped: Callable[[], bool], watcher: Watcher) -> Outcome:
    """One ordinary run; one that was interrupted before goes on from its last checkpoint."""
    from ..runs.changes import changes
    from ..runs.run import Run
    from ..training.loop import train

    run, pruned = Run(Path(task.out)), False
    try:
        if stopped():
            raise Interrupted("stopped; what has ended is kept", next_step=AGAIN)
        # One that began with other versions begins again: no trial is made with two of them.
        begun = any(run.checkpoints.glob("step-*")) and not changes(run, task.experiment, catalog)
        if not begun:
            shutil.rmtree(run.path, ignore_errors=True)  # all there is was cut short
        train(task.experiment, run.path, resume=begun, watcher=watcher, catalog=catalog)
    except Interrupted:
        raise
    except _GivenUp:
        pruned = True
    except IdemlabError as error:
        return Outcome(task.number, error.what)
    shutil.rmtree(run.checkpoints, ignore_errors=True)  # it has ended: nothing will be resumed
    return Outcome(task.number, "", pruned)
