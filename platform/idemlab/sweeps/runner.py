"""Runs sweeps: checks everything first, then runs each trial, in this process or in workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..arguments import whole
from ..catalog.catalog import Catalog, or_installed
from ..errors import BadInput
from ..system.files import as_path
from ..system.memory import free_memory
from ..system.neighbours import own_cores
from ..system.threads import shared_out
from .folder import is_begun
from .plan import Plan
from .portable import check_portable
from .reading import open_sweep
from .results import Results
from .sweep import Sweep
from .turns import Turns

__all__ = ["run_sweep", "run_sweeps"]


def run_sweep(
    sweep: Sweep,
    out: str | Path,
    *,
    model: Any = None,
    dataset: Any = None,
    source: Any = None,
    enforcer: Any = None,
    metrics: Sequence[Any] | None = None,
    resume: bool = False,
    retry: bool = False,
    jobs: int | None = 1,
    storage: str | None = None,
    say: Callable[[str], None] = lambda text: None,
    catalog: Catalog | None = None,
) -> Results:
    """Run every trial of a sweep and write a folder with all runs, a table and a picture.

    Trials that differ only in seed and optimiser are trained as one batched program if their parts allow it.
    A failed trial is kept with its error, and the others continue.

    Args:
        sweep: the sweep to run.
        out: folder of the sweep; must not hold a sweep unless `resume`.
        model, dataset, source, enforcer, metrics: parts in place of those of the experiment, as `train` takes them. Give a
            function to build a new part for each trial, under the trial's seed; its annotated arguments can be tried:
            ``over={"model.width": [16, 32]}`` with ``def network(width: int = 16)``. If you give a module itself, every
            trial starts from it.
        resume: run the trials that are not finished; `seeds` and `trials` may be larger than before.
        retry: run failed trials again.
        jobs: number of worker processes; 1 trains in this process, and None chooses a number: see `workers_for`.
        storage: URL of a database, ``postgresql://USER@HOST/DATABASE``. This process starts or joins the sweep there that
            has the folder's name. Machines that make the same call share its trials, and each call returns when all trials
            have ended. Default: a journal in the folder.
        say: called with each line of progress.
        catalog: where names are looked up, also by worker processes; default: the installed plugins.

    Raises:
        BadInput: before any training, if a trial does not resolve or cannot be sent to worker processes, if no evaluation
            measures the metric, or if the folder or the storage holds another sweep.
        Failure: if the storage cannot be reached.
        Interrupted: after Ctrl-C or SIGTERM; the sweep can be resumed.
    """
    own = or_installed(catalog)
    from ..objective.given import offered, parts_of

    parts = parts_of(model=model, dataset=dataset, source=source, enforcer=enforcer, metrics=metrics)
    parts, own = offered(parts, own)
    plan = Plan(sweep, as_path(out, "out"), own, parts, storage, resume=resume, say=say)
    plan.check()
    jobs = _jobs_for([plan], jobs)
    Turns([partial(plan.opened, retry=retry)], 0, jobs, own, say).run()
    return open_sweep(plan.path, storage=plan.storage, catalog=own)


def run_sweeps(
    sweeps: Mapping[Path, Sweep],
    *,
    jobs: int | None = 1,
    say: Callable[[str], None] = lambda text: None,
    catalog: Catalog | None = None,
) -> dict[Path, Results]:
    """Run several sweeps, each in its folder; those that have begun are resumed. With workers, their trials overlap.

    All sweeps are checked before the first trial.

    Args:
        sweeps: folder -> sweep, in the order in which they begin.
        jobs: as for `run_sweep`, for all sweeps together.
        say: called with each line of progress. Where trials of several sweeps overlap, the name of the sweep comes first.
        catalog: where names are looked up; default: the installed plugins.

    Raises:
        BadInput, Failure, Interrupted: as `run_sweep`.
    """
    own = or_installed(catalog)
    plans = [
        Plan(sweep, path, own, {}, None, resume=is_begun(path), say=say, label=path.name)
        for path, sweep in sweeps.items()
    ]
    for plan in plans:
        plan.check()
    jobs = _jobs_for(plans, jobs)
    for plan in plans:
        plan.overlaps = jobs > 1 and len(plans) > 1
    Turns([plan.opened for plan in plans], sum(plan.left for plan in plans[1:]), jobs, own, say).run()
    return {plan.path: open_sweep(plan.path, catalog=own) for plan in plans}


def workers_for(cores: int, memory: int | None, *, depend: bool, accelerators: int) -> int:
    """The number of workers if the caller leaves it open: one for each core, which is the fastest on a CPU.

    Small networks gain little from a second thread. On two cores, two trainings of the main job with one thread each make
    1.4 times as many steps together as one with two threads.

    Args:
        cores: threads that the process may use.
        memory: free bytes, of which each worker is allowed `_MEMORY`; None if unknown.
        depend: whether trials depend on those that end before them: a sampler that learns, or a pruner. Then there is one
            worker, so that the same call gives the same trials.
        accelerators: number of GPUs. Trials on a GPU run one after the other.
    """
    if depend or accelerators:
        return 1
    return max(1, cores if memory is None else min(cores, memory // _MEMORY))


_MEMORY = 2 * 1024**3
"""Bytes of memory that a worker needs, with room to spare: those of the main job take 0.6 GB."""


def _jobs_for(plans: Sequence[Plan], jobs: int | None) -> int:
    """The number of workers: the one that was asked for, or one at which all can run.

    Raises:
        BadInput: if the number is none, or if several were asked for, and something cannot be sent to them.
    """
    import torch

    jobs = None if jobs is None else whole(jobs, "jobs")
    try:
        if jobs != 1:
            check_portable(experiment for plan in plans for experiment in plan.probed)
    except BadInput:
        if jobs is None:
            return 1
        raise
    if jobs is not None:
        return jobs
    depend = any(plan.sweep.sampler == "tpe" or plan.sweep.pruner != "none" for plan in plans)
    accelerators = torch.cuda.device_count() + torch.backends.mps.is_available()
    most = workers_for(shared_out(len(own_cores()), 1), free_memory(), depend=depend, accelerators=accelerators)
    return min(most, max(1, sum(plan.trials for plan in plans)))
