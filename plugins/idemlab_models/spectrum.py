"""Matrices with a drawn spectrum and basis, from which the cubic iteration is known to converge."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from idemlab import BadInput

__all__ = ["HIGH", "LOW", "basis", "in_basin"]

LOW, HIGH = (1 - math.sqrt(3)) / 2, (1 + math.sqrt(3)) / 2
"""Ends of the basin of h(λ) = 3λ² - 2λ³ on the reals: (LOW, 1/2) goes to 0, (1/2, HIGH) to 1."""


def in_basin(n: int, rank: int | None = None, condition: float = 1.0, margin: float = 0.05) -> Tensor:
    """K = S diag(λ) S^-1 [n, n] in float64, drawn from torch's global generator.

    Args:
        rank: number of λ in the basin of 1 (the rank of the limit); None is n // 2.
        condition: cond(S) >= 1, see `basis`; 1 makes K symmetric.
        margin: λ is uniform on [LOW + margin, 1/2 - margin] or [1/2 + margin, HIGH - margin].

    Raises:
        BadInput: if the rank is above n.
    """
    rank = n // 2 if rank is None else rank
    if rank > n:
        raise BadInput(
            f"model 'linear': rank = {rank} is more than the n = {n} numbers of a sample",
            expected=f"a rank from 0 to {n}",
            next_step="lower 'rank', or leave it out for half of n",
        )
    to_0 = _uniform(n - rank, LOW + margin, 0.5 - margin)
    to_1 = _uniform(rank, 0.5 + margin, HIGH - margin)
    eigenvalues = torch.cat([to_1, to_0])
    S, S_inverse = basis(n, condition)
    return (S * eigenvalues) @ S_inverse


def basis(n: int, condition: float) -> tuple[Tensor, Tensor]:
    """S and S^-1, [n, n] in float64, with cond(S) = `condition` (for n = 1 it is 1).

    S = U diag(s) V^T with U, V uniformly drawn orthogonal matrices and s geometric from 1 to `condition`.
    """
    U, V = _orthogonal(n), _orthogonal(n)
    s = torch.logspace(0, math.log10(condition), n, dtype=torch.float64, device="cpu")
    return (U * s) @ V.mT, (V / s) @ U.mT


def _uniform(count: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(count, dtype=torch.float64, device="cpu")


def _orthogonal(n: int) -> Tensor:
    """A uniformly (Haar) distributed orthogonal matrix: QR of a Gaussian, with the signs that make QR unique."""
    Q, R = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, device="cpu"))
    orthogonal: Tensor = Q * R.diagonal().sign()
    return orthogonal
