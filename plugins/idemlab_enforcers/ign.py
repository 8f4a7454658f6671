"""The idempotence and tightness terms of the Idempotent Generative Network, at the cost of the cheapest exact step.

Shapes: B samples of shape `*shape`; per-sample quantities [B] carry the suffix _B.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from idemlab import DISTANCES, Enforcement, Enforcer, Orbit, Step, l2

from .cubic import cubic_target

__all__ = ["IGN", "Routing"]

Routing = Literal["reversal", "surrogate", "cubic", "cubic-both"]

_FLOOR = 1e-6
"""Of sech^2 under the reversal, which divides by it: low enough to be exact to 1e-7, high enough for half precision."""
_SATURATED = 30.0
"""Where tanh is 1 to rounding: keeps sech^2 and the derivative in r finite."""


class _Reversal(torch.autograd.Function):
    """R: identity forward; backward the gradient of each sample times its factor [B], which may be filled in later."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, factor_B: Tensor) -> Tensor:
        ctx.factor_B = factor_B
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        rows = ctx.factor_B.to(gradient.dtype).view(-1, *[1] * (gradient.ndim - 1))
        return gradient * rows, None


class IGN(Enforcer):
    """λi L_idem + λt L_tight at y = f(z); the reconstruction term λr D(f(x), x) is the experiment's own.

        L_idem  =  D(F(f(z)), f(z)),   F = frozen copy of f
        L_tight = -D(f(sg f(z)), sg f(z)),   clamped per sample to  tanh(L_tight / (a r)) a r

    r is `step.reconstruction` of the same row: D of the reconstruction, unweighted, and *not* detached, so that the
    clamp has a gradient through r as well, as the formula has. (Public code differs in both.)

    Source: Shocher et al., "Idempotent Generative Network", ICLR 2024, arXiv 2311.01462.

    Args:
        idempotence: λi.
        tightness: λt; 0 leaves the term out, and with it the clamp.
        clamp: a; 0 for no clamp.
        distance: D, "l1" or "l2", a mean over the entries of a sample.
        routing: "reversal": w = f(R(y)) serves both terms, since F(y) and f(sg y) have one value and proportional
            gradients: R turns the tightness gradient of each sample into its idempotence gradient.
            "surrogate": the idempotence gradient at y as a fixed cotangent.
            "cubic": the cubic cotangent, the gradient of |y - sg(3 f(y) - 2 f(f(y)))|^2 / n, in its place.
            "cubic-both": the tightness by it, too: in place of D(w, sg y) at w = f(sg y), the same expression at w,
            |w - sg(3 f(w) - 2 f(f(w)))|^2 / n. Jensen & Vicary name both terms and print neither: this is our reading.
    """

    def __init__(self, idempotence: float, tightness: float, clamp: float, distance: str, routing: Routing) -> None:
        super().__init__()
        self._idempotence = idempotence
        self._tightness = tightness
        self._clamp = clamp if tightness > 0 else 0.0
        self._distance = DISTANCES[distance]
        self._routing = routing

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        if self._tightness == 0:
            return self._without_tightness(orbit)
        match self._routing:
            case "reversal":
                return self._by_reversal(orbit, step)
            case "surrogate":
                return self._by_surrogate(orbit, step)
            case "cubic" | "cubic-both":
                return self._by_cubic(orbit, step)

    def _by_reversal(self, orbit: Orbit, step: Step) -> Enforcement:
        y, still = orbit.output, orbit.ahead(0)
        factor_B = y.new_ones(y.shape[0], dtype=torch.promote_types(y.dtype, torch.float32))
        w = orbit.apply(_Reversal.apply(y, factor_B))  # type: ignore[no-untyped-call]
        tight, slope_B = self._tight(self._distance(w, still), step, floor=_FLOOR)
        # The tightness reaches w with the coefficient -slope; R makes of it what the idempotence term asks for.
        factor_B.copy_(-self._idempotence / slope_B)
        return self._enforcement(orbit, w, self._distance(w.detach(), y), tight)

    def _by_surrogate(self, orbit: Orbit, step: Step) -> Enforcement:
        y = orbit.output
        leaf = y.detach().requires_grad_()
        with torch.enable_grad():  # in an evaluation too, where the cotangent is not needed but the value is
            # A view: hooks on a module's inputs (a FLOP counter's) refuse leaves inside autograd.grad.
            w = orbit.apply(leaf.view_as(leaf))
            idempotent = self._distance(w, leaf)
            (cotangent,) = torch.autograd.grad(idempotent.sum(), leaf, retain_graph=True)
        pull = (y * cotangent).flatten(1).sum(1)
        tight, _ = self._tight(self._distance(w, leaf.detach()), step)
        return self._enforcement(orbit, w, _valued(pull, idempotent), tight)

    def _by_cubic(self, orbit: Orbit, step: Step) -> Enforcement:
        y, still = orbit.output, orbit.ahead(0)
        w = orbit.apply(still)
        orbit.note(2, w)
        both = self._routing == "cubic-both"
        apart = l2(w, 3 * orbit.ahead(2) - 2 * orbit.ahead(3)) if both else self._distance(w, still)
        tight, _ = self._tight(apart, step)
        return self._enforcement(orbit, w, l2(y, cubic_target(orbit)), tight)

    def _without_tightness(self, orbit: Orbit) -> Enforcement:
        y = orbit.output
        if self._routing in ("cubic", "cubic-both"):
            return self._enforcement(orbit, orbit.ahead(1), l2(y, cubic_target(orbit)), None)
        w = orbit.frozen(y)
        return self._enforcement(orbit, w, self._distance(w, y), None)

    def _tight(self, distance_B: Tensor, step: Step, floor: float = 0.0) -> tuple[Tensor, Tensor]:
        """λt times the clamped L_tight [B], and minus its derivative by the distance, at least λt floor, [B]."""
        if self._clamp == 0:
            tight = -self._tightness * distance_B
            return tight, torch.full_like(distance_B, self._tightness)
        r = step.reconstruction
        with torch.no_grad():
            bound = self._clamp * r
            u = (distance_B / bound.clamp_min(torch.finfo(bound.dtype).tiny)).clamp_max(_SATURATED)
            sech2 = u.cosh().pow(-2)
            value = -self._tightness * u.tanh() * bound
            slope = self._tightness * sech2.clamp_min(floor)
            along_r = -self._tightness * self._clamp * (u.tanh() - u * sech2)
        return _valued(along_r * r - slope * distance_B, value), slope

    def _enforcement(self, orbit: Orbit, w: Tensor, idempotent: Tensor, tight: Tensor | None) -> Enforcement:
        """The weighted sum of both terms; what is reported are the terms themselves, after the clamp."""
        orbit.note(2, w)
        loss = self._idempotence * idempotent
        with torch.no_grad():
            reported = {"idempotent_term": self._distance(w, orbit.ahead(0))}
        if tight is not None:
            loss = loss + tight
            reported["tightness_term"] = tight.detach() / self._tightness
        return Enforcement(loss=loss, reported=reported)


def _valued(surrogate: Tensor, value: Tensor) -> Tensor:
    """The gradient of `surrogate` with the true `value`."""
    return surrogate - surrogate.detach() + value.detach()
