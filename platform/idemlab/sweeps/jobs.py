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
from ..watching.watcher import Watcher
from ..wording import AGAIN

if TYPE_CHECKING:
    from ..objective.evaluation import Evaluation
    from ..objective.preflight import Plan

__all__ = ["Job", "Outcome", "Passing", "Task", "work"]

Passing = Callable[[int, int, Mapping[str, float], str], bool]
"""Called at each evaluation with the trial's number, the step, the metrics and the verdict; returns whether to prune it."""


@dataclass(frozen=True)
class Task:
    """One trial to run: its number, the folder of its run, and the experiment."""

    number: int
    out: str
    experiment: Experiment


@dataclass(frozen=True)
class Job:
    """Tasks that one worker runs; several tasks are `stackable`. Tasks of a `watched` job may be pruned.

    The `label` stands before the lines of its progress, where trials of several sweeps run side by side.
    """

    tasks: list[Task]
    watched: bool = False
    label: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: `error` is "" for one that is complete or was `pruned`."""

    number: int
    error: str
    pruned: bool = False


def work(
    job: Job,
    catalog: Catalog,
    stopped: Callable[[], bool],
    say: Callable[[str], None] = lambda text: None,
    passing: Passing = lambda number, step, measured, verdict: False,
    remark: Callable[[str], None] = lambda text: None,
) -> Iterator[Outcome]:
    """Run a job; yields the outcome of each of its trials.

    Args:
        say: called with each line of progress.
        remark: called with what a run says at its start, such as what was understood of its data.

    Raises:
        Interrupted: if it was asked to stop; trials that have not ended run again later.
    """
    if len(job.tasks) > 1:
        try:
            yield from _together(job, catalog, stopped, say, remark)
            return
        except _Refused as refused:
            say(f"these trials cannot be trained together, so they run one after the other: {refused}")
    for task in job.tasks:
        watcher = _Judged(task.number, passing, remark) if job.watched else _Remarking(remark)
        yield _alone(task, catalog, stopped, watcher)


class _Refused(Exception):
    pass


class _GivenUp(Interrupted):
    """Stops a run that the pruner gives up."""


class _Remarking(Watcher):
    """Passes on what a run says, without its progress."""

    def __init__(self, remark: Callable[[str], None]) -> None:
        self._remark = remark

    def message(self, text: str) -> None:
        self._remark(text)


class _Judged(_Remarking):
    """Ends a run as soon as the pruner gives it up."""

    def __init__(self, number: int, passing: Passing, remark: Callable[[str], None]) -> None:
        super().__init__(remark)
        self._number, self._passing = number, passing

    def started(self, experiment: Experiment, plan: Plan, first_step: int) -> None:
        self._steps = plan.steps

    def evaluated(self, step: int, evaluation: Evaluation) -> None:
        if step < self._steps and self._passing(self._number, step, evaluation.flat(), evaluation.verdict.value):
            raise _GivenUp("given up")


def _together(
    job: Job,
    catalog: Catalog,
    stopped: Callable[[], bool],
    say: Callable[[str], None],
    remark: Callable[[str], None],
) -> Iterator[Outcome]:
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
            message=remark,
        )
    except Interrupted:
        raise
    except IdemlabError as error:
        raise _Refused(error.what) from error
    for task, fault in zip(job.tasks, errors, strict=True):
        yield Outcome(task.number, fault)


def _alone(task: Task, catalog: Catalog, stopped: Callable[[], bool], watcher: Watcher) -> Outcome:
    """Train one trial as an ordinary run, from its last checkpoint if it was interrupted before."""
    from ..runs.changes import changes
    from ..runs.run import Run
    from ..training.loop import train

    run, pruned = Run(Path(task.out)), False
    try:
        if stopped():
            raise Interrupted("stopped; finished trials are kept", next_step=AGAIN)
        # A run that began with other versions starts again, so that no trial mixes two versions.
        begun = any(run.checkpoints.glob("step-*")) and not changes(run, task.experiment, catalog)
        if not begun:
            shutil.rmtree(run.path, ignore_errors=True)  # it holds an unfinished run
        train(task.experiment, run.path, resume=begun, watchers=[watcher], progress=False, catalog=catalog)
    except _GivenUp:
        pruned = True
    except Interrupted:
        raise
    except IdemlabError as error:
        return Outcome(task.number, error.what)
    shutil.rmtree(run.checkpoints, ignore_errors=True)  # a finished trial is never resumed
    return Outcome(task.number, "", pruned)
