"""Weight projection: one step on the square linear maps of an operator, and the full iteration on one matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor, nn

from ..catalog.catalog import installed
from ..contracts.enforcer import Enforcer
from .engines import put, whole

__all__ = ["Ending", "Projected", "Purification", "project_weights", "purify", "residual", "square_maps"]

_CONTRACTION = 0.25
"""||K^2 - K|| below which every member of the family contracts quadratically. Any growth below it is rounding."""
_PATIENCE = 8
"""Steps without a new lowest residual after which the iteration stops. For a map that is far from normal, rounding dominates
the residual long before the eigenvalues have converged; eight steps take an error of 0.9 to its 256th power."""


def residual(matrix: Tensor) -> Tensor:
    """||K^2 - K||_F of matrices [..., n, n]."""
    norm: Tensor = torch.linalg.matrix_norm(matrix @ matrix - matrix)
    return norm


def square_maps(operator: nn.Module) -> dict[str, Tensor]:
    """The weights [n, n] of all linear layers that keep the width and are trained, by name."""
    return {
        f"{name}.weight" if name else "weight": module.weight
        for name, module in operator.named_modules()
        if isinstance(module, nn.Linear) and module.in_features == module.out_features
        if not isinstance(module.weight, nn.Parameter) or module.weight.requires_grad
    }


@dataclass(frozen=True)
class Projected:
    """The result of one projection step on the weights.

    Args:
        residual: the largest ||K^2 - K||_F afterwards, a scalar.
        at_floor: whether every map is at its rounding floor, a boolean scalar.
    """

    residual: Tensor
    at_floor: Tensor

    @property
    def sentence(self) -> str:
        """In plain words."""
        reached = ", the rounding floor of this map" if bool(self.at_floor) else ""
        return f"The projected weights have ||K^2 - K|| = {float(self.residual):.2g}{reached}."


@torch.no_grad()
def project_weights(enforcer: Enforcer, operator: nn.Module) -> Projected | None:
    """One projection step on every square linear map, in place; None where there is none.

    A step that would not decrease a residual below 1/4 is rounding and is not written back.
    """
    left, floors = [], []
    for weight in square_maps(operator).values():
        matrix = whole(weight.detach())
        before = residual(matrix)
        new = enforcer.project(matrix)
        after = residual(new)
        keep = (before < _CONTRACTION) & ~(after < before)
        put(weight, torch.where(keep, matrix, new))
        left.append(torch.where(keep, before, after))
        floors.append(keep)
    return Projected(torch.stack(left).max(), torch.stack(floors).all()) if left else None


class Ending(StrEnum):
    """Why a purification ended; the value is the message."""

    CONVERGED = "converged: ||K^2 - K|| is at the rounding floor of about eps ||K||^3"
    FLOOR = (
        "stopped at the rounding floor: further steps did not decrease ||K^2 - K||, which is as good as this map allows"
    )
    TOLERANCE = "reached the requested tolerance"
    DIVERGED = "diverged: outside the basin of attraction, or too badly conditioned for its precision"
    STEPS = "stopped after the largest number of steps"


@dataclass(frozen=True)
class Purification:
    """What `purify` returns.

    Args:
        matrix: the best iterate, [n, n]; the last one if none reached the contraction region.
        residuals: ||K^2 - K||_F of the start and after each step up to that iterate.
        ending: why the iteration ended.
    """

    matrix: Tensor
    residuals: tuple[float, ...]
    ending: Ending

    @property
    def idempotent(self) -> bool:
        """Whether the contraction region was reached and the iteration ended by itself."""
        return self.ending in (Ending.CONVERGED, Ending.FLOOR, Ending.TOLERANCE)


@torch.no_grad()
def purify(
    matrix: Tensor,
    enforcer: Enforcer | Callable[[Tensor], Tensor] | str = "cubic-projection",
    *,
    tolerance: float = 0.0,
    max_steps: int = 200,
) -> Purification:
    """Iterate a weight projection on one square matrix until it is idempotent, and report what was reached.

    Once ||K^2 - K||_F is below 1/4, the iterate with the lowest residual is kept, and the iteration stops when eight steps
    in a row find no lower one. It does not stop at the first rise, because the residual of a map that is far from normal
    may rise on the way. Below the square root of the precision, where rounding can find one that is lower by a hair for
    hundreds of steps, lower means by at least 1 %.

    Args:
        matrix: K [n, n], real or complex; not changed.
        enforcer: name of an enforcer of kind weight projection, an `Enforcer`, or a function K -> K'.
        tolerance: stop as soon as the residual is at most this.
        max_steps: largest number of steps.

    Raises:
        ValueError: if the matrix is not square.
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"purify takes one square matrix [n, n], got {list(matrix.shape)}")
    if isinstance(enforcer, str):
        catalog = installed()
        enforcer = catalog.check("enforcer", enforcer, "purify").build()
    step: Callable[[Tensor], Tensor] = enforcer.project if isinstance(enforcer, Enforcer) else enforcer  # type: ignore[assignment]
    iterate, best, at, fell = matrix, matrix, 0, 0
    hair = float(torch.finfo(matrix.dtype).eps) ** 0.5
    residuals = [_left(matrix)]

    def ended(ending: Ending) -> Purification:
        return Purification(best, tuple(residuals[: at + 1]), ending)

    while not residuals[at] <= tolerance and len(residuals) <= max_steps:
        iterate = step(iterate)
        left = _left(iterate)
        contracting, finite = residuals[at] < _CONTRACTION, bool(iterate.isfinite().all())
        if not finite and not contracting:
            return ended(Ending.DIVERGED)
        residuals.append(left)
        if left < (residuals[at] if contracting else float("inf")):  # outside the region the newest one counts
            best, at = iterate, len(residuals) - 1
            fell = at if left > hair or left < 0.99 * residuals[fell] else fell
        if contracting and (len(residuals) - 1 - fell >= _PATIENCE or not finite):
            norm = float(torch.linalg.matrix_norm(best))
            floor = torch.finfo(matrix.dtype).eps * norm * norm * norm  # a power of a large float raises an error
            return ended(Ending.CONVERGED if residuals[at] <= floor else Ending.FLOOR)
    return ended(Ending.TOLERANCE if residuals[at] <= tolerance else Ending.STEPS)


def _left(matrix: Tensor) -> float:
    """||K^2 - K||_F; infinite where the squares in it overflow, though the iterates may stay finite and converge."""
    left = float(residual(matrix))
    return left if left < float("inf") else float("inf")
