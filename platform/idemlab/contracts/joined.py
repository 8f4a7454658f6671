"""Orbits that go through the operator together: one call on all their samples in place of one call for each orbit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from .orbit import Operator, Orbit

__all__ = ["Joined", "Point"]

Point = tuple[Tensor, Tensor | None, bool, bool]
"""x [B, *shape], its condition, whether an enforcer sees its orbit, and whether f(x) is needed whatever that one does."""


class _Orbit(Orbit):
    """An orbit that asks its group for f^k(x). Everything else it does alone: `apply`, `frozen`, `jvp`."""

    group: Joined
    enforced: bool
    needed: bool

    def _go_on(self, points: list[Tensor]) -> None:
        depth, live = len(points), points is self._live
        members = [o for o in self.group.orbits if o is self or (o._joins(depth, live) and o._waits(depth, live))]
        before = [o._live[depth - 1] if live else o.ahead(depth - 2) for o in members]
        conditions = [o.condition for o in members if o.condition is not None]
        # `cat` copies, so that an operator in place overwrites nothing that is used again.
        after = self._operator(torch.cat(before), *([torch.cat(conditions)] if conditions else []))
        for orbit, point in zip(members, torch.split(after, [len(x) for x in before]), strict=True):
            orbit._live.append(point) if live else orbit._still.append(point.detach())

    def ahead(self, k: int) -> Tensor:
        if self.needed and len(self._live) == 1 and torch.is_grad_enabled():
            self.live(1)  # it will be needed with gradient: without, it would be computed twice
        return super().ahead(k)

    def _joins(self, depth: int, live: bool) -> bool:
        """Whether f^depth(x) of this orbit is wanted, too, if another orbit of the group is asked for its own."""
        if self.needed and depth == 1:
            return live
        return self.enforced and self.group._enforcing

    def _waits(self, depth: int, live: bool) -> bool:
        """Whether f^depth(x) is what this orbit lacks, and f^(depth-1)(x) is there."""
        return depth == (len(self._live) if live else max(len(self._live), len(self._still)))


class Joined:
    """The orbits of several points, for an operator that keeps samples apart. Each is lazy and looks like any other.

    The values and gradients are those of single orbits, to rounding. What an enforcer asks of one orbit is computed for all
    that it sees, as enforcers do the same at each of them. An enforcer that asks for nothing costs nothing.

    Args:
        operator: f.
        points: one for each orbit.

    Attributes:
        orbits: in the order of the points.
    """

    def __init__(self, operator: Operator, points: list[Point]) -> None:
        self._enforcing = False
        self.orbits: list[_Orbit] = []
        for x, condition, enforced, needed in points:
            orbit = _Orbit(operator, x, condition)
            orbit.group, orbit.enforced, orbit.needed = self, enforced, needed
            self.orbits.append(orbit)

    @contextmanager
    def enforced(self) -> Iterator[None]:
        """A block in which the enforcer asks for points."""
        self._enforcing = True
        try:
            yield
        finally:
            self._enforcing = False
