"""The contract of an enforcer, what it returns, and the distances that losses are made of.

Shapes: B samples of shape `*shape`; n = number of entries of one sample; per-sample quantities are [B].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from .orbit import Operator, Orbit
from .step import Step

__all__ = ["DISTANCES", "Distance", "Enforcement", "Enforcer", "half_squared_distance", "l1", "l2", "rows"]

Distance = Callable[[Tensor, Tensor], Tensor]
"""(a [B, *shape], b [B, *shape]) -> [B]."""


def rows(difference: Tensor) -> Tensor:
    """[B, *shape] -> [B, n], in single precision at least, so that sums over n are accurate under bf16."""
    flat = difference.flatten(1)
    return flat.float() if flat.element_size() < 4 else flat


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of each sample, [B]."""
    return rows(a - b).abs().mean(1)


def l2(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of each sample, [B]."""
    return rows(a - b).square().mean(1)


def half_squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """1/2 |a - b|^2 of each sample, [B]: its gradient at a is a - b."""
    return 0.5 * rows(a - b).square().sum(1)


DISTANCES: dict[str, Distance] = {"l1": l1, "l2": l2}


@dataclass(frozen=True)
class Enforcement:
    """What an enforcer asks of one batch.

    Args:
        loss: per sample, [B], or None where there is nothing to differentiate. The objective takes the mean over the
            batch; a batch-coupled enforcer expands its scalar to [B].
        reported: further true quantities to log, each [B]. The idempotence error itself is reported by the objective.
    """

    loss: Tensor | None = None
    reported: Mapping[str, Tensor] = field(default_factory=dict)


class Enforcer(nn.Module):
    """Base of all enforcers: override what the kinds in its traits need.

    loss and gradient substitution: `forward`; weight projection: `project`; architecture: `wrap`.
    It is a module so that its state moves between devices and is checkpointed.
    """

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        """The loss at one batch of points. The orbit is lazy: ask for as few points as possible."""
        return Enforcement()

    def project(self, matrix: Tensor) -> Tensor:
        """One projection step on square matrices [..., n, n], pure: returns the new matrices."""
        return matrix

    def wrap(self, operator: Operator) -> Operator:
        """The operator made idempotent by construction; the operator itself for the other kinds."""
        return operator
