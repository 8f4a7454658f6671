"""Hypothesis strategies for bases S of linear maps, each with its inverse: orthogonal, oblique, or exact."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import strategies as st
from torch import Tensor

from .linear_map import Basis, block_diagonal

__all__ = ["Bases", "exact_bases", "exact_orthogonal_bases", "integers", "oblique_bases", "orthogonal_bases"]

Bases = Callable[[int], st.SearchStrategy[Basis]]


def integers(draw: st.DrawFn, count: int, bound: int) -> Tensor:
    """[count] integers in [-bound, bound] as float64; they shrink to 0. One draw of bytes is much faster than a list."""
    values = [0, *(sign * size for size in range(1, bound + 1) for sign in (1, -1))]
    drawn = draw(st.binary(min_size=count, max_size=count))
    return torch.tensor([values[byte % len(values)] for byte in drawn], dtype=torch.float64)


def _rotation(draw: st.DrawFn, n: int) -> Tensor:
    """(I + A)^-1 (I - A) for a skew-symmetric A with entries in [-2, 2] (Cayley): orthogonal, I for A = 0."""
    rows, columns = torch.triu_indices(n, n, 1)
    A = torch.zeros(n, n, dtype=torch.float64)
    A[rows, columns] = integers(draw, len(rows), 8) / 4
    A = A - A.T
    eye = torch.eye(n, dtype=torch.float64)
    rotation: Tensor = torch.linalg.solve(eye + A, eye - A)
    return rotation


@st.composite
def orthogonal_bases(draw: st.DrawFn, n: int) -> Basis:
    """Orthogonal S: makes symmetric maps of real eigenvalues, normal maps of pairs."""
    Q = _rotation(draw, n)
    return Basis(Q, Q.T, 1.0)


@st.composite
def oblique_bases(draw: st.DrawFn, n: int, condition: float = 10.0) -> Basis:
    """S = U diag(σ) V^T with U, V orthogonal and 1 <= σ <= condition: cond(S) is known, and at most `condition`."""
    U, V = _rotation(draw, n), _rotation(draw, n)
    stretch = condition ** (integers(draw, n, 8).abs() / 8)
    return Basis(U * stretch @ V.T, V / stretch @ U.T, float(stretch.max() / stretch.min()))


@st.composite
def exact_bases(draw: st.DrawFn, n: int) -> Basis:
    """S and S^-1 of small integers: with eigenvalues of a few bits, K has no rounding error, and neither has h(K).

    `S = [[I, 0], [C, I]] @ [[I, -B], [0, I]]` up to the order of its rows, with B and C of -1, 0 and 1. Idempotents in such
    a basis are oblique, of integers up to 40, so exact in bfloat16, too.
    """
    k = draw(st.integers(0, n))
    B = integers(draw, k * (n - k), 1).view(k, n - k)
    C = integers(draw, k * (n - k), 1).view(n - k, k)
    order = draw(st.permutations(range(n)))
    top, bottom = torch.eye(k, dtype=torch.float64), torch.eye(n - k, dtype=torch.float64)
    S = torch.cat([torch.cat([top, -B], 1), torch.cat([C, bottom - C @ B], 1)])[order]
    inverse = torch.cat([torch.cat([top - B @ C, B], 1), torch.cat([-C, bottom], 1)])[:, order]
    return Basis(S, inverse, float(torch.linalg.cond(S)))


@st.composite
def exact_orthogonal_bases(draw: st.DrawFn, n: int) -> Basis:
    """Orthogonal columns of 0, 1 and -1, Hadamard matrices of 1, 2, 4 or 8 rows: symmetric maps without rounding errors.

    Idempotents in such a basis are orthogonal projectors with entries in multiples of 1/8.
    """
    powers = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))  # for every row, as in `_fill`
    blocks: list[Tensor] = []
    left = n
    while left > 0:
        blocks.append(_hadamard(min(powers[n - left], left.bit_length() - 1)))
        left -= len(blocks[-1])
    order = draw(st.permutations(range(n)))
    S = block_diagonal(blocks)[:, order]
    inverse = block_diagonal(block.T / len(block) for block in blocks)[order]
    return Basis(S, inverse, 1.0)


def _hadamard(power: int) -> Tensor:
    """Sylvester's matrix H of 2^power rows, H H^T = 2^power I."""
    H = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(power):
        H = torch.cat([torch.cat([H, H], 1), torch.cat([H, -H], 1)])
    return H
