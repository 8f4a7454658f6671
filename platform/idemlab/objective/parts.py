"""From names to objects: the dataset, the objective and the optimisers of an experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from ..catalog.catalog import Catalog, Named
from ..contracts.dataset import Dataset
from ..contracts.enforcer import DISTANCES, Enforcer
from ..contracts.metric import Metric
from ..contracts.orbit import Operator
from ..contracts.source import Source
from ..errors import BadInput
from ..experiment.experiment import Experiment
from .modules import check_model
from .objective import Objective

__all__ = ["Parts", "assemble", "build_operator"]

T = TypeVar("T")

SHARED_ORBIT = "data"
"""The source whose points are the reconstruction's own inputs."""


@dataclass(frozen=True)
class Parts:
    """All objects of one experiment.

    Args:
        dataset: what to train and evaluate on.
        objective: what is trained.
        inputs: evaluation inputs beside the test data, by name.
        metrics: (spec's inputs, metric) pairs; empty inputs mean all.
    """

    dataset: Dataset
    objective: Objective
    inputs: dict[str, Source]
    metrics: list[tuple[tuple[str, ...], Metric]]


def assemble(experiment: Experiment, catalog: Catalog, dataset: Dataset | None = None) -> Parts:
    """Build everything an experiment names, under its seed, and fit sources and metrics to the data.

    Args:
        dataset: that of an experiment with the same one, so that it is held in memory once.

    Raises:
        BadInput, Failure: from the factories; says whose it is.
    """
    dataset = catalog.build(experiment.dataset) if dataset is None else dataset
    if not isinstance(dataset, Dataset):
        raise BadInput(
            f"dataset '{experiment.dataset.name}' returned {type(dataset).__name__}, not an idemlab.Dataset",
            where=str(catalog.find("dataset", experiment.dataset.name).plugin),
        )
    torch.manual_seed(experiment.training.seed)
    dtype: torch.dtype = getattr(torch, experiment.training.dtype)
    enforcer = _checked(catalog, experiment.enforcer, Enforcer)

    def source(named: Named) -> Source | None:
        return None if named.name == SHARED_ORBIT else _checked(catalog, named, Source)

    objective = Objective(
        build_operator(experiment, dataset.shape, catalog),
        enforcer,
        [source(named) for named in experiment.sources],
        corruption=source(experiment.corruption),
        weight=experiment.reconstruction.weight,
        distance=DISTANCES[experiment.reconstruction.distance],
    ).to(dtype)
    inputs = {name: _checked(catalog, named, Source) for name, named in experiment.inputs.items()}
    sources = [*objective.sources, *inputs.values(), *([objective.corruption] if objective.corruption else [])]
    for each in sources:
        each.to(dtype)
        each.fit(dataset)
    metrics = []
    for named in experiment.metrics:
        metric = catalog.build(named)
        metric.fit(dataset)
        metrics.append((catalog.find("metric", named.name).spec.inputs, metric))  # type: ignore[attr-defined]
    return Parts(dataset, objective, inputs, metrics)


def _checked(catalog: Catalog, named: Named, expected: type[T]) -> T:
    """The thing of this name, which must be an instance of its contract."""
    thing = catalog.build(named)
    if not isinstance(thing, expected):
        raise BadInput(
            f"{named.kind} '{named.name}' returned {type(thing).__name__}, not an idemlab.{expected.__name__}",
            where=str(catalog.find(named.kind, named.name).plugin),
        )
    return thing


def build_operator(experiment: Experiment, shape: tuple[int, ...], catalog: Catalog) -> Operator:
    """The network that the experiment names, for samples of this shape."""
    operator = catalog.build(experiment.model, shape)
    where = str(catalog.find("model", experiment.model.name).plugin)
    if not isinstance(operator, nn.Module):
        raise BadInput(
            f"model '{experiment.model.name}' returned {type(operator).__name__}, not a torch.nn.Module",
            where=where,
        )
    check_model(operator, experiment.model.name, where)
    return operator
