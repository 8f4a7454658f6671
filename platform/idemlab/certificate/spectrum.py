"""The spectrum of an operator at one point: rank, trace, singular values and eigenvalue moduli of its Jacobian."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..contracts.step import generator
from .differences import along, columns, contradicts
from .verdict import SINGULAR

__all__ = [
    "EXACT_UP_TO",
    "PROBES",
    "NoSpectrum",
    "Spectrum",
    "gradient_refused",
    "jacobian",
    "on_reals",
    "spectra_at",
]

EXACT_UP_TO = 1024
"""Largest n at which the whole Jacobian is computed. Above, a randomised range finder uses `PROBES` probes."""
PROBES = 256

_FLAT = 0.05
"""|J v| / |v| above which the gradient of a step function is a surrogate; its true derivative is zero."""

_COARSE = 1e-3
"""n eps above which rounding cannot be told from small singular values: bfloat16, say."""
_SPARE = 10
"""Probes above the rank, with which a random subspace misses hardly anything (Halko, Martinsson & Tropp 2011)."""

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Spectrum:
    """The Jacobian of f at one point f(x). A complex f counts as a real map of real and imaginary parts.

    Args:
        rank: number of singular values above 1/2 (non-zero singular values of an idempotent are at least 1).
        trace: of the Jacobian.
        singular_values: descending; all of them up to n = 1024, else the leading ones.
        eigenvalue_moduli: descending |eigenvalues|; empty above n = 1024.
        exact: False for a randomised estimate, or for finite differences.
    """

    rank: int
    trace: float
    singular_values: tuple[float, ...]
    eigenvalue_moduli: tuple[float, ...]
    exact: bool


class NoSpectrum(ValueError):
    """The Jacobian cannot be computed; the message says why."""


class _NotDifferentiated(Exception):
    """Autograd failed; finite differences may work."""


SURROGATE = "the gradient of f is not its derivative (a straight-through estimate, say)"
"""The remark in place of a spectrum that autograd would get wrong."""


def spectra_at(
    points: Iterable[tuple[Map, Tensor]], *, discrete: bool, eps: float, batch_size: int = 250
) -> tuple[tuple[Spectrum, ...], str]:
    """The spectra at several points, and a remark: why there are none, or how they were computed.

    Args:
        points: pairs of f, under the condition of a sample, and y [*shape].
        discrete: whether f is known to be a step function, so that any non-zero gradient is a surrogate.
        eps: of the precision that f computes in.
    """
    spectra, refusals, against = [], [], 0
    try:
        for f, y in points:
            f, y = on_reals(f, y)
            spectrum, refused, v, product = _measured(f, y, batch_size, eps)
            steep = discrete and bool(product.norm() > _FLAT * v.norm())
            against += steep or contradicts(torch.no_grad()(f), y, v, product, eps)
            spectra.append(spectrum)
            refusals.append(refused)
    except NoSpectrum as error:
        return (), f"no spectrum: {error}"
    if 2 * against > len(spectra):
        return (), f"no spectrum: {SURROGATE}"
    told = next(filter(None, refusals), "")
    return tuple(spectra), f"spectrum by finite differences: {told}" if told else ""


def _measured(f: Map, y: Tensor, batch_size: int, eps: float) -> tuple[Spectrum, str, Tensor, Tensor]:
    """(spectrum, why finite differences were taken or "", v [n], J v [n]) at a real point."""
    refused = ""
    if y.numel() <= EXACT_UP_TO:
        try:
            j = jacobian(f, y, batch_size=batch_size).double()
        except _NotDifferentiated as error:
            refused = str(error)
            j = columns(torch.no_grad()(f), y, batch_size=batch_size)
        j = _finite(j)
        singular = torch.linalg.svdvals(j)
        moduli = _moduli(j, singular, eps)
        v = torch.randn(y.numel(), generator=generator(0, "jacobian"), dtype=torch.float64)
        trace, product = float(j.trace()), j @ v
    else:
        try:
            singular, trace, v, product = _sketched(f, y, _jvp)
        except _NotDifferentiated as error:  # attention, for instance, cannot be differentiated twice
            refused = str(error)
            try:
                singular, trace, v, product = _sketched(f, y, lambda f, y, v: along(torch.no_grad()(f), y, v))
            except _NotDifferentiated as again:
                raise NoSpectrum(f"autograd refuses: {again}") from again
        moduli = singular.new_empty(0)
    spectrum = Spectrum(
        rank=int((singular > SINGULAR).sum()),
        trace=trace,
        singular_values=tuple(singular.tolist()),
        eigenvalue_moduli=tuple(moduli.tolist()),
        exact=y.numel() <= EXACT_UP_TO and not refused,
    )
    return spectrum, refused, v, product


def _moduli(j: Tensor, singular: Tensor, eps: float) -> Tensor:
    """Descending |eigenvalues| of j [n, n], given its singular values and the precision that its entries were computed in.

    Singular values below n eps |j| are rounding. Without them j = Q Q^T j, where the columns of Q span the images of a few
    more probes than the rank, and the non-zero eigenvalues of j are those of the small matrix Q^T j Q.
    """
    n = len(j)
    size = int((singular > n * eps * singular[0]).sum()) + _SPARE
    if n * eps > _COARSE or 2 * size > n:
        whole: Tensor = torch.linalg.eigvals(j).abs().sort(descending=True).values
        return whole
    probes = torch.randn(n, size, generator=generator(0, "eigenvalues"), dtype=j.dtype)
    Q = torch.linalg.qr(j @ probes).Q
    moduli = torch.linalg.eigvals(Q.T @ j @ Q).abs().sort(descending=True).values
    return torch.cat([moduli, moduli.new_zeros(n - size)])


def gradient_refused(f: Map, y: Tensor) -> str | None:
    """Why the spectrum at one point y [*shape] cannot be computed, tried on one gradient; or None.

    Up to `EXACT_UP_TO` numbers it always can, by finite differences if necessary.
    """
    f, y = on_reals(f, y)
    if y.numel() <= EXACT_UP_TO:
        return None
    try:
        _vjp(f, y, torch.ones(1, y.numel(), dtype=torch.float64))
    except (NoSpectrum, _NotDifferentiated) as error:
        return str(error)
    return None


def on_reals(f: Map, y: Tensor) -> tuple[Map, Tensor]:
    """f and y unchanged if real; otherwise the equivalent map and point of real and imaginary parts [..., 2]."""
    if not y.is_complex():
        return f, y
    return lambda r: torch.view_as_real(f(torch.view_as_complex(r))), torch.view_as_real(y)


def _finite(j: Tensor) -> Tensor:
    """j, checked to be finite: some LAPACK builds (oneMKL's geev) abort the process on other values."""
    if not bool(torch.isfinite(j).all()):
        raise NoSpectrum("the Jacobian of f is not finite there")
    return j


def jacobian(f: Map, y: Tensor, *, batch_size: int = 250) -> Tensor:
    """The Jacobian of f at one real point y [*shape], [n, n] with entry (i, j) = df_i / dy_j, on the CPU.

    Rows come from vector-Jacobian products on copies of y, which require only ordinary backpropagation.

    Raises:
        NoSpectrum: if f gives no gradient.
    """
    n = y.numel()
    rows = []
    for start in range(0, n, batch_size):
        size = min(batch_size, n - start)
        pick = torch.zeros(size, n, dtype=y.dtype, device=y.device)
        pick[torch.arange(size), start + torch.arange(size)] = 1
        copies, out = _taped(f, y, size)
        rows.append(_pulled_back(out, copies, pick).reshape(size, -1).cpu())
    return torch.cat(rows)


def _taped(f: Map, y: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Copies of y [count, *shape], and their images under f, recorded by autograd."""
    copies = y.detach().expand(count, *y.shape).clone().requires_grad_()
    with torch.enable_grad():
        try:
            out = f(copies.view_as(copies))  # no leaf, because an operator may work in place
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # f runs, but not under autograd
            raise NoSpectrum(f"f gives no gradient: {_one_line(error)}") from error
    if not out.requires_grad:
        raise NoSpectrum("f gives no gradient")
    return copies, out


def _pulled_back(out: Tensor, at: Tensor, v: Tensor, *, create_graph: bool = False) -> Tensor:
    """The vector-Jacobian product of v [B, n].

    Raises:
        NoSpectrum: if `out` does not depend on `at`, as far as autograd knows.
        _NotDifferentiated: if autograd fails.
    """
    try:
        (product,) = torch.autograd.grad(out, at, v.to(out).view_as(out), create_graph=create_graph, allow_unused=True)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise _NotDifferentiated(_one_line(error)) from error
    if product is None:
        raise NoSpectrum("f gives no gradient to its input")
    return product


def _one_line(error: Exception) -> str:
    """The first sentence of an error."""
    return " ".join(str(error).split()).partition(". ")[0].rstrip(".")[:200]


def _sketched(f: Map, y: Tensor, jvp: Callable[[Map, Tensor, Tensor], Tensor]) -> tuple[Tensor, float, Tensor, Tensor]:
    """(leading singular values, trace, v, J v) of a large Jacobian from `PROBES` probes: a randomised range finder with one
    power step (Halko, Martinsson & Tropp 2011), and Hutchinson's estimate of the trace from the same products."""
    n = y.numel()
    probes = torch.randn(PROBES, n, generator=generator(0, "jacobian"), dtype=torch.float64)

    def rows(product: Callable[[Map, Tensor, Tensor], Tensor], v: Tensor) -> Tensor:
        return torch.cat([product(f, y, part) for part in torch.split(v, 32)])

    forward = _finite(rows(jvp, probes))  # (J v^T)^T
    trace = float((probes * forward).sum() / PROBES)
    basis = torch.linalg.qr(forward.T).Q
    basis = torch.linalg.qr(rows(jvp, torch.linalg.qr(rows(_vjp, basis.T).T).Q.T).T).Q
    return torch.linalg.svdvals(_finite(rows(_vjp, basis.T))), trace, probes[0], forward[0]


def _vjp(f: Map, y: Tensor, v: Tensor) -> Tensor:
    """Rows v J, [q, n]."""
    copies, out = _taped(f, y, len(v))
    return _pulled_back(out, copies, v).reshape(len(v), -1).cpu().double()


def _jvp(f: Map, y: Tensor, v: Tensor) -> Tensor:
    """Rows (J v^T)^T, [q, n]: the derivative of u -> u J, which is linear in u."""
    copies, out = _taped(f, y, len(v))
    u = torch.zeros_like(out, requires_grad=True)
    linear = _pulled_back(out, copies, u, create_graph=True)
    if not linear.requires_grad:  # zero, as for `torch.round`
        return torch.zeros(v.shape, dtype=torch.float64)
    return _pulled_back(linear, u, v).reshape(len(v), -1).cpu().double()
