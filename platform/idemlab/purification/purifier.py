"""One method of the purification family with its settings: what it needs, and its steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..arguments import whole
from ..errors import BadInput, nearest_match
from ..wording import with_article
from .composition import composition
from .family import MEMBERS, odd

__all__ = ["METHODS", "Purifier", "Stage", "widened"]

METHODS = (*MEMBERS, "optimal")
"""Names of the methods."""

Stage = tuple[Callable[[Tensor, Tensor], Tensor], int]
"""((X, X^2) -> X', matrix products of the step, with the one for X^2)."""


_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.complex128, torch.complex64)


def widened(matrix: Tensor) -> Tensor:
    """The matrix, in float32 if its own precision is half: residuals and traces in half precision say nothing."""
    return matrix.float() if matrix.dtype in (torch.bfloat16, torch.float16) else matrix


@dataclass(frozen=True, kw_only=True)
class Purifier:
    """One method that makes matrices idempotent. `idemlab.purify` iterates it; a weight projection takes single steps.

    Args:
        method: `cubic` (3 K^2 - 2 K^3), `holas-5` and `holas-7` (the same of order 3 and 4): to the spectral projector of
            the eigenvalues beyond 1/2. `optimal`: the same from a known gap, by the odd polynomials with the fewest matrix
            products (Polar Express). `sp2`, `trs4`, `hpcp`, `pm`: to the projector of the `rank` largest eigenvalues, which
            must be real and in [0, 1].
        rank: to which these four steer the trace; without it, `hpcp` and `pm` keep the trace of the matrix.
        gap: smallest distance of an eigenvalue from 1/2, for `optimal`.

    Raises:
        BadInput: if the settings do not belong together.
    """

    method: str = "cubic"
    rank: int | None = None
    gap: float | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise BadInput(
                f"no purification method is called '{self.method}'",
                choices=METHODS,
                nearest=nearest_match(str(self.method), METHODS),
            )
        where = f"purification by '{self.method}'"
        if self.rank is not None and not self.steers:
            raise BadInput(
                f"'{self.method}' takes no rank: it finds the projector of all eigenvalues beyond 1/2",
                where=where,
                choices=[name for name, member in MEMBERS.items() if member.steers],
                next_step="leave 'rank' out, or take another method",
            )
        if self.rank is None and self.steers and not MEMBERS[self.method].keeps:
            what = f"'{self.method}' needs a rank, because it steers the trace there"
            raise BadInput(what, where=where, next_step="set 'rank'")
        if self.rank is not None:
            whole(self.rank, "the rank of an n x n matrix", 0, where=where)
        if self.gap is not None and self.method != "optimal":
            raise BadInput(f"'{self.method}' takes no gap", where=where, next_step="leave 'gap' out, or take 'optimal'")
        if self.gap is not None and (not isinstance(self.gap, (int, float)) or not 0 < self.gap <= 0.5):
            what = f"gap {self.gap!r} is no distance from 1/2 of an eigenvalue in [0, 1]"
            raise BadInput(what, where=where, expected="more than 0 and at most 0.5")

    @property
    def steers(self) -> bool:
        """Whether it leads to a given trace, or keeps it."""
        return self.method in MEMBERS and MEMBERS[self.method].steers

    @property
    def bounded(self) -> bool:
        """Whether it needs eigenvalues in [0, 1]."""
        return self.steers or self.method == "optimal"

    def check(self, matrix: Tensor) -> None:
        """Refuse anything but square real or complex matrices [..., n, n], and matrices without a projector of this rank.

        Raises:
            BadInput: if they do not fit.
        """
        if not isinstance(matrix, Tensor):
            what = f"a purification takes square matrices, got {with_article(type(matrix).__name__)}"
            raise BadInput(what, expected="a tensor [..., n, n]", next_step="torch.as_tensor(K)")
        shape = list(matrix.shape)
        if matrix.ndim < 2 or shape[-1] != shape[-2]:
            raise BadInput(f"a purification takes square matrices [..., n, n], got {shape}", expected="a square matrix")
        if matrix.numel() == 0:
            raise BadInput(
                f"there is no matrix to purify: its shape is {shape}", expected="at least one matrix, n >= 1"
            )
        if matrix.layout != torch.strided:
            kind = str(matrix.layout).removeprefix("torch.")
            raise BadInput(f"a purification takes dense matrices, got the layout {kind}", next_step="K.to_dense()")
        if matrix.is_meta:
            raise BadInput("the matrix lies on the meta device and has no values", expected="a matrix with values")
        if matrix.dtype not in _DTYPES:
            kind = str(matrix.dtype).removeprefix("torch.")
            way_out = "K.to(torch.complex64)" if matrix.is_complex() else "K.double()"
            raise BadInput(
                f"a purification takes real or complex matrices, got {kind}",
                expected=f"one of {', '.join(str(each).removeprefix('torch.') for each in _DTYPES)}",
                next_step=way_out,
            )
        if self.rank is not None and self.rank > shape[-1]:
            raise BadInput(
                f"rank {self.rank} is more than the n = {shape[-1]} rows of the matrix",
                where=f"purification by '{self.method}'",
                expected=f"a rank from 0 to {shape[-1]}",
            )

    def stages(self, dtype: torch.dtype, error: float = 0.0) -> tuple[tuple[Stage, ...], Stage]:
        """The steps to begin with, and the one that is repeated after them.

        Args:
            dtype: of the matrices.
            error: of the eigenvalues of 2K - 1 at which the beginning may end, if that is above rounding.
        """
        if self.method != "optimal":
            member = MEMBERS[self.method]
            return (), (lambda X, X2: member.step(X, X2, self.rank), member.products)
        if self.gap is None:
            raise BadInput(
                "'optimal' needs to know the gap, the smallest distance of an eigenvalue from 1/2",
                where="purification by 'optimal'",
                next_step="set 'gap'",
            )
        eps = torch.finfo(dtype).eps
        if self.gap < eps:  # so near to 1/2, rounding decides the side, and the composition would not end
            raise BadInput(
                f"a gap of {self.gap:.3g} is below the precision of {str(dtype).removeprefix('torch.')}",
                where="purification by 'optimal', key 'gap'",
                expected=f"at least {eps:.3g}",
                next_step="use 'sp2' or another method that takes a rank",
            )
        slack = 16 * eps  # what rounding may add to an eigenvalue
        sequence = composition(2 * self.gap * (1 - slack), 1 + slack, max(error, eps))
        cubic = MEMBERS["cubic"]
        first = tuple((partial(odd, coefficients), len(coefficients)) for coefficients in sequence)
        return first, (lambda X, X2: cubic.step(X, X2, None), cubic.products)

    @torch.no_grad()
    def step(self, matrix: Tensor) -> Tensor:
        """One step on matrices [..., n, n], which stay unchanged; for `optimal` its whole sequence, because only that leaves
        idempotents alone. Half precision is computed in float32."""
        self.check(matrix)
        X = widened(matrix)
        first, then = self.stages(X.dtype)
        for stage, _ in first or (then,):
            X = stage(X, X @ X)
        return X.to(matrix.dtype)
