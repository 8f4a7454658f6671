"""Ordinary against modified differentiation on a single bias-free linear layer with whitened inputs.

With N = K^2 - K, ordinary backpropagation (OB) of 1/2 ||N||^2 moves K against K^T N + N K^T - N, modified backpropagation
(MB) against K N + N K - N: it is OB with K^T replaced by K.

Shapes: K [..., n, n].
"""

from __future__ import annotations

from typing import Any, Literal

import sympy
import torch
from torch import Tensor, nn

from idemlab import Orbit, Step, installed

__all__ = [
    "asymmetry",
    "cosine",
    "differentiated",
    "modified",
    "oblique",
    "ordinary",
    "purified_residual",
    "rotated",
    "symbolic_difference",
]


def ordinary(matrix: Tensor) -> Tensor:
    """K^T N + N K^T - N, the gradient of 1/2 ||K^2 - K||_F^2."""
    N = matrix @ matrix - matrix
    return matrix.mT @ N + N @ matrix.mT - N


def modified(matrix: Tensor) -> Tensor:
    """K N + N K - N = K - (3 K^2 - 2 K^3), the direction that the cubic cotangent gives."""
    N = matrix @ matrix - matrix
    return matrix @ N + N @ matrix - N


def symbolic_difference(n: int) -> sympy.Matrix:
    """The derivative of 1/2 ||K^2 - K||_F^2 by each entry of a K of symbols [n, n], minus K^T N + N K^T - N, simplified."""
    K = sympy.Matrix(n, n, sympy.symbols(f"k:{n * n}"))
    N = K * K - K
    loss = sum(entry**2 for entry in N) / 2
    return (loss.diff(K) - (K.T * N + N * K.T - N)).expand()


def differentiated(name: Literal["gradient", "cubic"], matrix: Tensor) -> Tensor:
    """What autograd gives a layer x -> K x under an enforcer of the catalog at whitened inputs, for one K [n, n].

    The constants are chosen such that `gradient` is 1/2 |f(y) - y|^2 of a sample, and `cubic` y - 3 f(y) + 2 f(f(y)).
    """
    n = len(matrix)
    constants: dict[str, dict[str, Any]] = {"gradient": {"weight": n / 2}, "cubic": {"cotangent": "unit"}}
    catalog = installed()
    table = {"name": name} | constants[name]
    enforcer = catalog.check("enforcer", table, "the study 'derivation'").build()
    layer = nn.Linear(n, n, bias=False, dtype=matrix.dtype)
    with torch.no_grad():
        layer.weight.copy_(matrix)
    whitened = n**0.5 * torch.eye(n, dtype=matrix.dtype)  # n samples whose second moment is the identity
    loss = enforcer(Orbit(layer, whitened), Step()).loss.mean()
    gradient: Tensor = torch.autograd.grad(loss, layer.weight)[0]
    return gradient


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the angle between matrices, [...]."""
    norms = torch.linalg.matrix_norm(a) * torch.linalg.matrix_norm(b)
    cosine: Tensor = (a * b).sum((-2, -1)) / norms
    return cosine


def asymmetry(matrix: Tensor) -> Tensor:
    """||K - K^T||_F / (2 ||K||_F): 0 for symmetric, 1 for antisymmetric matrices, [...]."""
    share: Tensor = torch.linalg.matrix_norm(matrix - matrix.mT) / (2 * torch.linalg.matrix_norm(matrix))
    return share


def rotated(share: float, count: int, n: int, stream: torch.Generator) -> Tensor:
    """Random matrices [count, n, n] of asymmetry `share`, as large as PyTorch initialises a layer: ||K||_F^2 = n/3."""
    random = torch.randn(count, n, n, generator=stream, dtype=torch.float64)
    parts = random + random.mT, random - random.mT
    symmetric, antisymmetric = (part / torch.linalg.matrix_norm(part)[:, None, None] for part in parts)
    matrix: Tensor = (n / 3) ** 0.5 * ((1 - share**2) ** 0.5 * symmetric + share * antisymmetric)
    return matrix


def oblique(condition: float, count: int, n: int, stream: torch.Generator) -> Tensor:
    """S diag(λ) S^-1 [count, n, n] with cond(S) = `condition` and λ in the basins: (-0.3, 0.4) or (0.6, 1.3).

    The singular values of S are spread evenly on a logarithmic scale; its singular vectors are random.
    """
    bases = torch.linalg.qr(torch.randn(2, count, n, n, generator=stream, dtype=torch.float64))[0]
    stretch = torch.logspace(0, 1, n, base=condition, dtype=torch.float64)
    to_zero = torch.empty(count, n, dtype=torch.float64).uniform_(-0.3, 0.4, generator=stream)
    eigenvalues = torch.where(torch.rand(count, n, generator=stream) < 0.5, to_zero, 1 - to_zero)
    S = bases[0] @ (stretch[:, None] * bases[1])
    inverse = bases[1].mT @ (bases[0].mT / stretch[:, None])
    matrix: Tensor = S @ (eigenvalues[:, :, None] * inverse)
    return matrix


def purified_residual(matrix: Tensor, steps: int = 40) -> Tensor:
    """The smallest ||K^2 - K||_F / max(1, ||K||_F) on the way of the cubic iteration from K, [...]."""
    best = torch.full(matrix.shape[:-2], torch.inf, dtype=matrix.dtype)
    for _ in range(steps):
        matrix = matrix - modified(matrix)
        scale = torch.linalg.matrix_norm(matrix).clamp_min(1)
        best = torch.fmin(best, torch.linalg.matrix_norm(matrix @ matrix - matrix) / scale)
    return best
