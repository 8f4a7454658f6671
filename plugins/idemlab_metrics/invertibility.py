"""How well an invertible network inverts, and how well it is conditioned."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from idemlab import Batch, Metric, Orbit, generator

__all__ = ["Invertibility"]

_PROBED = 4
"""Samples at which the condition number is estimated."""
_ITERATIONS = 12
"""Of the power method."""


class Invertibility(Metric):
    """For f = g^-1 A g: |g^-1(g(x)) - x| / |x| of each sample, and the condition number of the Jacobian of g.

    `inverse_error` [B]; a sample next to zero takes the |x| of the batch. Over the set, `condition`: the largest estimate at
    the first few samples, the largest singular value of the Jacobian of g at x times that of g^-1 at g(x), each by the power
    method on J^T J, so a bound from below.
    """

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._conditions: list[float] = []

    def __call__(self, orbit: Orbit, batch: Batch) -> dict[str, Tensor]:
        x = orbit.input
        back = orbit.call("inverse", orbit.call("transform", x))
        size = _sizes(x)
        rows = slice(0, max(0, _PROBED - len(self._conditions)))
        if len(x[rows]):
            at = x[rows].detach()
            there = orbit.call("transform", at, rows)
            forth = _largest(lambda t: orbit.call("transform", t, rows), at)
            self._conditions += (forth * _largest(lambda t: orbit.call("inverse", t, rows), there)).tolist()
        return {"inverse_error": (back - x).flatten(1).norm(dim=1) / size}

    def compute(self) -> dict[str, float]:
        largest = max(self._conditions, default=math.nan)
        self._forget()
        return {} if math.isnan(largest) else {"condition": largest}


def _sizes(x: Tensor) -> Tensor:
    """|x| of each sample, [B]; where it is next to nothing, rounding is not in proportion to it: then that of the batch."""
    size = x.flatten(1).norm(dim=1)
    usual = size.square().mean().sqrt()
    return torch.where(size > 1e-3 * usual, size, torch.where(usual > 0, usual, torch.ones_like(usual)))


@torch.enable_grad()
def _largest(map: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """The largest singular value of the Jacobian of a map at each of its points [B, ...], [B]."""
    at = at.detach().requires_grad_()
    out = map(at.view_as(at))
    u = torch.zeros_like(out, requires_grad=True)
    (pulled,) = torch.autograd.grad(out, at, u, create_graph=True)  # J^T u, which is linear in u
    v = torch.randn(1, *at.shape[1:], generator=generator("condition", *at.shape[1:])).to(at).expand_as(at)
    size = at.new_zeros(len(at))
    for _ in range(_ITERATIONS):
        v = v / _norms(v).clamp_min(torch.finfo(v.dtype).tiny)
        (pushed,) = torch.autograd.grad(pulled, u, v, retain_graph=True)
        size = _norms(pushed).flatten()
        (v,) = torch.autograd.grad(out, at, pushed, retain_graph=True)
    return size.detach()


def _norms(t: Tensor) -> Tensor:
    """The norm of each sample, [B, 1, ...]."""
    norms: Tensor = t.flatten(1).norm(dim=1)
    return norms.view(-1, *[1] * (t.ndim - 1))
