"""Checks that a PyTorch model can be trained, saved and copied, made before training begins."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..catalog.catalog import installed
from ..catalog.named import Named
from ..certificate.spectrum import gradient_refused
from ..contracts.dataset import Batch, Dataset
from ..contracts.orbit import Operator, applied
from ..contracts.specs import ModelSpec
from ..errors import BadInput
from ..wording import percent

__all__ = [
    "check_condition",
    "check_exact",
    "check_kept_buffers",
    "check_methods",
    "check_model",
    "check_projected",
    "check_real",
    "check_spectrum",
    "check_trained",
    "copied",
    "keeps_samples_apart",
    "start_from",
    "unkept",
]

M = TypeVar("M", bound=nn.Module)
_BY_NAME = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)


def check_model(operator: nn.Module, name: str, where: str) -> None:
    """Refuse a new model whose state cannot be trained in one real precision and saved in a file.

    Raises:
        BadInput: names the parameter or buffer at fault, and the way out.
    """

    def refuse(what: str, way_out: str) -> None:
        raise BadInput(f"model '{name}' {what}", where=where, next_step=way_out)

    if any(isinstance(part, torch.jit.ScriptModule) for part in operator.modules()):
        refuse("has a TorchScript module, whose copy cannot be trained", "give the module that was scripted")
    lazy = (nn.parameter.UninitializedParameter, nn.parameter.UninitializedBuffer)
    tensors = [*operator.named_parameters(), *operator.named_buffers()]
    for key, t in tensors:
        if isinstance(t, lazy):
            refuse(
                f"has no shape yet for '{key}' (a lazy layer)",
                "call the model once in its factory, or give the layer its width",
            )
        if t.is_meta:
            refuse(f"has no values for '{key}': it lies on the meta device", "build the model on the CPU")
        if t.is_complex():
            refuse(
                f"has complex numbers in '{key}', and a run trains real ones",
                "keep real and imaginary parts as two real tensors (torch.view_as_real)",
            )
        if t.layout is not torch.strided:
            refuse(f"has a sparse tensor in '{key}', which cannot be saved", "make it dense: .to_dense()")
        if t.is_floating_point() and torch.finfo(t.dtype).bits < 16:
            refuse(f"has 8-bit floating point in '{key}', which cannot be trained", "build it in float32")
    precisions: dict[torch.dtype, str] = {}
    for key, p in operator.named_parameters():
        if p.is_floating_point():
            precisions.setdefault(p.dtype, key)
    if len(precisions) > 1:
        each = " and ".join(f"{str(dtype).removeprefix('torch.')} ('{key}')" for dtype, key in precisions.items())
        refuse(
            f"has parameters in {each}, and a run trains in one precision",
            "build all of it in float32; training.precision = 'bf16' computes the forward in mixed precision",
        )
    for key, value in operator.state_dict().items():
        if not isinstance(value, Tensor):
            refuse(
                f"keeps {type(value).__name__} in its state under '{key}', and a weight file holds only tensors",
                "return a tensor from get_extra_state, or keep the value as a plain attribute that the factory sets",
            )


def check_methods(operator: nn.Module, methods: Sequence[str], asking: Named, model: Named) -> None:
    """Refuse an operator that lacks methods which an enforcer or a metric calls.

    Args:
        asking: the enforcer or metric.
        model: what the operator was made of.

    Raises:
        BadInput: names the methods that are missing, and the models that have them.
    """
    missing = [name for name in methods if not callable(getattr(operator, name, None))]
    if not missing:
        return
    models = [entry.spec for entry in installed().entries("model")]
    having = [spec.name for spec in models if isinstance(spec, ModelSpec) and set(missing) <= set(spec.offers)]
    needed = " and ".join(f"'{name}'" for name in missing)
    raise BadInput(
        f"{asking} calls {needed} of the operator, which {model} does not have",
        where=f"[{asking.kind if asking.kind == 'enforcer' else 'evaluation'}] and [model]",
        expected=f"an operator with {'the methods' if len(missing) > 1 else 'a method'} {needed}",
        choices=having,
        next_step=", or ".join(
            [
                *([f"write {needed} in the module that you gave"] if model.given else []),
                model.how_to_exchange(having[0]) if having else f"choose another {asking.kind}",
            ]
        ),
    )


@torch.no_grad()
def check_exact(operator: nn.Module, batch: Batch, claiming: Named, relies_on: Sequence[str]) -> None:
    """Refuse an operator that is far from idempotent although a construction claims that it is, whatever the weights.

    Args:
        claiming: the enforcer or model.
        relies_on: the methods of the model that the construction is made of.

    Raises:
        BadInput: if f(f(x)) is off by more than a tenth of the spread. The certificate measures the claim itself.
    """
    with _evaluating(operator):
        y = applied(operator, batch.input, batch.condition)
        change = (applied(operator, y, batch.condition) - y).norm()
    spread = (y - y.mean(0)).norm()
    scale = spread if spread > 1e-3 * y.norm() else y.norm()
    if change > 0.1 * scale:
        named = " and ".join(f"'{name}'" for name in relies_on)
        raise BadInput(
            f"{claiming} claims f(f(x)) = f(x) by construction, and it is off by {percent(float(change / scale))} of the "
            "spread before training",
            where="[enforcer] and [model]",
            expected=f"a model with a true {named}" if named else "f(f(x)) = f(x), whatever the weights",
            next_step="correct the model, and compose no two constructions of this kind",
        )


def check_condition(operator: nn.Module, batch: Batch, model: Named) -> None:
    """Refuse an operator f(x) for data with a condition, and f(x, c) for data without one, by the signature of forward.

    Raises:
        BadInput: names the way out.
    """
    taken = [p for p in inspect.signature(operator.forward).parameters.values() if p.kind not in _BY_NAME]
    needed = [p for p in taken if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
    most = 2 if any(p.kind is p.VAR_POSITIONAL for p in taken) else len(taken)
    if batch.condition is None and len(needed) == 2:
        raise BadInput(
            f"{model} takes a condition, f(x, {needed[1].name}), and the data set gives none",
            where="[model] and [dataset]",
            next_step='set dataset.condition = "label", or give an idemlab.Dataset whose batches have a condition',
        )
    if batch.condition is not None and most < 2:
        raise BadInput(
            f"{model} takes no condition, and the data set gives one",
            where="[model] and [dataset]",
            expected="an operator f(x, c)",
            next_step="leave dataset.condition out, or choose another model",
        )


def start_from(operator: nn.Module, dataset: Dataset) -> None:
    """Let a model with a method `start_from` set its first weights from the data."""
    start = getattr(operator, "start_from", None)
    if callable(start):
        start(dataset)


def check_trained(objective: nn.Module, name: str) -> None:
    """Refuse an objective with nothing to train.

    Raises:
        BadInput: if neither model nor enforcer has a parameter that takes a gradient.
    """
    parameters = list(objective.parameters())
    if not any(p.requires_grad for p in parameters):
        frozen = "its only parameter" if len(parameters) == 1 else f"all of its {len(parameters)} parameters"
        raise BadInput(
            f"nothing can be trained: model '{name}' has " + (f"frozen {frozen}" if parameters else "no parameters"),
            where="[model]",
            expected="at least one parameter with requires_grad=True",
            next_step="choose another model; idemlab.certify measures an operator without training it",
        )


def check_real(batch: Batch, name: str) -> None:
    """Refuse complex samples, because a run would lose their imaginary parts.

    Raises:
        BadInput: if they are complex.
    """
    if batch.input.is_complex() or batch.target.is_complex():
        raise BadInput(
            f"dataset '{name}' has complex samples, and a run trains real ones",
            where="[dataset]",
            next_step="give real and imaginary parts as channels (torch.view_as_real)",
        )


def check_projected(operator: nn.Module, enforcer: str) -> None:
    """Refuse a weight projection that the next forward would undo.

    Raises:
        BadInput: if a square linear map is recomputed from other parameters in every forward.
    """
    for name, module in operator.named_modules():
        made = isinstance(module, nn.Linear) and not isinstance(module.weight, nn.Parameter)
        if made and module.in_features == module.out_features:
            raise BadInput(
                f"enforcer '{enforcer}' projects '{name}.weight', which a parametrisation (or pruning) recomputes in "
                "every forward: the projection would be lost",
                where="[enforcer] and [model]",
                next_step="remove the parametrisation, or choose another enforcer",
            )


def check_spectrum(operator: nn.Module, batch: Batch, rank_points: int) -> None:
    """Refuse a model whose rank cannot be measured at the evaluations.

    Raises:
        BadInput: if autograd fails; names the setting that skips the rank.
    """
    if not rank_points:
        return
    condition = None if batch.condition is None else batch.condition[:1]
    with _evaluating(operator):
        reason = gradient_refused(lambda y: applied(operator, y, condition), batch.input[0])
    if reason:
        raise BadInput(
            f"the rank of this model cannot be measured: {reason}",
            where="[evaluation], key 'rank_points'",
            next_step="set evaluation.rank_points = 0 to skip the rank",
        )


@contextmanager
def _evaluating(operator: nn.Module) -> Iterator[None]:
    """Evaluation mode in the block; each module then has its own mode again: some stay in evaluation on purpose."""
    modes = {module: module.training for module in operator.modules()}
    operator.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def unkept(module: nn.Module) -> dict[str, Tensor]:
    """Copies of the buffers that are not saved with the state (`persistent=False`)."""
    kept = module.state_dict().keys()
    return {name: t.detach().clone() for name, t in module.named_buffers() if name not in kept}


def check_kept_buffers(before: dict[str, Tensor], module: nn.Module, name: str) -> None:
    """Refuse a model that changes unsaved buffers in training. A cache that the first forward fills is allowed.

    Raises:
        BadInput: names a buffer that changes, and that resuming or loading would lose.
    """
    for key, now in unkept(module).items():
        old = before.get(key, now)
        if old.shape == now.shape and not torch.equal(old, now):
            raise BadInput(
                f"buffer '{key}' of model '{name}' changes in training and is not saved (persistent=False)",
                where="[model]",
                next_step="register it with persistent=True",
            )


def copied(module: M) -> M:
    """A deep copy. Works also for modules that store computed tensors (`weight_norm`, `spectral_norm`, pruning).

    Raises:
        BadInput: if anything else in the module cannot be copied.
    """
    memo: dict[int, object] = {}
    for part in module.modules():
        for value in vars(part).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    try:
        return copy.deepcopy(module, memo)
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise BadInput(
            f"the model (or the enforcer) cannot be copied: {' '.join(str(error).split())}",
            where="[model]",
            expected="modules that copy.deepcopy can copy",
            next_step="keep locks, files and computed tensors out of the attributes of its modules",
        ) from error


@torch.no_grad()
def keeps_samples_apart(operator: Operator, x: Tensor, condition: Tensor | None = None) -> bool:
    """Whether f(x) at a sample is the same, to rounding, whatever samples share its call, and a call changes no state.

    It is measured: batch statistics, dropout and power iterations give themselves away. x is [B, *shape]; of a single
    sample nothing is known, so the answer is no.
    """
    if len(x) < 2:
        return False
    state = {name: buffer.clone() for name, buffer in operator.named_buffers()}
    half = len(x) // 2
    parts = [slice(0, half), slice(half, None)]
    whole = applied(operator, x, condition)
    apart = torch.cat([applied(operator, x[rows], None if condition is None else condition[rows]) for rows in parts])
    scale = whole.abs().max() + torch.finfo(whole.dtype).tiny
    same = bool((whole - apart).abs().max() <= torch.finfo(whole.dtype).eps ** 0.5 * scale)
    return same and all(torch.equal(state[name], buffer) for name, buffer in operator.named_buffers())
