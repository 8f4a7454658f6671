"""Principal components of rows: coordinates in which sources, models and metrics compare samples."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["principal_components"]


def principal_components(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The mean [n] and the leading principal components [n, k] of rows [N, n], the largest first.

    The columns are orthonormal. k is the smallest of `count`, n and N - 1, and at least 1.

    Args:
        rows: finite and real; in float64, since small components are lost in single precision.
        count: the largest number of components, at least 1.
    """
    mean = rows.mean(0)
    X = rows - mean
    N, n = X.shape
    count = max(min(count, n, N - 1), 1)
    # The eigenvectors of the smaller of XᵀX and XXᵀ give them: large images have far more entries than there are rows.
    vectors = torch.linalg.eigh(X.T @ X if n <= N else X @ X.T).eigenvectors[:, -count:].flip(1)
    return mean, vectors if n <= N else torch.linalg.qr(X.T @ vectors).Q
