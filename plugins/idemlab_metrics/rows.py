"""Which rows of a set stand for all of it."""

from __future__ import annotations

__all__ = ["evenly_spaced"]


def evenly_spaced(total: int, count: int) -> list[int]:
    """At most `count` indices of a set of `total` rows, evenly spaced, so that sets ordered by class are covered."""
    count = min(count, total)
    return [i * total // count for i in range(count)]
