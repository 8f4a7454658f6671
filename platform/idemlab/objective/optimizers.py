"""The optimisers of an experiment: any class of torch.optim by name, with matrices apart for Muon."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ..errors import BadInput, nearest_match
from ..experiment.settings import OptimizerSettings
from .muon import Muon

__all__ = ["build_optimizers"]


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
