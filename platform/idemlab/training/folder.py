"""The folder of a run before its first step: check it, lock it, and open it for a new or resumed run."""

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
    """Check that the folder can be written, and that it is new or its run is to be resumed.

    Raises:
        BadInput: if it holds a run that is not to be resumed, or is a file.
        Failure: if it cannot be written.
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
    """Lock the folder against other runs. The main process locks it for all; if it fails, every process stops."""
    with ExitStack() as stack:
        refusal: IdemlabError | None = None
        if engine.main:
            try:
                stack.enter_context(exclusive(run.path))
                check_folder(run, resume=resume)  # another run may have used it since the first check
            except IdemlabError as error:
                refusal = error
        if engine.any(refusal is not None):
            raise refusal or Failure(f"the main process cannot lock '{run.path}'; its own message says why")
        yield


def newest(run: Run, engine: Engine, message: Callable[[str], None]) -> Path | None:
    """The newest undamaged checkpoint, or None; the same for all processes.

    Raises:
        Failure: if the processes see different checkpoints.
    """
    checkpoint = latest(run.checkpoints, message)
    step = -1 if checkpoint is None else int(checkpoint.name.removeprefix("step-"))
    found = engine.rows(torch.tensor(step, device=engine.device)).tolist()
    if len(set(found)) > 1:
        names = ", ".join("none" if step < 0 else f"step-{step}" for step in found)
        raise Failure(
            f"the processes see different checkpoints; by process: {names}",
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
    """Write the experiment and its environment, and drop the entries that the run will write again.

    Args:
        first: step from which training continues.
        changes: what has changed since the run began.
    """
    run.path.mkdir(parents=True, exist_ok=True)
    if changes or not first or not run.experiment_file.is_file():
        write_experiment(run, experiment)
    write_circumstances(run, catalog, plan, engine.device, engine.world, changes)
    # Later entries will be written again, and so will the final evaluation, which comes after the last checkpoint.
    last = {"step": plan.steps, "split": "evaluation"}
    write_entries(run, [entry for entry in run.metrics if entry["step"] <= first and not last.items() <= entry.items()])
    if first < plan.steps:  # a finished run that got more steps is unfinished again
        run.certificate_file.unlink(missing_ok=True)
    prune(run.checkpoints, first, experiment.training.keep)
