"""Runs a sweep: checks everything first, then runs each trial, in this process or in workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..arguments import whole
from ..catalog.catalog import Catalog, or_installed
from ..catalog.given import check_present
from ..errors import BadInput
from ..experiment.experiment import Experiment
from ..system.files import as_path
from ..system.lock import exclusive
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

__all__ = ["run_sweep"]


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
    jobs: int = 1,
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
        jobs: number of worker processes; 1 trains in this process.
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
    jobs = whole(jobs, "jobs")
    own = or_installed(catalog)
    if not isinstance(sweep, Sweep):
        raise BadInput(
            f"a sweep cannot be {with_article(type(sweep).__name__)}",
            where="sweep",
            expected="an idemlab.Sweep, for instance Sweep(experiment='mlp-cubic', seeds=3)",
        )
    sweep.check()
    settings = known_settings(sweep)
    from ..objective.given import offered, parts_of

    parts = parts_of(model=model, dataset=dataset, source=source, enforcer=enforcer, metrics=metrics)
    parts, own = offered(parts, own)
    experiments = {setting.key: sweep.resolve(setting, own, parts) for setting in settings}
    probed = list(experiments.values()) or [sweep.resolve(setting, own, parts) for setting in sweep.probes()]
    check_present(probed[0].things)
    path = as_path(out, "out")
    storage = None if storage is None else located(storage)
    check_folder(sweep, path, probed[0], storage, resume=resume)
    if resume and storage is None and not is_begun(path):
        say(nothing_to_resume(path))
    if jobs > 1:
        check_portable(probed)
    _check_optimizers(probed)
    if not is_begun(path):  # a finished sweep needs no data
        _check_evaluation(probed)
    _check_metric(sweep, probed)

    place = place_of(path)

    def ledger() -> Ledger:
        every, goal = probed[0].evaluation.every, sweep.goal
        name, key = place.name, place.key
        return Ledger(path, storage, name, key=key, goal=goal, pruner=sweep.pruner, every=every, make=True, say=say)

    shared = None if storage is None else ledger()  # first of all: if it cannot be reached, nothing is written here
    if shared is not None:
        check_same(shared.agreed(content_of(sweep, probed[0])), sweep, probed[0], f"storage '{masked(storage or '')}'")
        shared.grow(sweep)
    with exclusive(path):
        open_folder(sweep, path, probed[0], storage, place)
        kept = shared or ledger()
        by_key = {setting.key: setting for setting in settings}
        course = Course(sweep, path, kept, by_key, experiments, own, jobs, say, parts)
        course.all(retry=retry)
        write_summaries(results_of(sweep, path, kept))
    return open_sweep(path, storage=storage, catalog=own)


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
