"""Runs sweeps: checks everything first, then runs each trial, in this process or in workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ..arguments import whole
from ..catalog.catalog import Catalog, or_installed
from ..catalog.given import check_present
from ..errors import BadInput
from ..experiment.experiment import Experiment
from ..system.files import as_path
from ..system.lock import exclusive
from ..system.memory import free_memory
from ..system.neighbours import own_cores
from ..system.threads import shared_out
from ..wording import nothing_to_resume, with_article
from .course import Course
from .folder import check_folder, check_same, content_of, is_begun, open_folder, place_of
from .ledger import Ledger
from .portable import check_portable
from .reading import open_sweep, results_of, write_summaries
from .results import Results
from .samplers import known_settings
from .storage import located, masked
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
    own, jobs = or_installed(catalog), None if jobs is None else whole(jobs, "jobs")
    from ..objective.given import offered, parts_of

    parts = parts_of(model=model, dataset=dataset, source=source, enforcer=enforcer, metrics=metrics)
    parts, own = offered(parts, own)
    plan = _Plan(sweep, as_path(out, "out"), own, parts, storage, resume=resume, say=say)
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
    own, jobs = or_installed(catalog), None if jobs is None else whole(jobs, "jobs")
    plans = [
        _Plan(sweep, path, own, {}, None, resume=is_begun(path), say=say, label=path.name)
        for path, sweep in sweeps.items()
    ]
    for plan in plans:
        plan.check()
    jobs = _jobs_for(plans, jobs)
    for plan in plans:
        plan.overlaps = jobs > 1 and len(plans) > 1
    Turns([plan.opened for plan in plans], sum(plan.trials for plan in plans[1:]), jobs, own, say).run()
    return {plan.path: open_sweep(plan.path, catalog=own) for plan in plans}


def workers_for(cores: int, memory: int | None, *, depend: bool, accelerators: int) -> int:
    """The number of workers if the caller leaves it open: one for each core, which is the fastest on a CPU.

    Small networks gain little from a second thread. On two cores, two trainings of the main job with one thread each make
    1.6 times as many steps together as one with two threads.

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


def _jobs_for(plans: Sequence[_Plan], jobs: int | None) -> int:
    """The number of workers: the one that was asked for, or one at which all can run.

    Raises:
        BadInput: if several were asked for, and something cannot be sent to them.
    """
    import torch

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


class _Plan:
    """A sweep that is to be run in a folder.

    Args:
        label: name of the sweep in lines of progress, where it is one of several.

    Attributes:
        overlaps: whether its trials run beside those of other sweeps.
    """

    def __init__(
        self,
        sweep: Sweep,
        path: Path,
        catalog: Catalog,
        parts: Mapping[str, Any],
        storage: str | None,
        *,
        resume: bool,
        say: Callable[[str], None],
        label: str = "",
    ) -> None:
        if not isinstance(sweep, Sweep):
            raise BadInput(
                f"a sweep cannot be {with_article(type(sweep).__name__)}",
                where="sweep",
                expected="an idemlab.Sweep, for instance Sweep(experiment='mlp-cubic', seeds=3)",
            )
        sweep.check()
        self.sweep, self.path, self.catalog, self.parts = sweep, path, catalog, parts
        self.storage = None if storage is None else located(storage)
        self.resume, self.say, self.label, self.overlaps = resume, say, label, False

    @property
    def trials(self) -> int:
        """Number of its trials, done or not."""
        return self.sweep.count * self.sweep.seeds

    def check(self) -> None:
        """Check everything that can be checked before training, except whether workers can run it. Writes nothing."""
        sweep, storage = self.sweep, self.storage
        settings = known_settings(sweep)
        self.settings = {setting.key: setting for setting in settings}
        self.experiments = {setting.key: sweep.resolve(setting, self.catalog, self.parts) for setting in settings}
        probes = [] if self.experiments else sweep.probes()
        self.probed = probed = [
            *self.experiments.values(),
            *(sweep.resolve(setting, self.catalog, self.parts) for setting in probes),
        ]
        self.first = probed[0]
        check_present(self.first.things)
        check_folder(sweep, self.path, self.first, storage, resume=self.resume)
        if self.resume and storage is None and not is_begun(self.path):
            self.say(nothing_to_resume(self.path))
        _check_optimizers(probed)
        if not is_begun(self.path):  # a finished sweep needs no data
            _check_evaluation(probed)
        _check_metric(sweep, probed)

    @contextmanager
    def opened(self, *, retry: bool = False) -> Iterator[Course]:
        """Lock the folder, and open its trials. At the end, the table is written, unless an error ends it."""
        place = place_of(self.path)
        say = self._labelled if self.overlaps else self.say
        if self.label:
            self.say(f"sweep {self.label}")

        def ledger() -> Ledger:
            every, goal = self.first.evaluation.every, self.sweep.goal
            name, key, pruner = place.name, place.key, self.sweep.pruner
            return Ledger(
                self.path, self.storage, name, key=key, goal=goal, pruner=pruner, every=every, make=True, say=say
            )

        shared = (
            None if self.storage is None else ledger()
        )  # first of all: if it cannot be reached, nothing is written here
        if shared is not None:
            where = f"storage '{masked(self.storage or '')}'"
            check_same(shared.agreed(content_of(self.sweep, self.first)), self.sweep, self.first, where)
            shared.grow(self.sweep)
        with exclusive(self.path):
            open_folder(self.sweep, self.path, self.first, self.storage, place)
            kept = shared or ledger()
            label = f"{self.label}: " if self.overlaps else ""
            course = Course(
                self.sweep, self.path, kept, self.settings, self.experiments, self.catalog, say, self.parts, label
            )
            with course.open(retry=retry):
                yield course
            write_summaries(results_of(self.sweep, self.path, kept))

    def _labelled(self, line: str) -> None:
        self.say(f"{self.label}: {line}")


def _check_optimizers(experiments: Sequence[Experiment]) -> None:
    """Check that each optimiser takes the values of its arguments, which resolving cannot know."""
    from torch import nn

    from ..objective.optimizers import build_optimizers

    different = {repr((experiment.optimizer, experiment.method)): experiment for experiment in experiments}
    for experiment in different.values():
        build_optimizers(experiment.optimizer, list(nn.Linear(1, 1).parameters()), experiment.method)


def _check_evaluation(experiments: Sequence[Experiment]) -> None:
    """Check that the metrics take the data, where all trials have the same of both: otherwise no trial could succeed."""
    from ..objective.parts import check_metrics

    first = experiments[0]
    if all(
        (each.dataset, each.inputs, each.metrics) == (first.dataset, first.inputs, first.metrics)
        for each in experiments
    ):
        check_metrics(first)


def _check_metric(sweep: Sweep, experiments: Sequence[Experiment]) -> None:
    """Check that evaluations give the metric. One evaluation of the untrained operator shows what plugins measure."""
    import torch

    from ..objective.measured import check_metric, measured
    from ..objective.parts import assemble

    def names() -> set[str]:
        parts = assemble(experiments[0])
        return measured(experiments[0], parts, parts.objective.operator, torch.device("cpu"))

    check_metric(sweep.metric, experiments, names, "metric")
