"""The canonical idempotence loss and where its gradient goes."""

from __future__ import annotations

from functools import reduce
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from idemlab import DISTANCES, Enforcement, Enforcer, Orbit, Step

__all__ = ["Gradient", "Routing"]

Routing = Literal["full", "inner", "outer"]


class Gradient(Enforcer):
    """L = D(f(y), y) at y = f(x), differentiated through both applications of f, or through one of them.

    The derivative of L is the sum of two: the inner one, in which a frozen copy F stands for the second application and
    the parameters are reached through y only, and the outer one, in which y is held fixed.

    Source: the ordinary backpropagation that Jensen and Vicary (ICML 2025) compare with; the two parts are those of the
    idempotence term and of minus the tightness term of Shocher et al. (ICLR 2024).

    Args:
        weight: of the loss.
        routing: "full"; "inner", D(F(y), y); "outer", D(f(sg y), sg y), sg = without gradient.
        distance: D, "l1" or "l2", a mean over the entries of a sample.
        depth: mean of D(f^k(y), f^(k-1)(y)) over k = 1 ... depth; routing "full" only.

    Raises:
        ValueError: if depth > 1 with another routing.
    """

    def __init__(self, weight: float, routing: Routing, distance: str, depth: int) -> None:
        super().__init__()
        if depth > 1 and routing != "full":
            raise ValueError(f"depth {depth} needs the routing 'full', not '{routing}'")
        self._weight = weight
        self._routing = routing
        self._distance = DISTANCES[distance]
        self._depth = depth

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        return Enforcement(loss=self._weight * self._loss(orbit))

    def _loss(self, orbit: Orbit) -> Tensor:
        match self._routing:
            case "full":
                live = [orbit.live(k) for k in range(1, self._depth + 2)]
                errors = [self._distance(after, y) for y, after in pairwise(live)]
                return errors[0] if self._depth == 1 else reduce(torch.add, errors) / self._depth
            case "inner":
                y, after = orbit.output, orbit.frozen(orbit.output)
            case "outer":
                y, after = orbit.ahead(0), orbit.apply(orbit.ahead(0))
        orbit.note(2, after)
        return self._distance(after, y)
