"""The folder of a run before its first step: free to be written, held by this run alone, and opened, new or resumed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from ..catalog.catalog import Catalog
from ..errors import BadInput, Failure, IdemlabError
from ..experiment.experiment import Experiment
from ..objective.engines import Engine
from ..objective.preflight import Plan
from ..runs.run import Run
from ..runs.writing import write_circumstances, write_entries, write_experiment
from ..system.lock import exclusive
from .checkpoint import latest, prune

__all__ = ["check_folder", "held", "newest", "open_folder"]


def check_folder(run: Run, *, resume: bool) -> None:
    """The folder is new, or its run is to be resumed, and can be written.

    Raises:
        BadInput, Failure: says which of this is not so.
    """
    if run.path.exists() and not run.path.is_dir():
        raise BadInput(f"'{run.path}' is a file", expected="a folder for the run", next_step="give another folder")
    if run.experiment_file.is_file() and not resume:
        raise BadInput(
            f"'{run.path}' holds a run already", next_step=f"give another folder, or resume it with: {run.resuming}"
        )
    nearest = run.path
    while not nearest.exists():
        nearest = nearest.parent
    if not os.access(nearest, os.W_OK):
        raise Failure(
            f"the output folder '{run.path}' cannot be written", where=str(nearest), next_step="give another folder"
        )


@contextmanager
def held(run: Run, engine: Engine, *, resume: bool) -> Iterator[None]:
    """No other run writes to the folder. The main process holds it for all; if it cannot, none goes on."""
    with ExitStack() as stack:
        refusal: IdemlabError | None = None
        if engine.main:
            try:
                stack.enter_context(exclusive(run.path))
                check_folder(run, resume=resume)  # another may have been here since
            except IdemlabError as error:
                refusal = error
        if engine.any(refusal is not None):
            raise refusal or Failure(f"the main process cannot have '{run.path}' for itself; see what it says")
        yield


def newest(run: Run, engine: Engine, message: Callable[[str], None]) -> Path | None:
    """The newest whole checkpoint, or None; the same for all processes.

    Raises:
        Failure: if the processes do not see the same ones.
    """
    checkpoint = latest(run.checkpoints, message)
    step = -1 if checkpoint is None else int(checkpoint.name.removeprefix("step-"))
    found = engine.rows(torch.tensor(step, device=engine.device)).tolist()
    if len(set(found)) > 1:
        names = ", ".join("none" if step < 0 else f"step-{step}" for step in found)
        raise Failure(
            f"the processes do not see the same checkpoints; by process: {names}",
            where=str(run.checkpoints),
            next_step="give a folder that all machines share",
        )
    return checkpoint


def open_folder(
    run: Run,
    experiment: Experiment,
    catalog: Catalog,
    plan: Plan,
    engine: Engine,
    *,
    first: int = 0,
    changes: Sequence[str] = (),
) -> None:
    """Write what a run is made with, and drop what it will write again from step `first` on.

    Args:
        first: step to go on from.
        changes: what has changed since the run began.
    """
    run.path.mkdir(parents=True, exist_ok=True)
    if changes or not first or not run.experiment_file.is_file():
        write_experiment(run, experiment)
    write_circumstances(run, catalog, plan, engine.device, engine.world, changes)
    # Entries that will be written again; the evaluation at the end comes after the last checkpoint.
    last = {"step": plan.steps, "split": "evaluation"}
    write_entries(run, [entry for entry in run.metrics if entry["step"] <= first and not last.items() <= entry.items()])
    if first < plan.steps:  # a finished run that was made longer is not finished any more
        run.certificate_file.unlink(missing_ok=True)
    prune(run.checkpoints, first, experiment.training.keep)
