"""Finite differences: the response of f to small changes of its input, independent of its gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..contracts.step import generator

__all__ = ["along", "columns", "contradicts", "discrete"]

Map = Callable[[Tensor], Tensor]
"""A map of real points, [B, *shape] -> [B, *shape]."""

_JUMP = 10.0
"""Change of an entry, in units of the input step, above which it counts as a jump."""
_COARSE = 1e-3
"""Machine epsilon above which a precision is too coarse to tell one slope from another."""
_KINK = 0.1
"""Difference of the derivatives to either side, as a share of both, above which a point lies on a kink."""
_APART = 0.25
"""Difference of two derivatives, as a share of the larger, above which they belong to different functions."""


def discrete(f: Map, points: Tensor, eps: float) -> bool:
    """Whether f is a step function around all given points [P, *shape].

    That is: a small step of the input leaves each entry of f unchanged up to rounding, or makes it jump. `eps` is the
    machine epsilon of the precision that f computes in.

    Check both inputs and outputs: `torch.floor` jumps at its own outputs, and a clamp is flat where it clamps all entries.
    """
    h = eps ** (2 / 3) * _size(points)
    signs = torch.randn(points.shape, generator=generator(0, "discrete"), dtype=torch.float64).sign()
    moved = points + h * signs.to(points)
    y, after = f(torch.cat([points, moved])).double().tensor_split(2)
    change = (after - y).abs()
    size = y.abs() + y.square().reshape(len(y), -1).mean(1).sqrt().view(-1, *[1] * (y.ndim - 1))
    slope = (change > 4 * eps * size) & (change < _JUMP * h)
    return bool(change.isfinite().all()) and not bool(slope.any())


def along(f: Map, y: Tensor, v: Tensor, *, batch_size: int = 32) -> Tensor:
    """J v at one point y [*shape] for directions v [q, n], by central differences: [q, n] in double precision."""
    h = torch.finfo(y.dtype).eps ** (1 / 3) * _size(y)
    products = []
    for part in v.split(batch_size):  # type: ignore[no-untyped-call]
        step = h * part.to(y).view(-1, *y.shape)
        up, down = f(torch.cat([y + step, y - step])).double().tensor_split(2)
        products.append(((up - down) / (2 * h)).reshape(len(part), -1).cpu())
    return torch.cat(products)


def columns(f: Map, y: Tensor, *, batch_size: int = 250) -> Tensor:
    """The whole Jacobian at one point y [*shape] by central differences, [n, n] in double precision on the CPU."""
    return along(f, y, torch.eye(y.numel(), dtype=torch.float64), batch_size=batch_size).T


def contradicts(f: Map, y: Tensor, v: Tensor, product: Tensor, eps: float) -> bool:
    """Whether J v [n], as autograd gives it at one point y [*shape], is not the derivative of f along v [n].

    False where this cannot be decided: on a kink, where the differences to either side disagree, and in half precision.
    """
    if eps > _COARSE:
        return False
    h = eps**0.5 * _size(y)
    step = h * v.to(y).view(y.shape)
    middle, up, down = f(torch.stack([y, y + step, y - step])).reshape(3, -1).cpu().double()
    after, before, claimed = (up - middle) / h, (middle - down) / h, product.cpu().double()
    noise = 16 * eps / h * 2 * middle.norm()
    if (after - before).norm() > _KINK * (after.norm() + before.norm()) + noise:
        return False
    measured = (after + before) / 2
    return bool((measured - claimed).norm() > _APART * max(measured.norm(), claimed.norm()) + noise)


def _size(points: Tensor) -> float:
    """Root mean square of the entries; 1 for zeros."""
    return float(points.double().square().mean().sqrt()) or 1.0
