"""Linear maps with a known spectrum and basis, K = S Λ S^-1 in float64, so that tests need no eigensolver.

n = number of rows; Λ is block diagonal with one real Jordan block for each eigenvalue, or pair of eigenvalues, drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Basis", "Block", "LinearMap", "NearIdempotent", "block_diagonal"]


@dataclass(frozen=True)
class Block:
    """An eigenvalue and the size of its Jordan block; a + bi with b != 0 stands for itself and its conjugate.

    >>> Block(0.25).matrix().tolist()
    [[0.25]]
    >>> Block(0.25, 2).matrix().tolist()  # defective
    [[0.25, 1.0], [0.0, 0.25]]
    >>> Block(0.75 + 0.5j).matrix().tolist()  # a rotation and scaling of the plane
    [[0.75, -0.5], [0.5, 0.75]]
    """

    eigenvalue: complex
    size: int = 1

    @property
    def paired(self) -> bool:
        """Whether it stands for a pair of conjugate eigenvalues."""
        return complex(self.eigenvalue).imag != 0

    @property
    def places(self) -> int:
        """Number of rows that it takes: its size, or twice that for a pair."""
        return 2 * self.size if self.paired else self.size

    def eigenvalues(self) -> tuple[complex, ...]:
        """All of them, with multiplicity."""
        value = complex(self.eigenvalue)
        return (value, value.conjugate()) * self.size if self.paired else (value,) * self.size

    def matrix(self) -> Tensor:
        """The real Jordan block, [places, places]."""
        value = complex(self.eigenvalue)
        cell = [[value.real, -value.imag], [value.imag, value.real]] if self.paired else [[value.real]]
        diagonal = torch.eye(self.size, dtype=torch.float64)
        above = torch.diag(torch.ones(self.size - 1, dtype=torch.float64), 1)
        return torch.kron(diagonal, torch.tensor(cell, dtype=torch.float64)) + torch.kron(
            above, torch.eye(len(cell), dtype=torch.float64)
        )

    def __str__(self) -> str:
        value = complex(self.eigenvalue)
        shown = f"{value.real:.6g}" + (f"±{abs(value.imag):.6g}i" if self.paired else "")
        return shown if self.size == 1 else f"J({shown}, {self.size})"


@dataclass(frozen=True, eq=False)
class Basis:
    """A basis in which a map is written, the columns of S.

    Args:
        matrix: S, [n, n].
        inverse: S^-1, made without inverting S numerically.
        condition: cond(S) in the 2-norm; 1 for columns that are orthogonal to each other, whatever their lengths.
    """

    matrix: Tensor
    inverse: Tensor
    condition: float


@dataclass(frozen=True, eq=False, repr=False)
class LinearMap:
    """K = S Λ S^-1, with its blocks and its basis.

    Args:
        matrix: K, [n, n], float64.
        blocks: of Λ, from the top.
        basis: S.

    >>> plane = Basis(torch.eye(3).double(), torch.eye(3).double(), 1.0)
    >>> LinearMap.of([Block(0.5, 2), Block(1)], plane)
    LinearMap 3x3 with eigenvalues J(0.5, 2), 1; cond(S) = 1
      [[0.5,   1, 0],
       [  0, 0.5, 0],
       [  0,   0, 1]]
    """

    matrix: Tensor
    blocks: tuple[Block, ...]
    basis: Basis

    @classmethod
    def of(cls, blocks: Iterable[Block], basis: Basis) -> LinearMap:
        """The map with these blocks in this basis; exactly symmetric where it is symmetric."""
        blocks = tuple(blocks)
        matrix = basis.matrix @ block_diagonal(block.matrix() for block in blocks) @ basis.inverse
        if basis.condition == 1 and all(block.places == 1 for block in blocks):
            matrix = (matrix + matrix.T) / 2
        return cls(matrix, blocks, basis)

    @property
    def size(self) -> int:
        """n."""
        return self.matrix.shape[0]

    @property
    def condition(self) -> float:
        """cond(S)."""
        return self.basis.condition

    @property
    def eigenvalues(self) -> tuple[complex, ...]:
        """All n, with multiplicity, pairs with both members."""
        return tuple(value for block in self.blocks for value in block.eigenvalues())

    @property
    def largest_block(self) -> int:
        """Size of the largest Jordan block; 1 where K is diagonalisable."""
        return max((block.size for block in self.blocks), default=1)

    @property
    def margin(self) -> float:
        """Least distance of an eigenvalue from the line Re λ = 1/2."""
        return min(abs(value.real - 0.5) for value in self.eigenvalues)

    def projector(self, chosen: Callable[[complex], bool] = lambda value: value.real > 0.5) -> Tensor:
        """The spectral projector P of K for the chosen eigenvalues, by default those beyond 1/2, [n, n].

        Oblique where K is not normal: its range is the invariant subspace of the chosen eigenvalues, its kernel that of
        the others.
        """
        ones = [float(chosen(complex(block.eigenvalue))) for block in self.blocks for _ in range(block.places)]
        return self.basis.matrix @ torch.diag(torch.tensor(ones, dtype=torch.float64)) @ self.basis.inverse

    @property
    def sensitivity(self) -> float:
        """Bound of ||δP|| / ||δK|| for the projector P of the eigenvalues beyond 1/2 and small changes of K.

        P = I/2 + (1/2πi) ∫ (zI - K)^-1 dz along Re z = 1/2, so ||δP|| <= (1/2π) ∫ ||(zI - K)^-1||^2 |dz| ||δK||. With d
        the `margin`, m the largest block and r = |z - λ|, ||(zI - K)^-1|| is at most cond(S) max over λ of
        1/r + ... + 1/r^m <= cond(S) m max(1, 1/d)^(m-1) / r; and ∫ |dz| / r^2 = π/d for each λ.
        """
        m, d = self.largest_block, self.margin
        return (self.condition * m * max(1.0, 1 / d) ** (m - 1)) ** 2 * len(self.blocks) / d

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """How hypothesis prints a falsifying example."""
        printer.text(repr(self))

    def __repr__(self) -> str:
        spectrum = ", ".join(str(block) for block in self.blocks)
        return (
            f"LinearMap {self.size}x{self.size} with eigenvalues {spectrum}; cond(S) = {self.condition:.4g}\n"
            + _rows(self.matrix)
        )


@dataclass(frozen=True, eq=False, repr=False)
class NearIdempotent:
    """K = P + D: an idempotent and a change of it.

    Args:
        idempotent: P.
        change: D, [n, n].

    >>> line = Basis(torch.eye(1).double(), torch.eye(1).double(), 1.0)
    >>> NearIdempotent(LinearMap.of([Block(1)], line), torch.tensor([[0.125]]).double())
    P + D, |D| = 0.125, P = LinearMap 1x1 with eigenvalues 1; cond(S) = 1
      [[1]]
    D =
      [[0.125]]
    """

    idempotent: LinearMap
    change: Tensor

    @property
    def matrix(self) -> Tensor:
        """P + D, [n, n]."""
        return self.idempotent.matrix + self.change

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    def __repr__(self) -> str:
        return f"P + D, |D| = {float(self.change.norm()):.4g}, P = {self.idempotent!r}\nD =\n{_rows(self.change)}"


def block_diagonal(matrices: Iterable[Tensor]) -> Tensor:
    """Square matrices along the diagonal of one."""
    whole: Tensor = torch.block_diag(*matrices)  # type: ignore[no-untyped-call]
    return whole


def _rows(matrix: Tensor) -> str:
    """A matrix as aligned text, indented."""
    cells = [[f"{value + 0.0:.6g}" for value in row] for row in matrix.tolist()]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [", ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    return "  [[" + "],\n   [".join(lines) + "]]"
