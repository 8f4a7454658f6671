"""The certificate: the measured idempotence of an operator, and its verdict.

The absolute error cannot tell a projection from a collapse to a constant or to the identity, so a relative error and
the rank stand beside it, always.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from ..contracts.step import generator
from .verdict import CONSTANT, FULL_RANK, NOT_IDEMPOTENT, SINGULAR, THRESHOLDS, UNMOVED, Verdict

__all__ = ["Certificate", "Spectrum", "certify", "errors_by_depth", "jacobian", "spectrum_at"]

_HALF = 0.5

EXACT_UP_TO = 1024
"""Largest n at which the whole Jacobian is computed; above, a randomised range finder with `PROBES` probes."""
PROBES = 256


@dataclass(frozen=True)
class Spectrum:
    """The Jacobian of f at one point f(x).

    Args:
        rank: number of singular values above 1/2 (non-zero singular values of an idempotent are at least 1).
        trace: of the Jacobian.
        singular_values: descending; all of them up to n = 1024, else the leading ones.
        eigenvalue_moduli: descending |eigenvalues|; empty above n = 1024.
        exact: False where a randomised estimate was made.
    """

    rank: int
    trace: float
    singular_values: tuple[float, ...]
    eigenvalue_moduli: tuple[float, ...]
    exact: bool


@dataclass(frozen=True)
class Certificate:
    """The measured idempotence of f at one set of inputs.

    Args:
        points: number of inputs N.
        dimension: n, number of entries of one sample.
        absolute: mean |f^{k+1}(x) - f^k(x)| for k = 1, 2, ... (the paper's error).
        relative: sqrt(sum |f^{k+1} - f^k|^2 / sum |f^k - mean f^k|^2) over the whole set, for k = 1, 2, ...
        spread: standard deviation of f(x) over the inputs, sqrt of the mean over entries of the variance.
        input_spread: the same of x.
        displacement: sqrt(sum |f(x) - x|^2 / sum |x - mean x|^2).
        off_manifold: whether the inputs are meant to be moved; the test data, say, are not.
        spectra: of the Jacobian at some f(x); empty if not asked for.
        verdict: see `Verdict`.
    """

    points: int
    dimension: int
    absolute: tuple[float, ...]
    relative: tuple[float, ...]
    spread: float
    input_spread: float
    displacement: float
    off_manifold: bool
    spectra: tuple[Spectrum, ...]
    verdict: Verdict

    @property
    def rank(self) -> float | None:
        """Median rank over the points at which it was measured, or None."""
        return median(s.rank for s in self.spectra) if self.spectra else None

    @property
    def trace(self) -> float | None:
        """Median trace of the Jacobian, or None."""
        return median(s.trace for s in self.spectra) if self.spectra else None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the thresholds that the verdict went by."""
        return asdict(self) | {
            "verdict": self.verdict.value,
            "rank": self.rank,
            "trace": self.trace,
            "thresholds": THRESHOLDS,
        }


def certify(
    f: Callable[..., Tensor],
    x: Tensor,
    *,
    condition: Tensor | None = None,
    depth: int = 3,
    rank_points: int = 8,
    off_manifold: bool = True,
    batch_size: int = 250,
) -> Certificate:
    """Measure how idempotent f is at the inputs x, and say what it is.

    Args:
        f: any callable [B, *shape] -> [B, *shape], or f(x, condition); a module is put into evaluation mode and back.
        x: inputs [N, *shape], N >= 2, in floating point, best off the manifold that f projects to.
        condition: [N, ...], passed on as the second argument.
        depth: errors are measured for k = 1 ... depth.
        rank_points: number of inputs at which the Jacobian's spectrum is measured; 0 for none.
        off_manifold: set to False where f(x) = x is right; the identity verdict then goes by the rank alone.
        batch_size: samples a forward.

    Raises:
        ValueError: if f changes the shape, there are fewer than two inputs, or a Jacobian is not finite.
    """
    if len(x) < 2:
        raise ValueError(f"certify needs at least 2 inputs to measure a spread, got {len(x)}")
    training = isinstance(f, nn.Module) and f.training
    if isinstance(f, nn.Module):
        f.eval()
    try:
        orbit = _points(f, x, condition, depth + 1, batch_size)
        chosen = range(0, len(x), max(1, len(x) // rank_points))[:rank_points] if rank_points else []
        spectra = tuple(spectrum_at(_at(f, condition, i), orbit[1][i], batch_size=batch_size) for i in chosen)
    finally:
        if isinstance(f, nn.Module):
            f.train(training)
    return _certificate(orbit, spectra, off_manifold)


def _at(f: Callable[..., Tensor], condition: Tensor | None, index: int) -> Callable[[Tensor], Tensor]:
    """f under the condition of one sample, on any batch."""
    if condition is None:
        return f
    one = condition[index : index + 1]
    return lambda y: f(y, one.expand(len(y), *one.shape[1:]))


@torch.no_grad()
def _points(f: Callable[..., Tensor], x: Tensor, condition: Tensor | None, depth: int, batch_size: int) -> list[Tensor]:
    """[f^0(x), ..., f^depth(x)], each [N, *shape]."""
    orbit = [x]
    for _ in range(depth):
        parts = []
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
            part = orbit[-1][rows]
            parts.append(f(part) if condition is None else f(part, condition[rows]))
        orbit.append(torch.cat(parts))
        if orbit[-1].shape != x.shape:
            raise ValueError(
                f"an operator keeps the shape of its input: {tuple(x.shape)} became {tuple(orbit[-1].shape)}"
            )
    return orbit


def _total(t: Tensor) -> float:
    """Sum of squares in double precision."""
    return float(t.double().square().sum())


def _spread(t: Tensor) -> float:
    """sum |t - mean t|^2 over a set [N, *shape]."""
    wide = t.double()
    return float((wide - wide.mean(0)).square().sum())


def errors_by_depth(orbit: list[Tensor]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(absolute, relative) idempotence errors for k = 1, 2, ... of the points [f^0(x), f^1(x), ...].

    Relative is 0 where nothing changes and infinite where a constant still moves.
    """
    absolute, relative = [], []
    for y, after in pairwise(orbit[1:]):
        change, spread = _total(after - y), _spread(y)
        absolute.append(float((after - y).double().abs().mean()))
        relative.append((change / spread) ** 0.5 if spread > 0 else 0.0 if change == 0 else float("inf"))
    return tuple(absolute), tuple(relative)


def _certificate(orbit: list[Tensor], spectra: tuple[Spectrum, ...], off_manifold: bool) -> Certificate:
    x, y = orbit[0], orbit[1]
    absolute, relative = errors_by_depth(orbit)
    spread, input_spread = _spread(y), _spread(x)
    moved = _total(y - x)
    displacement = (moved / input_spread) ** 0.5 if input_spread > 0 else 0.0 if moved == 0 else float("inf")
    dimension = x[0].numel()
    rank = median(s.rank for s in spectra) if spectra else None
    if rank == 0 or spread <= CONSTANT**2 * input_spread:
        verdict = Verdict.CONSTANT
    elif (
        not relative[0] <= NOT_IDEMPOTENT
    ):  # a map of full rank that still moves is no identity; NaN is not idempotent either
        verdict = Verdict.NOT_IDEMPOTENT
    elif off_manifold and displacement < UNMOVED:
        verdict = Verdict.IDENTITY
    elif rank is not None and rank >= FULL_RANK * dimension and displacement < _HALF:
        verdict = Verdict.IDENTITY  # sorting, say, has full rank, too, but moves what is not sorted
    else:
        verdict = Verdict.GENUINE
    entries = x.numel()
    return Certificate(
        points=len(x),
        dimension=dimension,
        absolute=absolute,
        relative=relative,
        spread=(spread / entries) ** 0.5,
        input_spread=(input_spread / entries) ** 0.5,
        displacement=displacement,
        off_manifold=off_manifold,
        spectra=spectra,
        verdict=verdict,
    )


def spectrum_at(f: Callable[[Tensor], Tensor], y: Tensor, *, batch_size: int = 250) -> Spectrum:
    """Rank, trace and spectrum of the Jacobian of f at one point y [*shape].

    Raises:
        ValueError: if the Jacobian is not finite.
    """
    if y.numel() <= EXACT_UP_TO:
        j = _finite(jacobian(f, y, batch_size=batch_size).double())
        singular = torch.linalg.svdvals(j)
        moduli = torch.linalg.eigvals(j).abs().sort(descending=True).values
        trace, exact = float(j.trace()), True
    else:
        singular, trace = _sketched(f, y)
        moduli, exact = singular.new_empty(0), False
    return Spectrum(
        rank=int((singular > SINGULAR).sum()),
        trace=trace,
        singular_values=tuple(singular.tolist()),
        eigenvalue_moduli=tuple(moduli.tolist()),
        exact=exact,
    )


def _finite(j: Tensor) -> Tensor:
    """j, which is fit for LAPACK: with values that are not finite, some builds of it end the process (oneMKL's geev)."""
    if not bool(torch.isfinite(j).all()):
        raise ValueError("the Jacobian of f is not finite there")
    return j


def jacobian(f: Callable[[Tensor], Tensor], y: Tensor, *, batch_size: int = 250) -> Tensor:
    """The Jacobian of f at one point y [*shape], [n, n] with entry (i, j) = df_i / dy_j, on the CPU.

    Rows come from vector-Jacobian products on copies of y, which needs nothing of f but ordinary backpropagation.
    """
    n = y.numel()
    rows = []
    for start in range(0, n, batch_size):
        size = min(batch_size, n - start)
        copies = y.detach().expand(size, *y.shape).clone().requires_grad_()
        pick = torch.zeros(size, n, dtype=y.dtype, device=y.device)
        pick[torch.arange(size), start + torch.arange(size)] = 1
        with torch.enable_grad():
            out = f(copies)
        (row,) = torch.autograd.grad(out, copies, pick.view_as(out).to(out.dtype))
        rows.append(row.flatten(1).cpu())
    return torch.cat(rows)


def _sketched(f: Callable[[Tensor], Tensor], y: Tensor) -> tuple[Tensor, float]:
    """(leading singular values, trace) of a large Jacobian from `PROBES` probes: a randomised range finder with one power
    step (Halko, Martinsson & Tropp 2011), and Hutchinson's estimate of the trace from the same products."""
    n = y.numel()
    probes = torch.randn(PROBES, n, generator=generator(0, "jacobian"), dtype=torch.float64)

    def vjp(v: Tensor) -> Tensor:
        """Rows v J, [q, n]."""
        return torch.cat([_vjp(f, y, part) for part in torch.split(v, 32)])

    def jvp(v: Tensor) -> Tensor:
        """Rows (J v^T)^T, [q, n]: the derivative of u -> u J, which is linear in u."""
        return torch.cat([_jvp(f, y, part) for part in torch.split(v, 32)])

    forward = _finite(jvp(probes))
    trace = float((probes * forward).sum() / PROBES)
    basis = torch.linalg.qr(forward.T).Q
    basis = torch.linalg.qr(jvp(torch.linalg.qr(vjp(basis.T).T).Q.T).T).Q
    return torch.linalg.svdvals(_finite(vjp(basis.T))), trace


def _vjp(f: Callable[[Tensor], Tensor], y: Tensor, v: Tensor) -> Tensor:
    copies = y.detach().expand(len(v), *y.shape).clone().requires_grad_()
    with torch.enable_grad():
        out = f(copies)
    (product,) = torch.autograd.grad(out, copies, v.to(out).view_as(out))
    return product.flatten(1).double().cpu()


def _jvp(f: Callable[[Tensor], Tensor], y: Tensor, v: Tensor) -> Tensor:
    copies = y.detach().expand(len(v), *y.shape).clone().requires_grad_()
    with torch.enable_grad():
        out = f(copies)
        u = torch.zeros_like(out, requires_grad=True)
        (linear,) = torch.autograd.grad(out, copies, u, create_graph=True)
        (product,) = torch.autograd.grad(linear, u, v.to(linear).view_as(linear))
    return product.flatten(1).double().cpu()
