"""Checks for a loss from your own training loop: any callable `enforce(f, x)` that gives a scalar."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..contracts.enforcer import Enforcement, Enforcer
from ..contracts.orbit import Orbit
from ..contracts.specs import EnforcerKind, EnforcerSpec, Traits
from ..contracts.step import Step
from .kit import must

__all__ = ["is_called", "loss_spec"]

Loss = Callable[[Any, Tensor], Tensor]

_USUAL = Traits(kinds=frozenset({EnforcerKind.LOSS}), smooth=False, batch_coupled=True, live_depth=1)
"""What a loss of f(f(x)) and f(x) promises: only the mean over the batch is known, so nothing of single samples."""


class _Called(Enforcer):
    """A loss function as an enforcer. It gets the operator itself, as in its own loop."""

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self._loss = loss

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        loss = self._loss(orbit.operator, orbit.input)
        shape = list(loss.shape) if isinstance(loss, Tensor) else None
        must(
            shape == [], f"it returned {type(loss).__name__}{'' if shape is None else f' {shape}'}, not a scalar tensor"
        )
        return Enforcement(loss=loss.expand(len(orbit.input)))


def is_called(enforcer: Enforcer) -> bool:
    """Whether it is a loss `enforce(f, x)`, which knows no condition."""
    return isinstance(enforcer, _Called)


def loss_spec(loss: Loss, traits: Traits | None = None) -> EnforcerSpec:
    """A spec for `check_enforcer`, of a loss `enforce(f, x)` that gives the mean over the batch, a scalar.

    For what `idemlab.enforcer` returns, the enforcer inside is checked, under its own traits.

    Args:
        loss: a function, or an object that can be called and copied.
        traits: what it promises. Default: a loss that is coupled over the batch, may have kinks, and differentiates through
            one application of f after f(x).
    """
    inner = getattr(loss, "enforcer", None)
    known = getattr(loss, "traits", None) if isinstance(inner, Enforcer) else None
    name = getattr(loss, "name", None) or getattr(loss, "__name__", None) or type(loss).__name__

    def factory() -> Any:
        return copy.deepcopy(inner) if isinstance(inner, Enforcer) else _Called(copy.deepcopy(loss))

    factory.__module__ = getattr(loss, "__module__", None) or type(loss).__module__
    factory.given = loss  # type: ignore[attr-defined]
    return EnforcerSpec(
        name="-".join(re.findall(r"[a-z0-9]+", str(name).lower())) or "loss",
        factory=factory,
        summary="A loss function.",
        traits=traits or known or _USUAL,
    )
