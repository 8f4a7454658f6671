"""Rank by choice: the Jacobian of f driven to a projection of rank r, and the relative idempotence error with it.

Shapes: B samples of shape `*shape`, n entries each; the Jacobian is looked at in m of them; P probes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from idemlab import BadInput, Enforcement, Orbit, Step, l2, rows

from .relative import Relative

__all__ = ["Rank", "central_difference", "product_of_independent"]

_SMALL = 0.25
"""Share of the spread of a projection of rank r below which outputs count as shrinking, and the pull back begins."""
_LARGE = 16.0
"""Times the smallest spread, up to which a larger spread lowers the relative error: outputs gain nothing by growing on."""

_ALL = slice(None)


class Rank(Relative):
    """weight * ( (tr J - r)^2 + C + a spectrum |J^2 - J|_F^2 + a idempotence E + S ).

    J is the Jacobian of f, at f(x) and at x, whose terms are added; a rises from 0 to 1 over the warm-up; E is the relative
    idempotence error; S = max(0, log(s0 / s))^2 keeps the mean square s of the outputs around their mean above
    s0 = r / 4n times that of the inputs. All terms are zero at a projection of rank r.

    The trace alone is met by many small eigenvalues, too, and |J^2 - J|^2 holds them where they are. C counts: the singular
    values of an idempotent of rank r are r of at least 1, and zeros, and C is the squared distance of those of J from that.
    Which ones are the r is decided by their order, so no eigenvalue has to cross 1/2 against a barrier.

    J v is a central difference, so nothing is differentiated twice. With all n unit vectors, J is exact but for the
    differences. With random signs v, tr J = E v.Jv and |J^2 - J|^2 = E |J(Jv) - Jv|^2, and squares of a trace are products
    of independent estimates, which are unbiased. Probes do not count; C is then (tr J^2 - r)^2, tr J^2 = E v.J(Jv), to which
    small eigenvalues add little.

    Args:
        rank: r.
        weight: of the whole loss.
        spectrum, idempotence: weights of these terms.
        probes: P, at least 2; None for the exact Jacobian.
        every: J is looked at in every k-th sample of the global batch.
        warmup: share of the run over which a rises.
    """

    def __init__(
        self,
        rank: int,
        weight: float,
        spectrum: float,
        idempotence: float,
        probes: int | None,
        every: int,
        warmup: float,
    ) -> None:
        super().__init__(weight)
        self._rank = rank
        self._spectrum, self._idempotence = spectrum, idempotence
        self._probes, self._every, self._warmup = probes, every, warmup
        self._still = False

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        x, y = orbit.input, orbit.output
        n = y[0].numel()
        if self._rank > n:
            raise BadInput(
                f"rank {self._rank} is larger than the {n} entries of a sample",
                where="enforcer 'rank', key 'rank'",
                expected=f"1 to {n}",
            )
        if not self._still:
            _check_still(orbit)
            self._still = True
        warm = 1.0 if step.progress >= self._warmup else step.progress / self._warmup
        mine, share = self._rows(step, len(y))
        at_y, at_x = self._seen(orbit, y, step, mine), self._seen(orbit, x, step, mine)
        jacobian = torch.stack([seen.traces + warm * self._spectrum * seen.change for seen in (at_y, at_x)]).sum(0)
        spread, least = self._spread(y, step), self._least(x, step)
        # Inputs without spread, constants or a single one, set no scale.
        scale = torch.where(least > 1e-6 * spread, torch.minimum(spread, _LARGE * least), spread)
        error = step.mean(l2(orbit.live(2), y)) / scale
        exact = error == 0  # the root of zero has no derivative
        error = torch.where(exact, 0.0, torch.where(exact, 1.0, error).sqrt())
        shrunk = (least / spread).clamp_min(1.0).log().square()
        loss = (warm * self._idempotence * error + shrunk).expand(len(y)).clone()
        loss[mine] += jacobian * share
        reported = {name: torch.zeros_like(loss) for name in ("trace", "eigenvalue_error")}
        for name, value in (("trace", at_y.trace), ("eigenvalue_error", at_y.change.detach())):
            reported[name][mine] += value * share  # so that their mean is that of the rows that are looked at
        return Enforcement(loss=self._weight * loss, reported=reported)

    def _least(self, x: Tensor, step: Step) -> Tensor:
        """s0, a scalar: a share of the spread that a projection of rank r has at inputs like these."""
        x = x.detach().to(torch.promote_types(x.dtype, torch.float32))
        share = _SMALL * self._rank / x[0].numel()
        return share * step.mean(l2(x, step.mean(x)))

    def _rows(self, step: Step, count: int) -> tuple[slice, float]:
        """Which of the rows of this process are looked at, counted in the global batch, and their weight in its mean."""
        everyone, before = count * step.shard.count, step.shard.index * count
        first = -before % self._every
        if first >= count:  # none; all processes must call f alike, so one is looked at and has no weight
            return slice(0, 1), 0.0
        return slice(first, None, self._every), everyone / -(-everyone // self._every)

    def _seen(self, orbit: Orbit, point: Tensor, step: Step, mine: slice) -> _Seen:
        """The terms of J at some rows of a point [B, *shape], outside of autocast: differences of f in bfloat16 are
        rounding."""
        with torch.autocast(point.device.type, enabled=False):
            return self._looked_at(orbit, point.to(orbit.input.dtype), step, mine)

    def _looked_at(self, orbit: Orbit, point: Tensor, step: Step, mine: slice) -> _Seen:
        if self._probes is None:
            J = _jacobian(orbit, point, mine)
            traces = (_trace(J) - self._rank).square() + _count_error(J, self._rank)
            return _Seen(traces, (J @ J - J).square().sum((1, 2)), _trace(J).detach())
        probes = torch.stack([step.signs(point) for _ in range(self._probes)])
        images = central_difference(orbit, point, probes, mine)
        again = central_difference(orbit, point, images, mine)
        v, u, w = (
            t.flatten(2).to(torch.promote_types(t.dtype, torch.float32)) for t in (probes[:, mine], images, again)
        )
        first, second = (v * u).sum(2), (v * w).sum(2)
        traces = product_of_independent(first - self._rank) + product_of_independent(second - self._rank)
        return _Seen(traces, (w - u).square().sum(2).mean(0), first.detach().mean(0))


@torch.no_grad()
def _check_still(orbit: Orbit) -> None:
    """Refuse an operator that draws: two neighbouring points would go through two different maps.

    It is measured at the samples, twice each, as `central_difference` calls f. The operator's buffers stay as they are, and
    no operation is counted: this is no part of a step.

    Raises:
        BadInput: if f at the same samples differs by more than rounding.
    """
    x = orbit.input
    buffers = [*orbit.operator.buffers()] if orbit.offers("buffers") else []
    before = [buffer.clone() for buffer in buffers]
    with _disable_current_modes(), torch.autocast(x.device.type, enabled=False):
        once, again = _images(orbit, torch.stack([x, x]), _ALL)
    for buffer, old in zip(buffers, before, strict=True):
        if not torch.equal(buffer, old):  # a power iteration: a resumed run would have one more
            buffer.copy_(old)
    if (once - again).abs().max() > torch.finfo(once.dtype).eps ** 0.5 * once.abs().max():
        raise BadInput(
            "enforcer 'rank' looks at the Jacobian by differences of f, and the model draws another f for each point: "
            "twice the same samples give two different outputs",
            where="[enforcer] and [model]",
            next_step="train a model without dropout or other noise, or take another enforcer: idemlab list enforcers",
        )


@dataclass(frozen=True)
class _Seen:
    """The terms of the Jacobians at m points.

    Args:
        traces: (tr J - r)^2 + C, [m].
        change: |J^2 - J|_F^2, [m].
        trace: tr J, [m], without gradient.
    """

    traces: Tensor
    change: Tensor
    trace: Tensor


def _count_error(J: Tensor, rank: int) -> Tensor:
    """How far the singular values of J are from r of at least 1 and zeros, as every idempotent of rank r has them, [m]."""
    finite = J.isfinite().all(2).all(1)  # LAPACK refuses others, and the loss must say that f has diverged
    values = torch.linalg.svdvals(torch.where(finite[:, None, None], J, 0.0))
    error = values[:, rank:].square().sum(1) + (1 - values[:, :rank]).clamp_min(0).square().sum(1)
    return torch.where(finite, error, torch.nan)


def _trace(J: Tensor) -> Tensor:
    """tr J of each sample, [m]."""
    return J.diagonal(dim1=1, dim2=2).sum(1)


def _jacobian(orbit: Orbit, point: Tensor, mine: slice) -> Tensor:
    """J at some rows, [m, n, n], in single precision at least."""
    n = point[0].numel()
    unit = torch.eye(n, dtype=point.dtype, device=point.device).view(n, 1, *point.shape[1:])
    columns = central_difference(orbit, point, unit.expand(n, *point.shape), mine)
    return torch.stack([rows(column) for column in columns], 2)


def central_difference(orbit: Orbit, point: Tensor, directions: Tensor, mine: slice = _ALL) -> Tensor:
    """J v ~ (f(y + h v) - f(y - h v)) / 2h for D directions v at some rows y of a point, [D, m, *shape], with gradient
    to y, v and the parameters.

    The rounding of f, eps / h, and the error of the difference, h^2, balance at the cube root of eps.

    Args:
        directions: [D, B, *shape], or [D, m, *shape].
    """
    seen = point[mine]
    if directions.shape[1] == len(point):
        directions = directions[:, mine]
    size = rows(seen.detach()).square().mean(1).sqrt().clamp_min(1.0)
    h = torch.finfo(point.dtype).eps ** (1 / 3) * size
    h = h.to(point.dtype).view(-1, *[1] * (point.ndim - 1))
    points = torch.cat([seen + h * directions, seen - h * directions])
    ahead, behind = _images(orbit, points, mine).chunk(2)
    difference: Tensor = (ahead - behind) / (2 * h)
    return difference


def _images(orbit: Orbit, points: Tensor, mine: slice) -> Tensor:
    """f at points [D, m, *shape] that belong to some rows, under the conditions of these rows."""
    if orbit.condition is None:
        return orbit.apply(points.flatten(0, 1)).view_as(points)
    return torch.stack([orbit.call("forward", each, rows=mine) for each in points])


def product_of_independent(estimates: Tensor) -> Tensor:
    """The square of the mean of independent estimates [P, m], unbiased: the mean of e_i e_j over all pairs i != j, [m].

    The square of one estimate, or of their mean, would be too large by its variance.
    """
    count = estimates.shape[0]
    return (estimates.sum(0).square() - estimates.square().sum(0)) / (count * (count - 1))
