"""The optimisers of an experiment: any class of torch.optim by name; Muon updates only the matrices."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any

import torch
from torch import Tensor, nn

from ..catalog.muon import Muon
from ..catalog.named import Named
from ..catalog.torch_optimizers import TORCH, UNSUITABLE_OPTIMIZERS, fused
from ..errors import BadInput, Failure
from ..experiment.optimizers import check_argument_names, checked_types, unknown_optimizer
from ..experiment.settings import OptimizerSettings
from ..wording import counted, with_article

__all__ = ["build_optimizers"]


def _optimizer_class(name: str, where: str) -> type[torch.optim.Optimizer]:
    classes = {
        key.lower(): value
        for key, value in vars(torch.optim).items()
        if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
        if key.lower() not in UNSUITABLE_OPTIMIZERS
    }
    bare = name.lower().removeprefix(f"{TORCH}:")
    if bare not in classes:
        raise unknown_optimizer(name, classes, where)
    return classes[bare]


def build_optimizers(
    settings: OptimizerSettings, parameters: Sequence[nn.Parameter], method: Named | None = None
) -> list[torch.optim.Optimizer]:
    """The optimiser; two for `muon`, one for matrices and one for the rest. Empty if there is nothing to train.

    Each parameter group stores its highest learning rate as `initial_lr`, which the schedule scales.

    Args:
        method: the optimiser with its arguments, if a plugin offers it.

    Raises:
        BadInput: for an unknown name, or an argument that the class does not take or refuses.
        Failure: if a plugin's optimiser is none, or leaves parameters out.
    """
    where = "[optimizer]"
    if method is not None:
        return _of_plugin(method, parameters) if parameters else []
    arguments = {"lr": settings.lr} | (settings.model_extra or {})
    cls = _optimizer_class(settings.name, where)
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


def clear_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Do what `optimizer.zero_grad()` does. That of torch takes as long as a small layer, mostly for its profiler."""
    if type(optimizer).zero_grad is not torch.optim.Optimizer.zero_grad:  # a plugin's optimiser may do more
        optimizer.zero_grad()
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def _optimizer(
    cls: type[torch.optim.Optimizer], parameters: Sequence[nn.Parameter], given: Mapping[str, Any], where: str
) -> torch.optim.Optimizer:
    accepted = inspect.signature(cls).parameters
    check_argument_names(cls.__name__, given, set(accepted) - {"params"}, where)
    arguments = fused(cls, _typed(cls, given, where))
    try:
        _try(cls, parameters[0], arguments)
        optimizer = cls(parameters, **arguments)
    except (AssertionError, TypeError, ValueError, RuntimeError) as error:
        raise BadInput(
            f"optimizer '{cls.__name__.lower()}': {' '.join(str(error).split())}",
            where=where,
            next_step=f"change or remove one of these arguments: {', '.join(sorted(given))}",
        ) from error
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


def _of_plugin(method: Named, parameters: Sequence[nn.Parameter]) -> list[torch.optim.Optimizer]:
    """The optimisers that a plugin makes of the parameters."""
    made = method.build(list(parameters))
    built: list[Any] = made if isinstance(made, list) else [made]
    for each in built:
        if not isinstance(each, torch.optim.Optimizer):
            raise Failure(
                f"{method} returned {with_article(type(each).__name__)}",
                where=str(method.plugin),
                expected="a torch.optim.Optimizer, or a list of them",
                next_step=method.plugin.remedy,
            )
    taken = [id(p) for each in built for group in each.param_groups for p in group["params"]]
    if sorted(taken) != sorted(map(id, parameters)):
        raise Failure(
            f"{method} takes {len(taken)} of {counted(len(parameters), 'parameter')}",
            where=str(method.plugin),
            expected="each parameter once",
            next_step=method.plugin.remedy,
        )
    for each in built:
        for group in each.param_groups:
            group["initial_lr"] = group["lr"]
    return built


def _typed(cls: type[torch.optim.Optimizer], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The arguments, checked against the annotations of the class. torch does not check them and would fail later."""
    hints = typing.get_type_hints(cls.__init__)
    plain = {key: _plain(hints[key]) for key in given if key in hints}
    return dict(given) | checked_types(cls.__name__, plain, given, where)


def _plain(hint: Any) -> Any:
    """A type hint without tensors, which torch accepts in place of numbers and a file cannot contain."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return tuple[tuple(_plain(argument) for argument in arguments)]  # type: ignore[misc]
    if arguments:
        return reduce(or_, [argument for argument in arguments if argument is not Tensor])
    return hint


def _try(cls: type[torch.optim.Optimizer], like: nn.Parameter, arguments: Mapping[str, Any]) -> None:
    """Take one step on a small matrix: torch refuses some arguments only there. No files have been written yet."""
    matrix = nn.Parameter(torch.zeros(2, 2, dtype=like.dtype, device=like.device))
    matrix.grad = torch.ones_like(matrix)
    cls([matrix], **arguments).step()
