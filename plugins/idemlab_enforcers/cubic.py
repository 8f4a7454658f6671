"""Modified backpropagation: the cubic cotangent in place of the gradient of the idempotence loss."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from idemlab import Enforcement, Enforcer, Orbit, Step, half_squared_distance, l2

__all__ = ["Cotangent", "Cubic", "cubic_target"]

Cotangent = Literal["unit", "mean", "matched"]


def cubic_target(orbit: Orbit) -> Tensor:
    """y' = 3 f(y) - 2 f(f(y)) at y = f(x), [B, *shape], without gradient."""
    return 3 * orbit.ahead(1) - 2 * orbit.ahead(2)


class Cubic(Enforcer):
    """Pulls y = f(x) to 3 f(y) - 2 f(f(y)): the gradient at y is g = y - 3 f(y) + 2 f(f(y)) times a constant.

    Source: Jensen and Vicary, "Enforcing Idempotency in Neural Networks", ICML 2025, modified backpropagation.

    Args:
        weight: of the loss.
        cotangent: the constant: g ("unit"), g/n ("mean"), 2g/n ("matched"), n = entries of one sample.
    """

    def __init__(self, weight: float, cotangent: Cotangent) -> None:
        super().__init__()
        self._weight = weight
        self._cotangent = cotangent

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        return Enforcement(loss=self._weight * self._pull(orbit.output, cubic_target(orbit)))

    def _pull(self, y: Tensor, target: Tensor) -> Tensor:
        match self._cotangent:
            case "unit":
                return half_squared_distance(y, target)
            case "mean":
                return 0.5 * l2(y, target)
            case "matched":
                return l2(y, target)
