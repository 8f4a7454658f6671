"""From names to objects: the dataset, the objective and the optimisers of an experiment."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from ..catalog.catalog import Catalog, Named
from ..contracts.dataset import Dataset
from ..contracts.enforcer import DISTANCES, Enforcer
from ..contracts.metric import Metric
from ..contracts.orbit import Operator
from ..contracts.source import Source
from ..errors import BadInput, nearest_match
from ..experiment.experiment import Experiment
from ..experiment.settings import OptimizerSettings
from .muon import Muon
from .objective import Objective

__all__ = ["Parts", "assemble", "build_operator", "build_optimizers"]

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
    if not isinstance(operator, nn.Module):
        raise BadInput(
            f"model '{experiment.model.name}' returned {type(operator).__name__}, not a torch.nn.Module",
            where=str(catalog.find("model", experiment.model.name).plugin),
        )
    return operator


def _optimizer_class(name: str, where: str) -> type[torch.optim.Optimizer]:
    classes = {
        key.lower(): value
        for key, value in vars(torch.optim).items()
        if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
    }
    if name.lower() not in classes:
        raise BadInput(
            f"there is no optimizer '{name}'",
            where=where,
            choices=sorted(classes),
            nearest=nearest_match(name, classes),
            next_step="any class of torch.optim, in any case",
        )
    return classes[name.lower()]


def build_optimizers(settings: OptimizerSettings, parameters: Sequence[nn.Parameter]) -> list[torch.optim.Optimizer]:
    """The optimiser, or two where matrices and the rest are treated apart (`muon`). Empty where there is nothing to train.

    Each parameter group keeps its highest learning rate as `initial_lr`, which the schedule scales.

    Raises:
        BadInput: for an unknown name, or an argument that the class does not take or refuses.
    """
    where = "[optimizer]"
    arguments = {"lr": settings.lr} | (settings.model_extra or {})
    cls = _optimizer_class(settings.name, f"{where}, key 'name'")
    if cls is not torch.optim.Muon:
        return [_optimizer(cls, parameters, arguments, where)] if parameters else []
    cls = Muon
    others = arguments.pop("adamw", {})
    if not isinstance(others, Mapping):
        raise BadInput("'adamw' must be a table of arguments of AdamW", where=f"{where}, key 'adamw'")
    matrices = [p for p in parameters if p.ndim == 2]
    rest = [p for p in parameters if p.ndim != 2]
    built = [_optimizer(cls, matrices, arguments, where)] if matrices else []
    if rest:
        others = {"lr": settings.lr, **others}
        built.append(_optimizer(torch.optim.AdamW, rest, others, f"{where}, key 'adamw'"))
    return built


def _optimizer(
    cls: type[torch.optim.Optimizer], parameters: Sequence[nn.Parameter], arguments: Mapping[str, Any], where: str
) -> torch.optim.Optimizer:
    accepted = inspect.signature(cls).parameters
    choices = sorted(set(accepted) - {"params"})
    for key in arguments:
        if key not in choices:
            raise BadInput(
                f"optimizer '{cls.__name__.lower()}' has no argument '{key}'",
                where=f"{where}, key '{key}'",
                choices=choices,
                nearest=nearest_match(key, choices),
            )
    # One fused kernel per step instead of several passes over all parameters.
    fused = {"fused": True} if "fused" in accepted and not {"fused", "foreach"} & set(arguments) else {}
    try:
        optimizer = cls(parameters, **fused, **arguments)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadInput(f"optimizer '{cls.__name__.lower()}': {error}", where=where) from error
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer
