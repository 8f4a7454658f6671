"""The preflight: run one batch through everything before training; refuse what cannot work, and say what to do instead."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..catalog.named import unless_extreme
from ..contracts.dataset import Batch
from ..contracts.enforcer import Enforcer
from ..contracts.orbit import applied
from ..contracts.specs import EnforcerKind, Traits
from ..contracts.step import Shard, Step
from ..errors import BadInput, Failure
from ..experiment.blame import blame, suspects
from ..experiment.condition import IN_TRAINING
from ..experiment.experiment import Experiment
from ..wording import clipped, counted, with_article
from .cutting import check_buffers, check_combination, check_coupling, check_gradients, without_batch_norm
from .engines import Engine, Single
from .length import planned_steps
from .measured import check_metric, measured
from .modules import (
    check_condition,
    check_exact,
    check_kept_buffers,
    check_projected,
    check_real,
    check_spectrum,
    check_trained,
    copied,
    keeps_samples_apart,
    unkept,
)
from .objective import Objective
from .parts import Parts
from .projection import square_maps
from .rejection import check_rejection
from .returned import answerable, enforcer_at_fault

__all__ = ["Plan", "preflight"]

ALONE = Single()


@dataclass(frozen=True)
class Plan:
    """What the preflight computed for the run.

    Args:
        steps: optimiser steps of the run, unless it stops early.
        steps_per_epoch: optimiser steps of one pass over the training set.
        flops_per_step: counted floating-point operations (a multiply-add is two) of one step over the global batch.
        parameters: number of trained parameters.
        traits: of the enforcer.
        device: where the run trains.
        joins: whether the orbits of a step go through the operator in the same calls (`Objective.joins`).
    """

    steps: int
    steps_per_epoch: int
    flops_per_step: int
    parameters: int
    traits: Traits
    device: str
    joins: bool


def preflight(experiment: Experiment, parts: Parts, *, device: torch.device, engine: Engine = ALONE) -> Plan:
    """Run one batch through a copy of the objective, to check that dataset, model, enforcer and sources fit together.

    Args:
        engine: how the run uses its processes. Each process runs the preflight, with the same result.

    Raises:
        BadInput: names what does not fit, and a way out.
        Failure: if a plugin raises, or returns values that are not finite, at the first batch.
    """
    traits: Traits = experiment.enforcer.traits()
    training = experiment.training
    _check_device(experiment, device)
    _check_traits(experiment, traits, parts)
    check_combination(experiment, traits, parts.objective, engine)
    size = training.batch_size // training.micro_batches
    if training.batch_size > len(parts.dataset.train):
        raise BadInput(
            f"batch_size {training.batch_size} is larger than the training set of {len(parts.dataset.train)}",
            where="[training], key 'batch_size'",
            next_step=f"set training.batch_size = {len(parts.dataset.train)}",
        )
    if len(parts.dataset.test) < 2:
        raise BadInput(
            f"the test set of dataset '{experiment.dataset.name}' has {len(parts.dataset.test)} sample(s), "
            "and a spread needs two",
            where="[dataset]",
            next_step="give more data to test on",
        )
    dtype: torch.dtype = getattr(torch, training.dtype)
    rows = parts.dataset.train.__getitems__(list(range(size)))
    check_real(rows, experiment.dataset.name)
    batch = rows.to(device, dtype, parts.dataset.range)
    if tuple(batch.input.shape[1:]) != tuple(parts.dataset.shape):
        raise BadInput(
            f"dataset '{experiment.dataset.name}' declares samples of shape {list(parts.dataset.shape)}, "
            f"but they have shape {list(batch.input.shape[1:])}",
            where=str(experiment.dataset.plugin),
        )
    trial = copied(parts.objective).to(device).train()
    with torch.random.fork_rng(devices=[]):
        blame(experiment, lambda: trial.enforcer.on_start(trial.operator), "the enforcer's on_start")
        _check_weights(experiment, trial.operator)
        _check_operator(experiment, trial.operator, batch)
        if experiment.condition in IN_TRAINING:
            _check_without_class(experiment, trial.operator, parts, device)
        check_trained(trial, experiment.model.name)
        if traits.exact or getattr(experiment.model.spec, "exact", False):
            claiming = experiment.enforcer if traits.exact else experiment.model
            check = partial(check_exact, trial.operator, batch, claiming, traits.wraps)
            blame(experiment, check, "f(f(x)) in eval mode")
        _check_chosen(experiment, parts, trial.operator, device)
        check_rejection(experiment, parts)
        check_spectrum(trial.operator, batch, experiment.evaluation.rank_points)
        before = unkept(trial.operator)
        if traits.linear_only:
            _check_linear(experiment, trial.operator, batch, traits)
        blame(experiment, lambda: check_buffers(experiment, trial, batch, engine))
        trial.joins = not traits.watches_calls and blame(
            experiment, lambda: keeps_samples_apart(trial.operator, batch.input, batch.condition)
        )
        flops = _trial_step(experiment, trial, batch, engine) * training.micro_batches
        check_kept_buffers(before, trial.operator, experiment.model.name)
        after = Step(seed=training.seed, purpose="preflight")
        with torch.no_grad():
            blame(experiment, lambda: trial.enforcer.after_step(trial.operator, after), "the enforcer's after_step")
        if EnforcerKind.PROJECTION in traits.kinds:
            check_projected(trial.operator, experiment.enforcer.name)
            _check_projection(experiment, trial)
    per_epoch = len(parts.dataset.train) // training.batch_size
    return Plan(
        steps=planned_steps(training, per_epoch, flops),
        steps_per_epoch=per_epoch,
        flops_per_step=flops,
        parameters=sum(p.numel() for p in trial.parameters() if p.requires_grad),
        traits=traits,
        device=str(device),
        joins=trial.joins,
    )


def _check_chosen(experiment: Experiment, parts: Parts, operator: nn.Module, device: torch.device) -> None:
    """Refuse metrics of `training.best` and `training.stop` that no evaluation gives."""
    for key in ("best", "stop"):
        settings = getattr(experiment.training, key)
        if settings is not None:
            names = partial(measured, experiment, parts, operator, device)
            check_metric(settings.metric, [experiment], names, f"[training.{key}], key 'metric'")
            operator.train()


def _check_device(experiment: Experiment, device: torch.device) -> None:
    if device.type == "mps" and experiment.training.dtype == "float64":
        raise BadInput(
            "this machine's accelerator (MPS) has no float64",
            where="[training], key 'dtype'",
            next_step="ACCELERATE_USE_CPU=true idemlab run ..., or set training.dtype = float32",
        )


def _check_traits(experiment: Experiment, traits: Traits, parts: Parts) -> None:
    """Refuse combinations that the traits of the enforcer rule out."""
    name = experiment.enforcer.name
    if traits.needs_double_backward and experiment.training.compile:
        raise BadInput(
            f"enforcer '{name}' differentiates twice, which torch.compile cannot do",
            where="[training], key 'compile'",
            next_step="set training.compile = false",
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
            next_step=f"{without_batch_norm(experiment.model)}, or other settings: {experiment.enforcer.how_to_look_up}",
        )


def _check_weights(experiment: Experiment, operator: nn.Module) -> None:
    """Refuse weights that are not finite: nothing could be trained from them, and a spectrum of theirs kills LAPACK.

    Those that are not trained may be infinite, as a mask of attention is.
    """
    for key, parameter in operator.named_parameters():
        usable = torch.isfinite(parameter) if parameter.requires_grad else ~torch.isnan(parameter)
        if not bool(usable.all()):
            raise BadInput(
                f"{key} of {experiment.model} starts with values that are not finite",
                where="[model]",
                expected="finite weights",
                next_step="correct its initialisation, or choose another model"
                if experiment.start.weights is None
                else f"start from other weights than {experiment.start.weights}",
            )


def _check_without_class(experiment: Experiment, operator: nn.Module, parts: Parts, device: torch.device) -> None:
    """Refuse an operator that needs a class where only training gives one."""
    rows = parts.dataset.test.__getitems__([0, 1])
    x = rows.to(device, getattr(torch, experiment.training.dtype), parts.dataset.range).input
    try:
        with torch.no_grad():
            applied(operator, x, None)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever the model of a caller raises without its class
        reason = error.what if isinstance(error, BadInput) else f"{type(error).__name__}: {error}"
        raise BadInput(
            f"with dataset.condition = {experiment.condition}, the operator is used without a class, and fails without one: "
            + clipped(" ".join(reason.split()), 200),
            where="[dataset], key 'condition', and [enforcer]",
            expected="an operator f(x, c) whose c may be left out, such as the enforcer 'union' makes",
            next_step='add it behind another: enforcer.name = hybrid, enforcer.enforcers = [{ name = "section", rank = 8 }, '
            '{ name = "union" }]; or set dataset.condition = '
            + ("label" if experiment.condition == "training" else "none"),
        ) from error


def _check_operator(experiment: Experiment, operator: nn.Module, batch: Batch) -> None:
    where = str(experiment.model.plugin)
    shape = list(batch.input.shape[1:])
    try:
        with torch.no_grad():
            out = applied(operator, batch.input, batch.condition)
    except (RuntimeError, TypeError, ValueError) as error:
        check_condition(operator, batch, experiment.model)
        raise BadInput(
            f"model '{experiment.model.name}' cannot take the samples of dataset '{experiment.dataset.name}', "
            f"of shape {shape}: {' '.join(str(error).split())}",
            where=where,
            next_step=experiment.model.how_to_look_up,
        ) from error
    if isinstance(out, torch.Tensor) and out.ndim and len(out) != len(batch.input):
        raise BadInput(
            f"model '{experiment.model.name}' makes {len(out)} results of {counted(len(batch.input), 'sample')}",
            where=where,
            expected="a result for each sample of a batch",
            next_step=experiment.model.how_to_look_up,
        )
    if not isinstance(out, torch.Tensor) or out.shape != batch.input.shape:
        got = list(out.shape[1:]) if isinstance(out, torch.Tensor) else type(out).__name__
        raise BadInput(
            f"model '{experiment.model.name}' changes the shape of a sample: {shape} became {got}",
            where=where,
            expected="an operator f: X -> X keeps the shape, so that f(f(x)) exists",
            next_step=experiment.model.how_to_look_up if experiment.model.given else "idemlab list models",
        )
    if out.device != batch.input.device:
        raise BadInput(
            f"model '{experiment.model.name}' moves a sample from {batch.input.device} to {out.device}",
            where=where,
            expected="an operator f: X -> X keeps the device, so that f(f(x)) exists",
            next_step=f"let its forward move nothing, and make new tensors like x: {experiment.model.how_to_look_up}",
        )
    if out.dtype != batch.input.dtype:
        was, became = (str(t.dtype).removeprefix("torch.") for t in (batch.input, out))
        raise BadInput(
            f"model '{experiment.model.name}' changes the precision of a sample: {was} became {became}",
            where=where,
            expected="an operator f: X -> X keeps the precision, so that f(f(x)) exists",
            next_step=f"return y.to(x.dtype) from its forward: {experiment.model.how_to_look_up}",
        )


def _check_linear(experiment: Experiment, operator: nn.Module, batch: Batch, traits: Traits) -> None:
    """Refuse a model that is not linear under an enforcer that works on linear maps only."""
    name = experiment.enforcer.name
    with torch.no_grad():
        x, z = batch.input, batch.input.flip(0)
        f = partial(applied, operator, condition=batch.condition)
        off = f(x + z) - f(x) - f(z)
        scale = f(x).norm() + f(z).norm()
    if not off.norm() <= 1e-3 * scale:
        raise BadInput(
            f"enforcer '{name}' works on linear maps only, and model '{experiment.model.name}' is not linear",
            where="[enforcer] and [model]",
            next_step=f"{experiment.model.how_to_exchange('linear')}, or another enforcer: idemlab list enforcers",
        )
    maps = square_maps(operator)
    if EnforcerKind.PROJECTION in traits.kinds and not maps:
        raise BadInput(
            f"enforcer '{name}' projects square linear maps, and model '{experiment.model.name}' has none",
            where="[enforcer] and [model]",
            next_step=experiment.model.how_to_exchange("linear"),
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
                    next_step="rescale the spectrum, or use a method whose domain is wider, such as cubic",
                )


def _trial_step(experiment: Experiment, objective: Objective, batch: Batch, engine: Engine) -> int:
    """Counted operations of one forward and backward, averaged over the period of the sources.

    Errors raised by a plugin are reported with the plugin's name.
    """
    for module in objective.modules():
        if isinstance(module, Enforcer):
            module.register_forward_hook(answerable(experiment, module is objective.enforcer))
    period: int = max([1, *(source.period(len(batch)) for source in objective.sources)])  # type: ignore[operator]
    counted, mixed = list[int](), experiment.training.precision == "bf16"
    for index in range(min(period, 2)):
        step = Step(seed=experiment.training.seed, index=index, purpose="preflight", progress=1.0, shard=Shard())
        counter = FlopCounterMode(display=False)
        with counter:
            with torch.autocast(batch.input.device.type, torch.bfloat16, enabled=mixed):
                loss = blame(experiment, partial(_loss, objective, batch, step))
            if loss.requires_grad:
                blame(experiment, loss.backward)
        counted.append(counter.get_total_flops())
        check_coupling(experiment, experiment.enforcer.traits(), step, engine)
    check_gradients(objective, engine)
    wrong = "loss" if not torch.isfinite(loss) else "gradient" if not _finite_gradient(objective) else None
    if wrong:
        raise Failure(
            f"the {wrong} is {loss.item() if wrong == 'loss' else 'not finite'} at the very first batch",
            where=suspects(experiment),
            next_step=unless_extreme(
                experiment.things, "lower the weights, or look at the data: idemlab show EXPERIMENT"
            ),
        )
    return round((counted[0] + (period - 1) * counted[-1]) / period)


def _loss(objective: Objective, batch: Batch, step: Step) -> torch.Tensor:
    loss: torch.Tensor = objective(batch, step)[0]
    return loss


def _finite_gradient(objective: nn.Module) -> bool:
    return all(bool(torch.isfinite(p.grad).all()) for p in objective.parameters() if p.grad is not None)


def _check_projection(experiment: Experiment, objective: Objective) -> None:
    """Try one step of the weight projection on every map, without writing the results into the weights."""
    for key, weight in square_maps(objective.operator).items():
        matrix = weight.detach()
        new = blame(experiment, lambda: objective.enforcer.project(matrix))  # noqa: B023
        right = isinstance(new, torch.Tensor) and new.shape == matrix.shape
        if right and bool(torch.isfinite(new).all()):
            continue
        name = experiment.enforcer.name
        made = with_article(type(new).__name__) if not isinstance(new, torch.Tensor) else f"shape {list(new.shape)}"
        raise Failure(
            f"the enforcer projects {key} of shape {list(matrix.shape)} to "
            + ("a matrix that is not finite" if right else made),
            where=f"enforcer '{name}' of {experiment.enforcer.plugin}",
            expected="a finite matrix of the same shape",
            next_step=enforcer_at_fault(experiment),
        )
