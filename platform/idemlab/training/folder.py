"""The folder of a run before its first step: check it, lock it, and open it for a new or resumed run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from ..catalog.catalog import Catalog
from ..errors import BadInput, Failure, IdemlabError
from ..experiment.experiment import Experiment
from ..objective.engines import Engine
from ..objective.preflight import Plan
from ..runs.run import WHICH, Run
from ..runs.writing import write_circumstances, write_entries, write_experiment
from ..system.files import folder_for
from ..system.lock import exclusive
from ..wording import nothing_to_resume
from .checkpoint import latest, prune

__all__ = ["begun_anew", "check_folder", "held", "newest", "open_folder"]


def check_folder(run: Run, *, resume: bool) -> None:
    """Check that the folder can be written, and that it is new or its run is to be resumed.

    Raises:
        BadInput: if it holds a run that is not to be resumed, or is a file.
        Failure: if it cannot be written.
    """
    nearest = folder_for(run.path, "the run")
    if run.experiment_file.is_file() and not resume:
        raise BadInput(
            f"'{run.path}' holds a run already", next_step=f"give another folder, or resume it with: {run.resuming}"
        )
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


def begun_anew(run: Run) -> str:
    """Why a run that is to be resumed has no checkpoint, and what happens instead."""
    if not run.experiment_file.is_file():
        return nothing_to_resume(run.path)
    return "there is no undamaged checkpoint: starting from the beginning"


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
    write_entries(run, list(_kept(run.metrics, first, plan.steps)))
    if first < plan.steps:  # a finished run that got more steps is unfinished again
        for which in WHICH:
            run.certificate_of(which).unlink(missing_ok=True)
    prune(run.checkpoints, first, experiment.training.keep)


def _kept(entries: Iterable[dict[str, Any]], first: int, steps: int) -> Iterator[dict[str, Any]]:
    """The entries that a run resumed after step `first` will not write again.

    It will write the final evaluation again, which comes after the last checkpoint. Where a run ended early, that is the
    second evaluation after the same step.
    """
    seen: set[tuple[int, str]] = set()
    for entry in entries:
        key = entry["step"], entry["split"]
        final = entry["split"] != "train" and (entry["step"] == steps or key in seen)
        if entry["step"] <= first and not final:
            seen.add(key)
            yield entry
