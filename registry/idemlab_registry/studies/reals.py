"""Orbits and basins of the purification family on the real line."""

from __future__ import annotations

import math

from .family import Member

__all__ = ["bisect", "immediate_basin", "limit", "orbit", "steps_to"]

_NEAR = 1e-6
_SCAN = 1e-2
"""Step of the search for the first point that leaves a basin; what borders on it is far wider in this family."""


def orbit(member: Member, x: float, count: int) -> list[float]:
    """x, p(x), p(p(x)), ..., `count` steps, ending where it goes beyond the escape radius."""
    points = [x]
    while len(points) <= count and abs(points[-1]) <= member.escape_radius:
        points.append(float(member(points[-1])))
    return points


def limit(member: Member, x: float, most: int = 2000) -> float | None:
    """Where the orbit of x goes: to 0 or 1, to infinity, or (None) to neither within the steps allowed."""
    attracting = [root for root in (0, 1) if member.contraction(root) is not None]
    radius = member.escape_radius
    for _ in range(most):
        if abs(x) > radius:
            return math.inf
        for root in attracting:
            if abs(x - root) < _NEAR:
                return root
        x = float(member(x))
    return None


def steps_to(member: Member, x: float, root: int, tolerance: float) -> int:
    """How many steps from x until |p^k(x) - root| <= tolerance, for an x in the root's basin."""
    steps = 0
    while abs(x - root) > tolerance:
        x, steps = float(member(x)), steps + 1
    return steps


def bisect(inside: float, outside: float, member: Member, root: int) -> float:
    """The end of the root's basin between a point that goes there and one that does not, to rounding."""
    while True:
        middle = (inside + outside) / 2
        if middle in (inside, outside):
            return middle
        if limit(member, middle) == root:
            inside = middle
        else:
            outside = middle


def immediate_basin(member: Member, root: int) -> tuple[float, float] | None:
    """The interval around an attracting root from which everything goes there, or None if the root does not attract."""
    if member.contraction(root) is None:
        return None
    ends = []
    for direction in (-1, 1):
        inside = float(root)
        while limit(member, inside + direction * _SCAN) == root:
            inside += direction * _SCAN
        ends.append(bisect(inside, inside + direction * _SCAN, member, root))
    return ends[0], ends[1]
