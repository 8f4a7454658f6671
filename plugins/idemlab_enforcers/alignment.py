"""Manifold alignment: a decoded code is encoded to itself."""

from __future__ import annotations

from idemlab import Enforcement, Enforcer, Orbit, Step, l2

__all__ = ["Alignment"]


class Alignment(Enforcer):
    """|encode(decode(h)) - h|^2 / n at the codes h = encode(x) of the points, with gradient through everything.

    Where it is zero, f = decode encode is idempotent at x.

    Args:
        weight: of the loss.

    Source: arXiv 2606.22304.
    """

    def __init__(self, weight: float) -> None:
        super().__init__()
        self._weight = weight

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        h = orbit.encode(orbit.input)
        return Enforcement(loss=self._weight * l2(orbit.encode(orbit.decode(h)), h))
