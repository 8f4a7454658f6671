"""From names to objects: the dataset, the objective and the optimisers of an experiment."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..catalog.named import Named
from ..contracts.dataset import Dataset
from ..contracts.enforcer import DISTANCES, Enforcer
from ..contracts.metric import Metric
from ..contracts.orbit import Operator
from ..contracts.source import Source
from ..contracts.specs import MetricSpec, ModelSpec
from ..errors import BadInput
from ..experiment.blame import blame
from ..experiment.experiment import Experiment
from .data import build_dataset, classes_of
from .modules import check_methods, check_model, start_from
from .objective import Objective
from .start import freeze, load_added, load_start

__all__ = ["Inputs", "Parts", "assemble", "build_inputs", "build_operator", "check_metrics"]

SHARED_ORBIT = "data"
"""The source whose points are the reconstruction's own inputs."""


@dataclass(frozen=True)
class Parts:
    """All objects of one experiment.

    Args:
        dataset: data to train and evaluate on.
        objective: the module to train.
        inputs: evaluation inputs beside the test data, by name.
        metrics: (spec's inputs, metric) pairs; empty inputs mean all.
        remark: a sentence for the user before training begins, about the weights to start from; or "".
    """

    dataset: Dataset
    objective: Objective
    inputs: dict[str, Source]
    metrics: list[tuple[tuple[str, ...], Metric]]
    remark: str = ""


def assemble(experiment: Experiment, dataset: Dataset | None = None) -> Parts:
    """Build everything an experiment names, under its seed, and fit sources and metrics to the data.

    Args:
        dataset: the data of an equal experiment that are already in memory, to be used instead of a second set.

    Raises:
        BadInput, Failure: from the factories; names the plugin at fault.
    """
    return blame(experiment, lambda: _assembled(experiment, dataset), "building the experiment")


def _assembled(experiment: Experiment, dataset: Dataset | None) -> Parts:
    dataset = build_dataset(experiment) if dataset is None else dataset
    torch.manual_seed(experiment.training.seed)
    dtype: torch.dtype = getattr(torch, experiment.training.dtype)
    enforcer = experiment.enforcer.build_as(Enforcer)

    def source(named: Named) -> Source | None:
        return None if named.name == SHARED_ORBIT else named.build_as(Source)

    operator = build_operator(experiment, dataset.shape, classes_of(experiment, dataset))
    traits = experiment.enforcer.traits()
    freeze(operator, experiment.start.settings.freeze, experiment.model)
    further: dict[str, Tensor] = {}
    if experiment.start.weights is None:
        start_from(operator, dataset)
    else:
        further = load_start(operator, experiment.start, experiment.model)
    check_methods(operator, traits.wraps, experiment.enforcer, experiment.model)
    objective = Objective(
        operator,
        enforcer,
        [source(named) for named in experiment.sources],
        corruption=source(experiment.corruption),
        weight=experiment.reconstruction.weight,
        distance=DISTANCES[experiment.reconstruction.distance],
    ).to(dtype)
    if objective.operator is not operator:
        start_from(objective.operator, dataset)  # what the enforcer adds
    remark = ""
    if experiment.start.weights is not None:
        added = objective.added
        remark = load_added(objective.operator, added, further, experiment.start, experiment.enforcer)
    check_methods(objective.operator, traits.calls, experiment.enforcer, experiment.model)
    inputs = {name: named.build_as(Source) for name, named in experiment.inputs.items()}
    sources = [*objective.sources, *inputs.values(), *([objective.corruption] if objective.corruption else [])]
    for each in sources:
        each.to(dtype)
        each.fit(dataset)
    for named in experiment.metrics:
        assert isinstance(named.spec, MetricSpec)
        check_methods(objective.operator, named.spec.calls, named, experiment.model)
    metrics = _metrics(experiment, dataset)
    return Parts(dataset, objective, inputs, metrics, remark)


@dataclass(frozen=True)
class Inputs:
    """The dataset and the sources of the evaluation inputs, as in `Parts`."""

    dataset: Dataset
    inputs: dict[str, Source]


def build_inputs(experiment: Experiment) -> Inputs:
    """The data and the sources of the evaluation inputs alone, under the experiment's seed: no model, no enforcer.

    Raises:
        BadInput, Failure: from the factories; names the plugin at fault.
    """

    def built() -> Inputs:
        dataset = build_dataset(experiment, trained_on=False)
        torch.manual_seed(experiment.training.seed)
        dtype: torch.dtype = getattr(torch, experiment.training.dtype)
        inputs = {name: named.build_as(Source) for name, named in experiment.inputs.items()}
        for source in inputs.values():
            source.to(dtype)
            source.fit(dataset)
        return Inputs(dataset, inputs)

    return blame(experiment, built, "building the evaluation inputs")


def check_metrics(experiment: Experiment) -> None:
    """Read the data, and let the sources and metrics of the evaluation take them.

    Raises:
        BadInput, Failure: if one does not.
    """
    dataset = build_inputs(experiment).dataset
    blame(experiment, lambda: _metrics(experiment, dataset), "building the metrics")


def _metrics(experiment: Experiment, dataset: Dataset) -> list[tuple[tuple[str, ...], Metric]]:
    """(inputs, metric) for each metric, which has taken the data."""
    metrics = []
    for named in experiment.metrics:
        assert isinstance(named.spec, MetricSpec)
        metric = named.build_as(Metric)
        metric.fit(dataset)
        metrics.append((named.spec.inputs, metric))
    return metrics


def build_operator(experiment: Experiment, shape: tuple[int, ...], classes: int | None = None) -> Operator:
    """The network that the experiment names, for samples of this shape; under a condition of so many classes, if given."""
    _check_precision(experiment)
    spec = experiment.model.spec
    passed = (shape, classes) if isinstance(spec, ModelSpec) and spec.conditional else (shape,)
    operator: Operator = experiment.model.build_as(nn.Module, *passed)
    check_model(operator, experiment.model.name, str(experiment.model.plugin))
    return operator


def _check_precision(experiment: Experiment) -> None:
    """Refuse a given model in another precision than the run's. What a factory builds is converted, since it is new."""
    given = experiment.model.arguments.get("dtype") if experiment.model.given else None
    wanted = experiment.training.dtype
    if given not in (None, wanted):
        way_out = f"set training.dtype = {given}, or " if given in ("float32", "float64") else ""
        raise BadInput(
            f"{experiment.model} has parameters in {given}, and the run trains in {wanted}",
            where="[model] and [training], key 'dtype'",
            next_step=f"{way_out}give the module in {wanted}: module.to(torch.{wanted})",
        )
