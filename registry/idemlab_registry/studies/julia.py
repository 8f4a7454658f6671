"""Basins of 0 and 1 in the complex plane: where the eigenvalues of K may lie for the iteration to make it idempotent.

Pictures are [H, W]: row 0 is the lower edge of the window, pixels are sampled at their centres.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .family import Member

__all__ = ["INFINITY", "UNDECIDED", "Basins", "Window", "basins", "distance_after", "plane"]

Window = tuple[float, float, float, float]
"""Left, right, lower and upper edge: smallest and largest real part, smallest and largest imaginary part."""

INFINITY = 2
UNDECIDED = 3

_TRAP = 1e-4
"""Distance from an attracting root within which an orbit cannot leave it again."""

_FAR = 1000.0
"""Modulus from which the leading power alone makes the count of steps continuous."""

_BLOCK = 1 << 14
"""Points that are iterated together: their arrays stay in the cache."""

Complex = NDArray[np.complex128]


@dataclass(frozen=True, eq=False)
class Basins:
    """Where each point of a window goes, and how fast.

    Args:
        limit: [H, W]: 0 or 1, the root it converges to; INFINITY; or UNDECIDED within the iterations allowed.
        steps: [H, W]: iterations until the limit is certain, made continuous between one count and the next; those allowed
            where it is undecided.
        window: of the picture.
    """

    limit: NDArray[np.uint8]
    steps: NDArray[np.float64]
    window: Window

    def share(self, limit: int) -> float:
        """Share of the window that goes there."""
        return float((self.limit == limit).mean())


def plane(window: Window, width: int, height: int) -> Complex:
    """The centres of the pixels, [H, W].

    Raises:
        ValueError: if the window is empty or there are no pixels.
    """
    left, right, lower, upper = window
    if not (left < right and lower < upper and width > 0 and height > 0):
        raise ValueError(f"the window {window} at {width} x {height} pixels is empty: left < right, lower < upper")
    return _axis(left, right, width)[None, :] + 1j * _axis(lower, upper, height)[:, None]


def _axis(low: float, high: float, count: int) -> NDArray[Any]:
    """Around the middle, so that a symmetric window has exactly symmetric points."""
    return (low + high) / 2 + (np.arange(count) - (count - 1) / 2) * ((high - low) / count)


def basins(
    member: Member,
    window: Window = (-0.5, 1.5, -0.6, 0.6),
    *,
    width: int = 1000,
    height: int = 600,
    iterations: int = 200,
) -> Basins:
    """Iterate a member of the family from each point until its limit is certain.

    Points stop as soon as they are decided. Near a root the count is made continuous by the order of contraction,
    e' = C e^m, and far out by |z'| = |c| |z|^j, as the smooth iteration count of Julia sets is.

    Args:
        member: the polynomial p.
        window: of the complex plane.
        width, height: of the picture, in pixels.
        iterations: largest number, >= 1; one more digit of zoom at the boundary of the cubic takes about 6.

    Raises:
        ValueError: if the window is empty.
    """
    points = plane(window, width, height)
    limit = np.full(points.size, UNDECIDED, dtype=np.uint8)
    steps = np.full(points.size, float(iterations))
    tests = _tests(member)
    for start, z in _blocks(points):
        index = np.arange(start, start + len(z))
        for k in range(iterations + 1):
            decided = np.zeros(len(z), dtype=bool)
            for target, test, fraction in tests:
                here = test(z)
                if here.any():
                    limit[index[here]] = target
                    steps[index[here]] = np.clip(k - fraction(z[here]), 0, None)
                    decided |= here
            if decided.any():
                z, index = z[~decided], index[~decided]
            if not len(z) or k == iterations:
                break
            z = member(z)
    return Basins(limit.reshape(points.shape), steps.reshape(points.shape), window)


def distance_after(
    member: Member,
    window: Window = (-0.5, 1.5, -0.5, 0.5),
    *,
    width: int = 1000,
    height: int = 500,
    iterations: int = 10,
) -> NDArray[np.float64]:
    """Distance to the nearer of 0 and 1 after a fixed number of iterations, [H, W]; infinite where it overflows.

    Raises:
        ValueError: if the window is empty.
    """
    points = plane(window, width, height)
    distance = np.empty(points.size)
    with np.errstate(over="ignore", invalid="ignore"):
        for start, z in _blocks(points):
            for _ in range(iterations):
                z = member(z)
            distance[start : start + len(z)] = np.minimum(np.abs(z), np.abs(z - 1))
    return np.nan_to_num(distance, nan=np.inf, posinf=np.inf).reshape(points.shape)


def _blocks(points: Complex) -> Iterator[tuple[int, Complex]]:
    flat = points.ravel()
    for start in range(0, flat.size, _BLOCK):
        yield start, flat[start : start + _BLOCK]


Test = tuple[int, Callable[[Complex], NDArray[np.bool_]], Callable[[Complex], NDArray[np.float64]]]
"""A limit; which points have reached it; by how much of an iteration they overshot the edge of its neighbourhood."""


def _tests(member: Member) -> list[Test]:
    tests: list[Test] = []
    for root in (0, 1):
        local = member.contraction(root)
        if local is not None:
            tests.append((root, _near(root), _contracted(root, *local)))
    return [*tests, (INFINITY, _beyond(_far(member)), _escaped(member))]


def _squared(z: Complex, root: int) -> NDArray[np.float64]:
    """|z - root|^2, without a square root."""
    squared: NDArray[np.float64] = np.square(z.real - root) + np.square(z.imag)
    return squared


def _near(root: int) -> Callable[[Complex], NDArray[np.bool_]]:
    return lambda z: _squared(z, root) < _TRAP**2


def _beyond(radius: float) -> Callable[[Complex], NDArray[np.bool_]]:
    return lambda z: _squared(z, 0) > radius**2


def _contracted(root: int, order: int, constant: float) -> Callable[[Complex], NDArray[np.float64]]:
    if order == 1:
        rate = math.log(abs(constant))

        def linear(z: Complex) -> NDArray[np.float64]:
            return np.log(np.abs(z - root).clip(1e-300) / _TRAP) / rate

        return linear
    scale = abs(constant) ** (1 / (order - 1))  # u = scale e contracts as u' = u^m

    def superlinear(z: Complex) -> NDArray[np.float64]:
        u = (scale * np.abs(z - root)).clip(1e-300)
        fraction: NDArray[np.float64] = np.log(np.log(u) / math.log(scale * _TRAP)) / math.log(order)
        return fraction

    return superlinear


def _far(member: Member) -> float:
    return max(_FAR, member.escape_radius)


def _escaped(member: Member) -> Callable[[Complex], NDArray[np.float64]]:
    leading, degree = abs(member.coefficients[-1]), member.degree
    scale = leading ** (1 / (degree - 1))

    def fraction(z: Complex) -> NDArray[np.float64]:
        u = scale * np.abs(z)
        past: NDArray[np.float64] = np.log(np.log(u) / math.log(scale * _far(member))) / math.log(degree)
        return past

    return fraction
