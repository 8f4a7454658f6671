"""The purification family: one step of each member, X -> X', with X^2 given, since the stopping test needs it anyway.

X [..., n, n] is real or complex, N = X^2 - X, and r is the rank. The traces of products are sums over entries, so no step
forms a product for its trace alone. Sources stand at each member.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .composition import Odd

__all__ = ["MEMBERS", "Member", "Step", "odd", "trace"]

Step = Callable[[Tensor, Tensor, int | None], Tensor]
"""(X, X^2, r or None) -> X'."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One member of the family.

    Args:
        step: from X, X^2 and the rank to X'.
        products: matrix products of a step, with the one for X^2.
        steers: whether it drives the trace to a given rank.
        keeps: whether it keeps the trace that X has where no rank is given.
    """

    step: Step
    products: int
    steers: bool = False
    keeps: bool = False


def trace(X: Tensor) -> Tensor:
    """Real part of the trace, [..., 1, 1]."""
    return X.diagonal(dim1=-2, dim2=-1).sum(-1).real[..., None, None]


def _trace_of_product(A: Tensor, B: Tensor) -> Tensor:
    """Real part of tr(A B), [..., 1, 1], without the product."""
    return (A * B.mT).sum((-2, -1)).real[..., None, None]


def _add_product(base: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta base + alpha a b for matrices [..., n, n], in one kernel."""
    if base.ndim == 2:
        return torch.addmm(base, a, b, beta=beta, alpha=alpha)
    stacks = [t.reshape(-1, *t.shape[-2:]) for t in (base, a, b)]
    return torch.baddbmm(*stacks, beta=beta, alpha=alpha).reshape(base.shape)


def odd(coefficients: Odd, X: Tensor, X2: Tensor) -> Tensor:
    """(1 + p(2X - 1)) / 2 for an odd polynomial p, with as many products as it has coefficients.

    (2X - 1)^2 = 1 + 4N, so p(2X - 1) = (2X - 1) q(N) with a q of half the degree, and X' = X + (X - 1/2)(q(N) - 1): what is
    added to X vanishes with N, so that nothing cancels near an idempotent.
    """
    return _by_residual(_in_residual(coefficients), X, X2)


def _in_residual(coefficients: Odd) -> tuple[float, ...]:
    """q_0, q_1, ... of q(N) = p_1 + p_3 (1 + 4N) + p_5 (1 + 4N)^2 + ..."""
    q = [0.0] * len(coefficients)
    power = [1.0]
    for coefficient in coefficients:
        for k, value in enumerate(power):
            q[k] += coefficient * value
        power = [a + 4 * b for a, b in zip([*power, 0.0], [0.0, *power], strict=True)]
    return tuple(q)


def _by_residual(q: tuple[float, ...], X: Tensor, X2: Tensor) -> Tensor:
    """X + (X - 1/2)(q(N) - 1), by Horner's rule."""
    N = X2 - X
    eye = torch.eye(X.shape[-1], dtype=X.dtype, device=X.device)
    change = q[-1] * N
    for coefficient in reversed(q[1:-1]):
        change = _add_product(coefficient * N, N, change)
    return _add_product(X, X - 0.5 * eye, change + (q[0] - 1) * eye)


def _cubic(X: Tensor, X2: Tensor, rank: int | None) -> Tensor:
    """3 X^2 - 2 X^3. R. McWeeny, Rev. Mod. Phys. 32 (1960) 335; Jensen and Vicary, ICML 2025, the recurrence."""
    return _add_product(X2, X2, X, beta=3, alpha=-2)


def _holas_5(X: Tensor, X2: Tensor, rank: int | None) -> Tensor:
    """10 X^3 - 15 X^4 + 6 X^5, order 3. A. Holas, Chem. Phys. Lett. 340 (2001) 552; Newton-Schulz of degree 5 for a sign."""
    return _by_residual((1, -2, 6), X, X2)


def _holas_7(X: Tensor, X2: Tensor, rank: int | None) -> Tensor:
    """35 X^4 - 84 X^5 + 70 X^6 - 20 X^7, order 4; the next member of the series (1 + 4N)^(-1/2) = 1 - 2N + 6N^2 - 20N^3."""
    return _by_residual((1, -2, 6, -20), X, X2)


def _sp2(X: Tensor, X2: Tensor, rank: int | None) -> Tensor:
    """X^2 or 2X - X^2, whichever has the trace nearer to r. A. M. N. Niklasson, Phys. Rev. B 66 (2002) 155115."""
    assert rank is not None
    down, up = trace(X2), 2 * trace(X) - trace(X2)
    return torch.where((down - rank).abs() <= (up - rank).abs(), X2, 2 * X - X2)


def _trs4(X: Tensor, X2: Tensor, rank: int | None) -> Tensor:
    """F + σ G, F = X^2 (4X - 3X^2), G = X^2 (1 - X)^2, σ = (r - tr F) / tr G; 2X - X^2 where σ > 6, X^2 where σ < 0.

    A. M. N. Niklasson, C. J. Tymczak and M. Challacombe, J. Chem. Phys. 118 (2003) 8611.
    """
    assert rank is not None
    first = 4 * X - 3 * X2
    second = torch.eye(X.shape[-1], dtype=X.dtype, device=X.device) - 2 * X + X2
    sigma = _ratio(rank - _trace_of_product(X2, first), _trace_of_product(X2, second), 3.0, X)
    inside = X2 @ (first + sigma.clamp(0, 6) * second)
    return torch.where(sigma > 6, 2 * X - X2, torch.where(sigma < 0, X2, inside))


def _hpcp(X: Tensor, X2: Tensor, rank: int | None) -> Tensor:
    """X + 2 [X^2 (1 - X) - c X (1 - X)], with the c in [0, 1] that makes the trace r; 1/2 at idempotents, where c is 0/0.

    L. A. Truflandier, R. M. Dianzinga and D. R. Bowler, J. Chem. Phys. 144 (2016) 091102. There r is the trace of X, which
    is then kept: c = tr(X^2 (1 - X)) / tr(X (1 - X)).
    """
    if rank in (0, X.shape[-1]):  # no c leads there: at c = 1 the slope at 0 is -1, and so it is at 1 for c = 0
        return X2 if rank == 0 else 2 * X - X2
    lacking = 0.0 if rank is None else (rank - trace(X)) / 2
    squares = trace(X2)
    c = _ratio(squares - _trace_of_product(X2, X) - lacking, trace(X) - squares, 0.5, X).clamp(0, 1)
    c = torch.where(_outside(X, X2), 0.5, c)
    return _add_product((1 - 2 * c) * X + (2 + 2 * c) * X2, X2, X, alpha=-2)


def _pm(X: Tensor, X2: Tensor, rank: int | None) -> Tensor:
    """[(1+c) X^2 - X^3] / c for c in (1/2, 1], [(1-2c) X + (1+c) X^2 - X^3] / (1-c) for c in [0, 1/2], with trace r.

    A. H. R. Palser and D. E. Manolopoulos, Phys. Rev. B 58 (1998) 12704. There r is the trace of X, which is then kept.
    """
    t1, t2, t3 = trace(X), trace(X2), _trace_of_product(X2, X)
    r = t1 if rank is None else torch.full_like(t1, rank)
    lower = r < 3 * t2 - 2 * t3  # the trace at c = 1/2, which a larger c lowers and a smaller one raises
    down = _ratio(t2 - t3, r - t2, 0.5, X)
    up = _ratio(r - t1 - t2 + t3, r - 2 * t1 + t2, 0.5, X)
    c = torch.where(
        lower,
        torch.where(down < 0, 1.0, down).clamp(0.5, 1),  # the trace is out of reach where no c in [0, 1] makes it r
        torch.where(up > 1, 0.0, up).clamp(0, 0.5),
    )
    c = torch.where(_outside(X, X2), 0.5, c)
    shared = _add_product((1 + c) * X2, X2, X, alpha=-1)
    return torch.where(lower, shared / c, ((1 - 2 * c) * X + shared) / (1 - c))


def _outside(X: Tensor, X2: Tensor) -> Tensor:
    """Whether the spectrum has left [0, 1] so far that the c above says nothing; with c = 1/2 the step is then the cubic's.

    In [0, 1] no eigenvalue of N is positive, so (tr N)^2 >= tr(N^2). Beyond, those of both signs cancel in tr N.
    """
    N = X2 - X
    return trace(N).square() <= _trace_of_product(N, N) / 4


def _ratio(a: Tensor, b: Tensor, otherwise: float, X: Tensor) -> Tensor:
    """a / b, or what it is taken for at idempotents, where it is 0/0: where b is no more than rounding of a trace."""
    nothing = b.abs() <= 4 * X.shape[-1] * torch.finfo(X.dtype).eps
    return torch.where(nothing, otherwise, a / torch.where(nothing, 1.0, b))


MEMBERS = {
    "cubic": Member(step=_cubic, products=2),
    "holas-5": Member(step=_holas_5, products=3),
    "holas-7": Member(step=_holas_7, products=4),
    "sp2": Member(step=_sp2, products=1, steers=True),
    "trs4": Member(step=_trs4, products=2, steers=True),
    "hpcp": Member(step=_hpcp, products=2, steers=True, keeps=True),
    "pm": Member(step=_pm, products=2, steers=True, keeps=True),
}
"""The members that are the same at every step; `optimal` is a sequence of odd polynomials, see `composition`."""
