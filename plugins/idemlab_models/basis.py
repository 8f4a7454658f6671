"""A rotation whose first coordinates are the leading principal components of data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from idemlab import Dataset, generator

__all__ = ["Basis", "first_rows", "leading_components"]

_SEEN = 4096
"""Largest number of training samples whose principal components are taken."""


class Basis(nn.Module):
    """Rows x [B, n] -> (x - mean) Q with an orthogonal Q, and back.

    Q is a product of `leading` Householder reflections, I - V T V^T with T^-1 = triu(V^T V, 1) + diag(V^T V) / 2. It is
    orthogonal to rounding whatever V is and in any precision, and costs 4 n `leading` multiplications a row, not n^2.

    Args:
        n: entries of a row.
        leading: number of reflections, and of coordinates that can be chosen.
    """

    mean: Tensor
    reflections: Tensor

    def __init__(self, n: int, leading: int) -> None:
        super().__init__()
        self.leading = leading
        self.register_buffer("mean", torch.zeros(n))
        self.register_buffer("reflections", torch.randn(n, leading) / n**0.5)

    def forward(self, x: Tensor, inverse: bool = False) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)  # no triangular solve works in half precision
        V, mean, t = self.reflections.to(wide), self.mean.to(wide), x.to(wide)
        S = V.mT @ V
        T_inverse = S.triu(1) + torch.diag_embed(S.diagonal() / 2)
        if inverse:
            t = t - torch.linalg.solve_triangular(T_inverse.mT, t @ V, upper=False, left=False) @ V.mT + mean
        else:
            t = t - mean
            t = t - torch.linalg.solve_triangular(T_inverse, t @ V, upper=True, left=False) @ V.mT
        back: Tensor = t.to(x.dtype)
        return back

    @torch.no_grad()
    def set(self, mean: Tensor, components: Tensor) -> None:
        """Move the origin to `mean` [n], and the first coordinates to the orthonormal `components` [n, leading]."""
        factored, _ = torch.geqrf(components)
        reflections = factored.tril(-1)
        reflections.diagonal().fill_(1)
        self.mean.copy_(mean)
        self.reflections.copy_(reflections)


def first_rows(dataset: Dataset) -> Tensor:
    """The targets of the first training samples, [N, *shape], in float32 on the CPU."""
    count = min(len(dataset.train), _SEEN)
    return dataset.train.__getitems__(list(range(count))).to("cpu", torch.float32, dataset.range).target


def leading_components(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(mean [n], the `count` leading principal components [n, count]) of rows [N, n].

    Where the rows have fewer components, fixed random directions at right angles to them fill up.
    """
    N, n = x.shape
    mean = x.mean(0)
    x = x - mean
    if n > N:
        _, sizes, rows = torch.linalg.svd(x, full_matrices=False)
        found = rows[sizes > 1e-9 * sizes.max().clamp_min(1e-300)].T
    else:
        values, vectors = torch.linalg.eigh(x.T @ x)
        found = vectors.flip(1)[:, (values.flip(0) > 1e-12 * values.max().clamp_min(1e-300))]
    found = found[:, :count]
    rest = torch.randn(n, count - found.shape[1], generator=generator("basis", n), dtype=x.dtype)
    return mean, torch.linalg.qr(torch.cat([found, rest], 1)).Q
