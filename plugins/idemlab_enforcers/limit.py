"""The limit of a given network: f^k, or the fixed point that iteration reaches, with implicit gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from idemlab import Enforcer, Operator

__all__ = ["Limit", "Limited"]


class Limit(Enforcer):
    """Wraps a network g into f = g^k, or into the limit of g^k.

    Args:
        depth: k; None for the limit.
        tolerance: relative change of a sample at which its iteration ends.
        most: largest number of iterations.
        terms: of the Neumann series of the gradient.
    """

    def __init__(self, depth: int | None, tolerance: float, most: int, terms: int) -> None:
        super().__init__()
        self._settings = depth, tolerance, most, terms

    def wrap(self, operator: Operator) -> Operator:
        return Limited(operator, *self._settings)


class Limited(nn.Module):
    """f = g^k with the gradient through all applications, or the limit of g^k(x) with an implicit gradient.

    At the limit y = g(y), with J the Jacobian of g there, a cotangent v reaches the parameters as that of one application,
    for the cotangent v + J^T v + ... + (J^T)^(terms-1) v, and x as (J^T)^terms v. This is the gradient through the last
    `terms` applications, for the memory of two.

    The samples are independent: one that has converged stays unchanged, while the others continue.

    Source of the implicit gradient: S. Bai et al., Deep equilibrium models, NeurIPS 2019, arXiv 1909.01377.
    """

    def __init__(self, network: Operator, depth: int | None, tolerance: float, most: int, terms: int) -> None:
        super().__init__()
        self.network = network
        self.classes = getattr(network, "classes", None)
        self.shape = getattr(network, "shape", None)
        self._depth, self._tolerance, self._most, self._terms = depth, tolerance, most, terms

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        if self._depth is not None:
            for _ in range(self._depth):
                x = self.network(x, *condition)
            return x
        y = self._fixed_point(x, *condition)
        image: Tensor = self.network(y.clone(), *condition)
        if not torch.is_grad_enabled():
            return image
        point = y.requires_grad_()
        again = self.network(point.clone(), *condition)
        out: Tensor = _Implicit.apply(image, x, (again, point), self._terms)  # type: ignore[no-untyped-call]
        return out

    @torch.no_grad()
    def _fixed_point(self, x: Tensor, *condition: Tensor) -> Tensor:
        """The last of x, g(x), g(g(x)), ..., for each sample up to its own end."""
        y = x.detach().clone()
        rows = (-1, *[1] * (x.ndim - 1))
        moving = torch.ones(len(x), dtype=torch.bool, device=x.device)
        for _ in range(self._most):
            after = self.network(y.clone(), *condition)
            # In units of the largest entry, since the squares in a norm overflow long before the entries do.
            unit = after.flatten(1).abs().amax(1, keepdim=True).clamp_min(torch.finfo(after.dtype).tiny)
            change, size = ((after - y).flatten(1) / unit).norm(dim=1), (after.flatten(1) / unit).norm(dim=1)
            y = torch.where(moving.view(rows), after, y)
            moving = moving & (change > self._tolerance * size)
            if not bool(moving.any()):
                break
        return y


class _Implicit(torch.autograd.Function):
    """image = g(y) at the limit y, with the gradient of `Limited`."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, x: Tensor, tape: tuple[Tensor, Tensor], terms: int) -> Tensor:
        """`tape`: g(point) with its graph, and the point."""
        ctx.tape, ctx.terms = tape, terms
        return image.view_as(image)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor, Tensor, None, None]:
        image, point = ctx.tape
        total, term = torch.zeros_like(v), v
        for _ in range(ctx.terms):
            total = total + term
            (term,) = torch.autograd.grad(image, point, term, retain_graph=True)
        return total, term, None, None
