"""Describes given objects for the resolved file, and finds out what a run must know about them."""

from __future__ import annotations

import copy
import inspect
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..catalog.faults import one_line
from ..catalog.given import path_of
from ..contracts.enforcer import Enforcer
from ..contracts.specs import EnforcerKind, Traits
from ..errors import BadInput
from ..wording import listed, with_article
from .fingerprint import fingerprint
from .modules import check_model, copied, unkept

__all__ = ["copy_of", "facts_of", "traits_of"]

_HASH = 16
"""Number of hexadecimal digits of a hash in a resolved file."""


def facts_of(kind: str, value: Any, place: str) -> dict[str, Any]:
    """The description of a given model, enforcer, source or metric.

    Raises:
        BadInput: if it cannot be copied, or if a model cannot be trained.
    """
    if kind == "model":
        return _model_facts(value, place)
    facts: dict[str, Any] = {}
    shown = _arguments(value)
    if shown:
        facts["arguments"] = shown
    if isinstance(value, nn.Module) and (state := _state(value)):
        facts["state"] = fingerprint(state)[:_HASH]
    copy_of(value)
    return facts


def _model_facts(module: nn.Module, place: str) -> dict[str, Any]:
    check_model(module, type(module).__name__, place)
    devices = sorted({str(t.device) for t in (*module.parameters(), *module.buffers())})
    if len(devices) > 1:
        raise BadInput(
            f"the given model lies on several devices: {listed(devices)}",
            where=place,
            expected="a module on one device; a copy of it is moved to the device of the run",
            next_step="give module.cpu()",
        )
    accelerator = torch.accelerator.current_accelerator()
    if devices and devices[0].partition(":")[0] not in ("cpu", accelerator.type if accelerator else "cpu"):
        raise BadInput(f"the given model lies on the device {devices[0]}", where=place, next_step="give module.cpu()")
    copied(module)
    types = [p.dtype for p in module.parameters() if p.is_floating_point()]
    facts: dict[str, Any] = {"parameters": sum(p.numel() for p in module.parameters())}
    facts |= {"dtype": str(types[0]).removeprefix("torch.")} if types else {}
    return facts | {"start": fingerprint(_state(module))[:_HASH]}


def _state(module: nn.Module) -> dict[str, Tensor]:
    return unkept(module) | {name: t for name, t in module.state_dict().items() if isinstance(t, Tensor)}


def _arguments(value: Any) -> dict[str, Any]:
    """The plain arguments of an object's constructor that it keeps as attributes, as `x` or `_x`."""
    try:
        names = list(inspect.signature(type(value).__init__).parameters)[1:]
    except (TypeError, ValueError):
        return {}
    kept = {name: vars(value).get(name, vars(value).get(f"_{name}")) for name in names}
    return {name: each for name, each in kept.items() if isinstance(each, (bool, int, float, str))}


def traits_of(enforcer: Enforcer) -> Traits:
    """The traits that an enforcer declares in its attribute `traits`; otherwise the kinds of the methods that it has."""
    own = getattr(enforcer, "traits", None)
    if own is not None and not isinstance(own, Traits):
        raise BadInput(
            f"the traits of the given enforcer are {with_article(type(own).__name__)}",
            where=path_of(type(enforcer)),
            expected="an idemlab.Traits as attribute `traits` of its class, or none",
        )
    methods = {
        "forward": EnforcerKind.LOSS,
        "project": EnforcerKind.PROJECTION,
        "wrap": EnforcerKind.ARCHITECTURE,
    }
    kinds = {kind for name, kind in methods.items() if getattr(type(enforcer), name) is not getattr(Enforcer, name)}
    if own is None or own.kinds:
        return own or Traits(kinds=frozenset(kinds))
    return replace(own, kinds=frozenset(kinds))


def copy_of(value: Any) -> Any:
    """A deep copy.

    Raises:
        BadInput: if the object cannot be copied.
    """
    if isinstance(value, nn.Module):
        return copied(value)
    try:
        return copy.deepcopy(value)
    except Exception as error:  # its parts may raise anything
        raise BadInput(
            f"the given {type(value).__name__} cannot be copied: {one_line(error)}",
            where=path_of(type(value)),
            expected="an object that copy.deepcopy can copy",
        ) from error
