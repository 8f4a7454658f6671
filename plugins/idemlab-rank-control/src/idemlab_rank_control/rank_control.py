"""Rank control: the trace and the spectrum of the Jacobian, estimated without bias and without double backward.

Shapes: B samples of shape `*shape`, n entries each; P probes; per-sample quantities are [B].
"""

from __future__ import annotations

import torch
from torch import Tensor

from idemlab import BadInput, Enforcement, Enforcer, Orbit, Step, rows

__all__ = ["RankControl", "central_difference", "product_of_independent"]


class RankControl(Enforcer):
    """weight / n * ( (tr J - r)^2 + spectrum |J^2 - J|_F^2 ) at y = f(x), J = Jacobian of f at y, in expectation.

    With probes v of independent random signs, E v.Jv = tr J and E |J(Jv) - Jv|^2 = |J^2 - J|_F^2. The gradient goes
    through all applications of f, and to y.

    Args:
        rank: r.
        weight: of the loss.
        spectrum: weight of the second term against the first.
        probes: P, at least 2.
        step: h of the central difference, relative to the size of y above 1; None: cube root of the precision.
    """

    def __init__(self, rank: int, weight: float, spectrum: float, probes: int, step: float | None) -> None:
        super().__init__()
        self._rank = rank
        self._weight = weight
        self._spectrum = spectrum
        self._probes = probes
        self._step = step

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        y = orbit.output
        n = y[0].numel()
        if self._rank > n:
            raise BadInput(
                f"rank {self._rank} is larger than the {n} entries of a sample",
                where="enforcer 'rank-control', key 'rank'",
                expected=f"1 to {n}",
            )
        h = self._length(y)
        probes = [step.signs(y) for _ in range(self._probes)]
        images = [central_difference(orbit, y, v, h) for v in probes]
        traces = torch.stack([(rows(v) * rows(u)).sum(1) for v, u in zip(probes, images, strict=True)])
        loss = product_of_independent(traces - self._rank)
        reported = {"trace": traces.mean(0)}
        if self._spectrum > 0:
            changes = [rows(central_difference(orbit, y, u, h) - u).square().sum(1) for u in images]
            reported["eigenvalue_error"] = torch.stack(changes).mean(0)  # |J^2 - J|_F^2
            loss = loss + self._spectrum * reported["eigenvalue_error"]
        return Enforcement(loss=self._weight / n * loss, reported=reported)

    def _length(self, y: Tensor) -> Tensor:
        """h of each sample, [B, 1, ...]: rounding, eps / h, and truncation, h^2, balance at the cube root of eps."""
        h = self._step or torch.finfo(y.dtype).eps ** (1 / 3)
        size = rows(y.detach()).square().mean(1).sqrt().clamp_min(1.0)
        return (h * size).to(y.dtype).view(-1, *[1] * (y.ndim - 1))


def central_difference(orbit: Orbit, y: Tensor, v: Tensor, h: Tensor) -> Tensor:
    """J v ~ (f(y + h v) - f(y - h v)) / 2h, [B, *shape], with gradient to y, v and the parameters."""
    return (orbit.apply(y + h * v) - orbit.apply(y - h * v)) / (2 * h)


def product_of_independent(estimates: Tensor) -> Tensor:
    """The square of the mean of independent estimates [P, B], unbiased: the mean of e_i e_j over all pairs i != j, [B].

    The square of one estimate, or of their mean, would be too large by its variance.
    """
    count = estimates.shape[0]
    return (estimates.sum(0).square() - estimates.square().sum(0)) / (count * (count - 1))
