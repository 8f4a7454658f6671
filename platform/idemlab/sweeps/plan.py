"""One sweep that is to be run in a folder: checked, then opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..catalog.catalog import Catalog
from ..catalog.given import check_present
from ..errors import BadInput
from ..experiment.experiment import Experiment
from ..system.lock import check_free, exclusive
from ..wording import nothing_to_resume, with_article
from .course import Course
from .folder import check_folder, check_same, content_of, is_begun, open_folder, place_of
from .ledger import Ledger
from .reading import open_sweep, results_of, write_summaries
from .samplers import known_settings
from .storage import located, masked
from .sweep import Sweep

__all__ = ["Plan"]


class Plan:
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

    @property
    def left(self) -> int:
        """Number of its trials that have not ended."""
        return self.trials - (len(open_sweep(self.path).trials) if is_begun(self.path) else 0)

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
        check_free(self.path)  # the lock may be asked for only when trials of other sweeps are running
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

        # First of all: if it cannot be reached, nothing is written here.
        shared = None if self.storage is None else ledger()
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
