"""Prepares matrices for methods that need a real spectrum in [0, 1]: refuses them, or moves their spectrum there."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from ..errors import BadInput
from .family import trace
from .purifier import Purifier

__all__ = ["Spectrum", "in_domain"]

Spectrum = Literal["check", "rescale", "trusted"]


def in_domain(matrix: Tensor, purifier: Purifier, spectrum: Spectrum) -> tuple[Tensor, Purifier]:
    """The matrices [..., n, n] with eigenvalues in [0, 1], and the purifier for them, with the gap that they have.

    Raises:
        BadInput: if eigenvalues are complex or outside [0, 1], if they have no gap where one is needed, or if the trace that
            is kept is no rank.
    """
    if spectrum == "trusted" or not purifier.bounded:
        return matrix, purifier
    finite = matrix.isfinite().all(-1).all(-1)
    if not bool(finite.all()):  # what is not finite has no spectrum and diverges; the others of a stack are checked
        moved = matrix.clone()
        if bool(finite.any()):
            moved[finite], purifier = in_domain(matrix[finite], purifier, spectrum)
        elif purifier.method == "optimal" and purifier.gap is None:
            purifier = replace(purifier, gap=0.5)
        return moved, purifier
    where = f"purification by '{purifier.method}'"
    values = _eigenvalues(matrix, where)
    rounding = 8 * matrix.shape[-1] * float(torch.finfo(matrix.dtype).eps) * values.abs().amax(-1).clamp_min(1.0)
    if purifier.method == "optimal":
        gaps = _gaps(values, purifier.gap, rounding, where)
        purifier = replace(purifier, gap=min(float(gaps.min()), 0.5))
    low, high = values.amin(-1), values.amax(-1)
    if bool((low < -rounding).any()) or bool((high > 1 + rounding).any()):
        if spectrum == "check":
            raise BadInput(
                f"the eigenvalues of the matrix reach from {float(low.min()):.3g} to {float(high.max()):.3g}",
                where=where,
                expected="eigenvalues in [0, 1]",
                next_step="rescale them (spectrum='rescale'), or use 'cubic', whose domain is wider",
            )
        eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
        if purifier.method == "optimal":  # the side of 1/2 decides, so the scale is about 1/2
            reach = 2 * torch.maximum(high - 0.5, 0.5 - low).clamp_min(0.5)
            matrix = 0.5 * eye + (matrix - 0.5 * eye) / reach[..., None, None]
            purifier = replace(purifier, gap=min(float((gaps / reach).min()), 0.5))
        else:  # the order decides
            low, high = low.clamp_max(0.0)[..., None, None], high.clamp_min(1.0)[..., None, None]
            matrix = (matrix - low * eye) / (high - low)
    if purifier.method != "optimal":
        _check_rank(matrix, values, purifier, rounding, where)
    return matrix, purifier


def _eigenvalues(matrix: Tensor, where: str) -> Tensor:
    """Real eigenvalues [..., n], in ascending order."""
    if torch.equal(matrix, matrix.mH):
        ascending: Tensor = torch.linalg.eigvalsh(matrix)
        return ascending
    values = torch.linalg.eigvals(matrix)
    size = values.abs().amax(-1, keepdim=True).clamp_min(1.0)
    # Rounding splits a multiple eigenvalue, and a Jordan block even by the root of the precision.
    allowed = float(torch.finfo(matrix.dtype).eps) ** 0.5 * matrix.shape[-1] * size
    odd = values[values.imag.abs() > allowed]
    if len(odd):
        raise BadInput(
            f"the matrix has complex eigenvalues, for instance {complex(odd[0]):.3g}",
            where=where,
            expected="real eigenvalues in [0, 1]",
            next_step="use 'cubic', which needs no real spectrum",
        )
    real: Tensor = values.real.sort(-1).values
    return real


def _gaps(values: Tensor, given: float | None, rounding: Tensor, where: str) -> Tensor:
    """The least distance from 1/2 of the eigenvalues [..., n] of each matrix, [...], or the given one for all."""
    gaps = (values - 0.5).abs().amin(-1)
    if bool((gaps <= rounding).any()):
        raise BadInput(
            "an eigenvalue of the matrix is 1/2, which belongs to neither side",
            where=where,
            next_step="use 'sp2' or another method that takes a rank",
        )
    if given is None:
        return gaps
    if bool((gaps < given - rounding).any()):
        least = float(gaps.min())
        raise BadInput(
            f"an eigenvalue is {least:.3g} from 1/2, within the gap of {given:.3g}",
            where=where,
            expected=f"a gap of at most {least:.3g}",
            next_step="leave 'gap' out: it is then measured",
        )
    return torch.full_like(gaps, given, dtype=torch.float64)


def _check_rank(matrix: Tensor, values: Tensor, purifier: Purifier, rounding: Tensor, where: str) -> None:
    """Refuse a trace that no projector has, and a rank whose last eigenvalue is as large as the next one."""
    n = matrix.shape[-1]
    traces = trace(matrix).flatten()
    if purifier.rank is None:
        off = traces[(traces - traces.round()).abs() > float(torch.finfo(matrix.dtype).eps) ** 0.5 * n]
        if len(off):
            raise BadInput(
                f"the trace is {float(off[0]):.4g}, which no projector has; '{purifier.method}' does not change it",
                where=where,
                next_step="set 'rank'",
            )
    ranks = [round(float(t)) if purifier.rank is None else purifier.rank for t in traces]
    for rank, ascending, error in zip(ranks, values.reshape(-1, n), rounding.reshape(-1).tolist(), strict=True):
        if 0 < rank < n and float(ascending[n - rank] - ascending[n - rank - 1]) <= error:
            raise BadInput(
                f"the eigenvalues {rank} and {rank + 1}, counted from the largest, are equal "
                f"({float(ascending[n - rank]):.4g}): the matrix has no spectral projector of rank {rank}",
                where=where,
                next_step="take another rank",
            )
