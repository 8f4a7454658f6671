"""Scale-free penalties: the relative idempotence error itself as the loss, or its logarithm."""

from __future__ import annotations

import torch
from torch import Tensor

from idemlab import Enforcement, Enforcer, Orbit, Step, l2

__all__ = ["LogRelative", "Relative"]

_RATE = 0.1
"""Of the running scale: it follows the batches' spread within some ten steps."""


class Relative(Enforcer):
    """sqrt( mean |f(y) - y|^2 / mean |y - mean y|^2 ) over the global batch, with gradient through everything.

    Unsquared, so that its gradient does not fade as the error does (an exact penalty); a ratio, so that shrinking the
    outputs gains nothing. At an exact idempotent, where the root has no derivative, the gradient is zero.

    Where the batch has no spread above rounding (a batch of one, constant outputs) the ratio would be x/0: the running
    scale takes the place of the spread there, without gradient. It is an exponential average of the spreads seen in
    training, 1 at first, and part of the checkpoint.

    Args:
        weight: of the loss.
        squared: take the square of the ratio, whose gradient fades with the error.
    """

    scale: Tensor

    def __init__(self, weight: float, squared: bool = False) -> None:
        super().__init__()
        self._weight, self._squared = weight, squared
        self.register_buffer("scale", torch.ones(()))

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        y = orbit.output
        ratio = self._ratio(orbit, step)
        if self._squared:
            return Enforcement(loss=self._weight * ratio.expand(y.shape[0]))
        # The root of zero has no derivative: differentiate the root of one there, and give it no weight.
        exact = ratio == 0
        loss = torch.where(exact, 0.0, torch.where(exact, 1.0, ratio).sqrt())
        return Enforcement(loss=self._weight * loss.expand(y.shape[0]))

    def _ratio(self, orbit: Orbit, step: Step) -> Tensor:
        """The squared relative idempotence error, a scalar."""
        return step.mean(l2(orbit.live(2), orbit.output)) / self._spread(orbit.output, step)

    def _spread(self, y: Tensor, step: Step) -> Tensor:
        """mean |y - mean y|^2 / n, a scalar, or the running scale where that is no more than rounding."""
        rounding = 4 * torch.finfo(y.dtype).eps
        y = y.to(torch.promote_types(y.dtype, torch.float32))
        # Deviations from a mean sum to zero, so the derivative through the centre vanishes: nothing is lost by detaching.
        centre = step.mean(y.detach())
        spread = step.mean(l2(y, centre))
        with torch.no_grad():
            spreads = spread > rounding**2 * (spread + centre.square().mean())
            spreads &= spread > torch.finfo(spread.dtype).tiny  # squares of tiny outputs underflow
            if self.training:
                self.scale.lerp_(torch.where(spreads, spread, self.scale).to(self.scale.dtype), _RATE)
        return torch.where(spreads, spread, self.scale.to(spread.dtype))


class LogRelative(Relative):
    """weight * log(1 + e^2 / s^2), e the relative idempotence error of the global batch, as in `Relative`.

    Where e is small, this is the square of e with the weight `weight / s^2`. Where e is large, as at the start of a run, it
    rises with the logarithm only. There the square could be lowered most by giving up directions of the data. The logarithm
    gains little by that as long as the weight is small.

    Args:
        weight: of the loss.
        scale: s, the relative error below which the loss is nearly a square.

    Source: *derived*; log(1 + e^2 / s^2) is the Lorentzian of robust statistics, here of one error for a whole batch.
    """

    def __init__(self, weight: float, scale: float) -> None:
        super().__init__(weight)
        self._small = scale**2

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        ratio = self._ratio(orbit, step)
        ratio = ratio.to(torch.promote_types(ratio.dtype, torch.float32))  # float16 ends at 65504
        loss = torch.log1p(ratio / self._small)
        return Enforcement(loss=self._weight * loss.expand(orbit.output.shape[0]))
