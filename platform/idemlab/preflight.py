"""The preflight: one batch through everything, before any training. What cannot work is refused here, with what would."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .assembly import Parts
from .catalog import Catalog
from .dataset import Batch
from .errors import BadInput, Failure, IdemlabError
from .experiment import Experiment
from .projection import square_maps
from .specs import EnforcerKind, Traits
from .step import Shard, Step

__all__ = ["Plan", "blame", "preflight"]

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """What the preflight found out.

    Args:
        steps: optimiser steps of the run.
        flops_per_step: counted floating-point operations (a multiply-add is two) of one step over the global batch.
        parameters: number of trained parameters.
        traits: of the enforcer.
        device: where the run trains.
    """

    steps: int
    flops_per_step: int
    parameters: int
    traits: Traits
    device: str


def preflight(experiment: Experiment, parts: Parts, catalog: Catalog, *, device: torch.device) -> Plan:
    """Check that dataset, model, enforcer and sources fit together, by one batch through a copy of the objective.

    Raises:
        BadInput: says what does not fit and what would.
        Failure: a plugin raised, or gave something that is not finite, at the very first batch.
    """
    traits: Traits = catalog.traits(experiment.enforcer)
    training = experiment.training
    _check_device(experiment, device)
    _check_traits(experiment, traits, parts)
    size = training.batch_size // training.micro_batches
    if training.batch_size > len(parts.dataset.train):
        raise BadInput(
            f"batch_size {training.batch_size} is larger than the training set of {len(parts.dataset.train)}",
            where="[training], key 'batch_size'",
            next_step=f"--set training.batch_size={len(parts.dataset.train)}",
        )
    dtype: torch.dtype = getattr(torch, training.dtype)
    rows = parts.dataset.train.__getitems__(list(range(size)))
    batch = rows.to(device, dtype, parts.dataset.range)
    if tuple(batch.input.shape[1:]) != tuple(parts.dataset.shape):
        raise BadInput(
            f"dataset '{experiment.dataset.name}' says its samples are {list(parts.dataset.shape)}, "
            f"but they are {list(batch.input.shape[1:])}",
            where=str(catalog.find("dataset", experiment.dataset.name).plugin),
        )
    trial = copy.deepcopy(parts.objective).to(device).train()
    with torch.random.fork_rng(devices=[]):
        _check_operator(experiment, trial.operator, batch, catalog)
        if traits.linear_only:
            _check_linear(experiment, trial.operator, batch, traits)
        flops = _trial_step(experiment, trial, batch, catalog) * training.micro_batches
    steps = training.steps or max(1, round((training.flops or 0) / max(flops, 1)))
    return Plan(
        steps=steps,
        flops_per_step=flops,
        parameters=sum(p.numel() for p in parts.objective.parameters() if p.requires_grad),
        traits=traits,
        device=str(device),
    )


def _check_device(experiment: Experiment, device: torch.device) -> None:
    if device.type == "mps" and experiment.training.dtype == "float64":
        raise BadInput(
            "this machine's accelerator (MPS) has no float64",
            where="[training], key 'dtype'",
            next_step="ACCELERATE_USE_CPU=true idemlab run ..., or --set training.dtype=float32",
        )


def _check_traits(experiment: Experiment, traits: Traits, parts: Parts) -> None:
    """Combinations known to be wrong, by what the enforcer says of itself."""
    name = experiment.enforcer.name
    if traits.batch_coupled and experiment.training.micro_batches > 1:
        raise BadInput(
            f"enforcer '{name}' couples the samples of a batch, so cutting the batch into micro-batches changes its loss",
            where="[training], key 'micro_batches'",
            next_step="--set training.micro_batches=1, with a smaller batch_size",
        )
    if traits.needs_double_backward and experiment.training.compile:
        raise BadInput(
            f"enforcer '{name}' differentiates twice, which torch.compile cannot do",
            where="[training], key 'compile'",
            next_step="--set training.compile=false",
        )
    if traits.needs_reconstruction and experiment.reconstruction.weight == 0:
        raise BadInput(
            f"enforcer '{name}' is scaled by the reconstruction, which has weight 0",
            where="[reconstruction], key 'weight'",
            next_step="give the reconstruction a weight, or switch the enforcer's clamp off",
        )
    norms = [n for n, m in parts.objective.operator.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if norms and not traits.batch_statistics:
        raise BadInput(
            f"enforcer '{name}' is not exact on a model with batch statistics ({norms[0]} and {len(norms) - 1} more)",
            where="[enforcer] and [model]",
            next_step=f"--set model.norm=group, or another routing of the enforcer: idemlab show {name}",
        )


def _check_operator(experiment: Experiment, operator: nn.Module, batch: Batch, catalog: Catalog) -> None:
    where = str(catalog.find("model", experiment.model.name).plugin)
    shape = list(batch.input.shape[1:])
    try:
        with torch.no_grad():
            out = operator(batch.input) if batch.condition is None else operator(batch.input, batch.condition)
    except (RuntimeError, TypeError, ValueError) as error:
        raise BadInput(
            f"model '{experiment.model.name}' cannot take the samples of dataset '{experiment.dataset.name}', "
            f"of shape {shape}: {' '.join(str(error).split())}",
            where=where,
            next_step=f"idemlab show {experiment.model.name}",
        ) from error
    if not isinstance(out, torch.Tensor) or out.shape != batch.input.shape:
        got = list(out.shape[1:]) if isinstance(out, torch.Tensor) else type(out).__name__
        raise BadInput(
            f"model '{experiment.model.name}' changes the shape of a sample: {shape} became {got}",
            where=where,
            expected="an operator f: X -> X keeps the shape, so that f(f(x)) exists",
            next_step="idemlab list models",
        )


def _check_linear(experiment: Experiment, operator: nn.Module, batch: Batch, traits: Traits) -> None:
    """Weight projection makes idempotent what is linear, and only that."""
    name = experiment.enforcer.name
    with torch.no_grad():
        x, z = batch.input, batch.input.flip(0)
        off = operator(x + z) - operator(x) - operator(z)
        scale = operator(x).norm() + operator(z).norm()
    if not off.norm() <= 1e-3 * scale:
        raise BadInput(
            f"enforcer '{name}' works on linear maps only, and model '{experiment.model.name}' is not linear",
            where="[enforcer] and [model]",
            next_step="--set model.name=linear, or another enforcer: idemlab list enforcers",
        )
    maps = square_maps(operator)
    if EnforcerKind.PROJECTION in traits.kinds and not maps:
        raise BadInput(
            f"enforcer '{name}' projects square linear maps, and model '{experiment.model.name}' has none",
            where="[enforcer] and [model]",
            next_step="--set model.name=linear",
        )
    if traits.domain is not None:
        low, high = traits.domain
        for key, weight in maps.items():
            values = torch.linalg.eigvals(weight.detach())
            inside = (values.real >= low) & (values.real <= high) & (values.imag.abs() < 1e-6)
            if not bool(inside.all()):
                raise BadInput(
                    f"enforcer '{name}' needs real eigenvalues in [{low:g}, {high:g}]; {key} has others, "
                    f"for instance {values[~inside][0].item():.3g}",
                    where="[enforcer] and [model]",
                    next_step="rescale the spectrum, or use cubic-projection, whose domain is wider",
                )


def _trial_step(experiment: Experiment, objective: nn.Module, batch: Batch, catalog: Catalog) -> int:
    """Counted operations of one forward and backward; whatever a plugin raises in it is reported as its fault."""
    step = Step(seed=experiment.training.seed, purpose="preflight", progress=1.0, shard=Shard())
    counter = FlopCounterMode(display=False)
    with counter:
        loss = blame(experiment, catalog, lambda: objective(batch, step)[0])
        if loss.requires_grad:
            blame(experiment, catalog, loss.backward)
    if not torch.isfinite(loss):
        raise Failure(
            f"the loss is {loss.item()} at the very first batch",
            where=f"enforcer '{experiment.enforcer.name}' of {catalog.find('enforcer', experiment.enforcer.name).plugin}",
            next_step="lower the weights, or look at the data: idemlab show EXPERIMENT",
        )
    return counter.get_total_flops()


def blame(experiment: Experiment, catalog: Catalog, call: Callable[[], T]) -> T:
    """Run a part of the step; an error of a plugin's code is told with the plugins that took part in it."""
    try:
        return call()
    except IdemlabError:
        raise
    except Exception as error:
        enforcer = catalog.find("enforcer", experiment.enforcer.name).plugin
        model = catalog.find("model", experiment.model.name).plugin
        raise Failure(
            f"the training step raised {type(error).__name__}: {' '.join(str(error).split())}",
            where=f"enforcer '{experiment.enforcer.name}' ({enforcer}), model '{experiment.model.name}' ({model})",
            next_step=f"idemlab check {experiment.enforcer.name}",
        ) from error
