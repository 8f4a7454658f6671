"""The losses of the enforcers, written without idemlab: `idemlab bench` times them beside the enforcers.

Each function takes the arguments of its enforcer and returns {name: make}; make(f) returns loss(y, r) at y = f(z), where r
[B] is the reconstruction of each sample.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["cubic", "gradient", "ign", "log_relative", "relative"]

Loss = Callable[[Tensor, Tensor], Tensor]
Ways = dict[str, Callable[[nn.Module], Loss]]


def gradient(weight: float, routing: str, distance: str, depth: int) -> Ways:
    """D(f(y), y); only the full gradient has a plain form without a copy of the weights."""

    def make(f: nn.Module) -> Loss:
        def loss(y: Tensor, r: Tensor) -> Tensor:
            errors = []
            for _ in range(depth):
                after = f(y)
                errors.append(_mean(distance, after, y))
                y = after
            return weight * torch.stack(errors).mean()

        return loss

    return {"by hand": make} if routing == "full" else {}


def cubic(weight: float, cotangent: str) -> Ways:
    """|y - (3 f(y) - 2 f(f(y)))|^2 with a fixed target."""

    def make(f: nn.Module) -> Loss:
        def loss(y: Tensor, r: Tensor) -> Tensor:
            factor = weight * {"unit": y[0].numel() / 2, "mean": 0.5, "matched": 1.0}[cotangent]
            with torch.no_grad():
                once = f(y)
                target = 3 * once - 2 * f(once)
            error: Tensor = (y - target).square().mean()
            return factor * error

        return loss

    return {"by hand": make}


def relative(weight: float, squared: bool) -> Ways:
    """sqrt(mean |f(y) - y|^2 / mean |y - mean y|^2) over the batch, or without the root."""

    def make(f: nn.Module) -> Loss:
        def loss(y: Tensor, r: Tensor) -> Tensor:
            change: Tensor = (f(y) - y).square().mean()
            ratio = change / (y - y.mean(0)).square().mean()
            return (ratio if squared else ratio.sqrt()).mul(weight)

        return loss

    return {"by hand": make}


def log_relative(weight: float, scale: float) -> Ways:
    """log(1 + e^2 / scale^2), e^2 as in `relative`."""

    def make(f: nn.Module) -> Loss:
        def loss(y: Tensor, r: Tensor) -> Tensor:
            change: Tensor = (f(y) - y).square().mean()
            return (1 + change / (y - y.mean(0)).square().mean() / scale**2).log().mul(weight)

        return loss

    return {"by hand": make}


def ign(idempotence: float, tightness: float, clamp: float, distance: str, routing: str) -> Ways:
    """The step of public code: a copy of the weights, and four forwards, f(x), f(z), F(y) and f(sg y).

    Usually the parameters of the copy are left alive, so that their gradients are computed and thrown away.
    """

    def make(f: nn.Module, live: bool) -> Loss:
        frozen = copy.deepcopy(f).requires_grad_(live)

        def loss(y: Tensor, r: Tensor) -> Tensor:
            frozen.load_state_dict(f.state_dict())
            total = idempotence * _mean(distance, frozen(y), y)
            if tightness > 0:
                still = y.detach()
                tight = -_error(distance, f(still), still)
                if clamp > 0:
                    tight = (tight / (clamp * r)).tanh() * clamp * r
                total = total + tightness * tight.mean()
            return total

        return loss

    ways: dict[str, Any] = {"copy with live parameters": True, "frozen copy": False}
    return {} if routing in ("cubic", "cubic-both") else {name: partial(make, live=live) for name, live in ways.items()}


def _error(distance: str, a: Tensor, b: Tensor) -> Tensor:
    """D of each sample, [B]."""
    difference = (a - b).flatten(1)
    return (difference.abs() if distance == "l1" else difference.square()).mean(1)


def _mean(distance: str, a: Tensor, b: Tensor) -> Tensor:
    return _error(distance, a, b).mean()
