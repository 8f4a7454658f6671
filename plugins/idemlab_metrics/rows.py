"""Which rows of a set stand for all of it."""

from __future__ import annotations

import torch

from idemlab import generator

__all__ = ["representative"]


def representative(total: int, count: int) -> list[int]:
    """At most `count` indices of a set of `total` rows: one of each of as many equal stretches, drawn once and for all.

    Stretches, so that sets ordered by class are covered. Drawn, because a fixed stride can fall in with an order that is
    not told: the rows of MNIST's training split come from two groups of writers in turn.
    """
    count = min(count, total)
    drawn = torch.rand(count, dtype=torch.float64, generator=generator("rows", total, count)).tolist()
    edges = [i * total // count for i in range(count)] + [total]
    return [start + int(u * (end - start)) for u, start, end in zip(drawn, edges, edges[1:], strict=False)]
