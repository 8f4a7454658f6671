"""Orbits that go through the operator together: one call on all their samples in place of one call for each orbit."""

from __future__ import annotations

import torch
from torch import Tensor

from .orbit import Operator, Orbit

__all__ = ["joined"]


class _Joined(Orbit):
    """An orbit that asks its group for f^k(x). Everything else it does alone: `apply`, `frozen`, `jvp`."""

    group: list[_Joined]
    """The orbits that share the call for f^k(x), this one among them; from k = 2 on only those that are enforced."""
    enforced: bool

    def _go_on(self, points: list[Tensor]) -> None:
        depth, live = len(points), points is self._live
        members = [o for o in self.group if o is self or ((depth == 1 or o.enforced) and o._waits(depth, live))]
        before = [o._live[depth - 1] if live else o.ahead(depth - 2) for o in members]
        conditions = [o.condition for o in members if o.condition is not None]
        # `cat` copies, so that an operator in place overwrites nothing that is used again.
        after = self._operator(torch.cat(before), *([torch.cat(conditions)] if conditions else []))
        for orbit, point in zip(members, torch.split(after, [len(x) for x in before]), strict=True):
            orbit._live.append(point) if live else orbit._still.append(point.detach())

    def _waits(self, depth: int, live: bool) -> bool:
        """Whether f^depth(x) is what this orbit lacks, and f^(depth-1)(x) is there."""
        return depth == (len(self._live) if live else max(len(self._live), len(self._still)))


def joined(operator: Operator, orbits: list[tuple[Tensor, Tensor | None, bool]]) -> list[Orbit]:
    """The orbits of several inputs, for an operator that keeps samples apart. Each is lazy and looks like any other.

    The values and gradients are those of single orbits, to rounding. A point that one of them asks for is computed for all,
    as enforcers do the same at each of them.

    Args:
        orbits: for each its input [B, *shape], its condition, and whether an enforcer sees it. One that no enforcer sees
            is needed for f(x) alone.
    """
    group: list[_Joined] = []
    for x, condition, enforced in orbits:
        orbit = _Joined(operator, x, condition)
        orbit.group, orbit.enforced = group, enforced
        group.append(orbit)
    return list(group)
