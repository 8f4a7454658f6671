"""Weight projection: one step on the square linear maps of an operator."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..contracts.enforcer import Enforcer
from ..purification.iteration import CONTRACTION, residual
from .engines import put, whole

__all__ = ["Projected", "project_weights", "square_maps"]


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
def project_weights(enforcer: Enforcer, operator: nn.Module, *, steers: bool = False) -> Projected | None:
    """One projection step on every square linear map, in place; None where there is none.

    A step that would not decrease a residual below 1/4 is rounding and is not written back. One that `steers` to a rank may
    have to increase the residual on the way; there it is rounding below the square root of the precision only.
    """
    left, floors = [], []
    for weight in square_maps(operator).values():
        matrix = whole(weight.detach())
        before = residual(matrix)
        new = enforcer.project(matrix)
        after = residual(new)
        rounding = torch.finfo(matrix.dtype).eps ** 0.5 if steers else CONTRACTION
        keep = (before < rounding) & ~(after < before)
        put(weight, torch.where(keep, matrix, new))
        left.append(torch.where(keep, before, after))
        floors.append(keep)
    return Projected(torch.stack(left).max(), torch.stack(floors).all()) if left else None
