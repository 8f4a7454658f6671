"""Optimal composition: odd polynomials that take all eigenvalues beyond a gap to 0 and 1 in the fewest matrix products.

With s = 2x - 1, the projector of x is the sign of s. Each step applies the odd polynomial p of least max |1 - p(s)| on the
interval [l, u] that |s| is known to lie in; afterwards |s| lies in [1 - E, 1 + E]. Of all sequences of cubics (two matrix
products) and quintics (three), the one with the fewest products is taken.

Source: N. Amsel, D. Persson, C. Musco and R. M. Gower, The Polar Express, arXiv 2505.16932.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

__all__ = ["composition", "minimax_cubic", "minimax_quintic"]

Odd = tuple[float, ...]
"""Coefficients of s, s^3, s^5 of an odd polynomial."""

_NARROW = 1e-3
"""Half the width of the interval below which the Taylor polynomial takes the place of the minimax one, whose equations are
too badly conditioned there. It is as good up to a factor of four in the error."""


def minimax_cubic(low: float) -> tuple[Odd, float]:
    """(p, E): the odd cubic of least E = max |1 - p| on [low, 1], 0 < low < 1, in closed form.

    1 - p is E, -E, E at low, at the maximum of p, and at 1. So p = α ((l^2 + l + 1) s - s^3), where
    3 m^2 = l^2 + l + 1 at the maximum m, and p(l) + p(m) = 2 says what α is.
    """
    total = low * low + low + 1
    peak = (total / 3) ** 0.5
    scale = 2 / (2 * peak**3 + low * (low + 1))
    return (scale * total, -scale), 1 - scale * low * (low + 1)


def minimax_quintic(low: float) -> tuple[Odd, float]:
    """(p, E): the odd quintic of least E = max |1 - p| on [low, 1], 0 < low < 1, by the exchange algorithm of Remez."""
    inner = (3 * low + 1) / 4, (low + 3) / 4
    solution = np.zeros(4)
    for _ in range(50):
        nodes = np.array([low, *inner, 1.0])
        equations = np.stack([nodes, nodes**3, nodes**5, np.array([1.0, -1.0, 1.0, -1.0])], axis=1)
        solution = np.linalg.solve(equations, np.ones(4))
        a, b, c, _ = (float(value) for value in solution)
        root = math.sqrt(9 * b * b - 20 * a * c)  # p' = a + 3 b s^2 + 5 c s^4 = 0 at the two inner nodes
        moved = math.sqrt((-3 * b - root) / (10 * c)), math.sqrt((-3 * b + root) / (10 * c))
        if max(abs(new - old) for new, old in zip(moved, inner, strict=True)) < 1e-15:
            break
        inner = moved
    a, b, c, error = (float(value) for value in solution)
    return (a, b, c), error


def _best(low: float, degree: int) -> tuple[Odd, float]:
    """(p, E) on [low, 1]."""
    half = (1 - low) / (1 + low)
    if half > _NARROW:
        return minimax_cubic(low) if degree == 3 else minimax_quintic(low)
    middle = (1 + low) / 2
    taylor, error = ((1.5, -0.5), 1.5 * half**2) if degree == 3 else ((1.875, -1.25, 0.375), 2.5 * half**3)
    return tuple(c / middle ** (2 * k + 1) for k, c in enumerate(taylor)), error * (1 + half)


@lru_cache(maxsize=64)
def composition(low: float, high: float, error: float) -> tuple[Odd, ...]:
    """Odd polynomials that one after the other take [low, high] into [1 - error, 1 + error], with the fewest products.

    Which sequence is best is found exactly: among all that cost the same, the one that leaves the narrowest interval,
    relative to its upper end, can only be better to go on from.
    """
    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (low / high, ())}  # products: (lower end / upper end, degrees)
    cost = 0
    while cost not in best or _half(best[cost][0]) > error:
        cost += 1
        arrivals = [
            (_ratio(_best(best[cost - products][0], degree)[1]), (*best[cost - products][1], degree))
            for degree, products in ((3, 2), (5, 3))
            if cost - products in best and _half(best[cost - products][0]) > error
        ]
        if arrivals:
            best[cost] = max(arrivals)
    polynomials = []
    scale, ratio = high, low / high
    for degree in best[cost][1]:
        odd, left = _best(ratio, degree)
        polynomials.append(tuple(c / scale ** (2 * k + 1) for k, c in enumerate(odd)))
        scale, ratio = 1 + left, _ratio(left)
    return tuple(polynomials)


def _ratio(error: float) -> float:
    return (1 - error) / (1 + error)


def _half(ratio: float) -> float:
    """E of an interval [1 - E, 1 + E] with this ratio of its ends."""
    return (1 - ratio) / (1 + ratio)
