"""The purification family as polynomials of one number: what each step does to an eigenvalue."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.polynomial import Polynomial

__all__ = ["CUBIC", "HOLAS_5", "PLUS_SIGN", "SP2_DOWN", "SP2_UP", "Member", "damped", "trs4"]


@dataclass(frozen=True, kw_only=True)
class Member:
    """One step K -> p(K), p(x) = sum of c_i x^i.

    Members that steer by the trace (Palser-Manolopoulos, HPCP) depend on the whole spectrum; with their parameter fixed
    at 1/2, as at idempotents, they are the cubic.

    Args:
        name: of the member.
        coefficients: c_0, c_1, ..., c_j with c_j != 0 and j >= 2.
        formula: p(x) in mathtext.
        products: matrix products that a step takes.
    """

    name: str
    coefficients: tuple[float, ...]
    formula: str
    products: int

    @property
    def label(self) -> str:
        """The name in mathtext."""
        return self.name.replace("sigma", "$\\sigma$")

    @property
    def degree(self) -> int:
        """j."""
        return len(self.coefficients) - 1

    def __call__(self, z: Any) -> Any:
        """p(z), for a number or elementwise."""
        *lower, value = self.coefficients
        for coefficient in reversed(lower):
            value = value * z + coefficient if coefficient else value * z
        return value

    def slope(self, x: float) -> float:
        """p'(x)."""
        return float(Polynomial(self.coefficients).deriv()(x))

    def contraction(self, root: int) -> tuple[int, float] | None:
        """(m, C) of p(root + e) = root + C e^m + ..., or None if the root is no fixed point or does not attract.

        m = 1 is linear convergence at the rate |C|, m >= 2 convergence of order m.
        """
        return _contraction(self.coefficients, root)

    @property
    def escape_radius(self) -> float:
        """R such that |p(z)| >= 2|z| wherever |z| >= R."""
        *lower, leading = (abs(c) for c in self.coefficients)
        return max(2.0, (2 + sum(lower)) / leading)


@cache
def _contraction(coefficients: tuple[float, ...], root: int) -> tuple[int, float] | None:
    powers = Polynomial(coefficients)(Polynomial([root, 1])).coef
    if not math.isclose(powers[0], root, abs_tol=1e-12):
        return None
    order = 1 + int(np.flatnonzero(np.abs(powers[1:]) > 1e-12)[0])
    constant = float(powers[order])
    return None if order == 1 and abs(constant) >= 1 else (order, constant)


def damped(step: float) -> Member:
    """(1-s) x + s h(x), h the cubic, 0 < s <= 1 (Jensen & Vicary, ICML 2025, with s the learning rate)."""
    s = step
    formula = f"${1 - s:g}\\,x+{s:g}\\,(3x^2-2x^3)$"
    return Member(name=f"damped, s = {s:g}", coefficients=(0, 1 - s, 3 * s, -2 * s), formula=formula, products=2)


def trs4(sigma: float) -> Member:
    """x^2 (4x - 3x^2) + σ x^2 (1-x)^2 with σ fixed (Niklasson, Tymczak & Challacombe 2003); σ = 3 is the cubic."""
    powers = Polynomial([0, 0, sigma, 4 - 2 * sigma, sigma - 3]).trim().coef
    formula = f"$4x^3-3x^4+{sigma:g}\\,x^2(1-x)^2$" if sigma else "$4x^3-3x^4$"
    return Member(
        name=f"TRS4, sigma = {sigma:g}", coefficients=tuple(float(c) for c in powers), formula=formula, products=2
    )


CUBIC = Member(name="cubic (McWeeny)", coefficients=(0, 0, 3, -2), formula="$3x^2-2x^3$", products=2)
HOLAS_5 = Member(
    name="Holas-5", coefficients=(0, 0, 0, 10, -15, 6), formula="$10x^3-15x^4+6x^5$", products=3
)  # under x = (1 + y)/2 the quintic Newton-Schulz iteration for the matrix sign y
SP2_DOWN = Member(name="SP2, downwards", coefficients=(0, 0, 1), formula="$x^2$", products=1)
SP2_UP = Member(name="SP2, upwards", coefficients=(0, 2, -1), formula="$2x-x^2$", products=1)
PLUS_SIGN = Member(name="plus sign of the draft", coefficients=(0, 0, 3, 2), formula="$3x^2+2x^3$", products=2)
