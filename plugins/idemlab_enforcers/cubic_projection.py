"""Weight projection by the cubic iteration."""

from __future__ import annotations

import torch
from torch import Tensor

from idemlab import Enforcer

__all__ = ["CubicProjection"]


class CubicProjection(Enforcer):
    """K <- (1-s) K + s h(K), h(K) = 3 K^2 - 2 K^3, in two matrix products.

    Source: McWeeny, Rev. Mod. Phys. 32 (1960) 335; Jensen and Vicary, ICML 2025, the recurrence.

    Args:
        step: s in (0, 1].
    """

    def __init__(self, step: float) -> None:
        super().__init__()
        self._step = step

    def project(self, matrix: Tensor) -> Tensor:
        s = self._step
        square = matrix @ matrix
        if s == 1:
            return _add_product(square, square, matrix, beta=3, alpha=-2)
        return _add_product((1 - s) * matrix + 3 * s * square, square, matrix, beta=1, alpha=-2 * s)


def _add_product(base: Tensor, a: Tensor, b: Tensor, *, beta: float, alpha: float) -> Tensor:
    """beta base + alpha a b for matrices [..., n, n], in one kernel."""
    if base.ndim == 2:
        return torch.addmm(base, a, b, beta=beta, alpha=alpha)
    stacks = [t.reshape(-1, *t.shape[-2:]) for t in (base, a, b)]
    return torch.baddbmm(*stacks, beta=beta, alpha=alpha).reshape(base.shape)
