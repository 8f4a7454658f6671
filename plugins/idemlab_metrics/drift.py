"""Drift along the orbit: how far f^k(x) is from f(x)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from idemlab import Batch, Metric, Orbit

__all__ = ["Drift"]


class Drift(Metric):
    """sqrt( Σ |f^k(x) - f(x)|² / Σ |f(x) - mean f(x)|² ) over the set: the relative error from f straight to f^k.

    The certificate has the error of each single application, from f^k to f^(k+1), in the same measure.
    Value, over the set: `drift_3` for k = 3.

    Args:
        depth: k, 2 or more.
        points: largest number of samples, the first ones; None for all. Deep orbits are expensive.
    """

    def __init__(self, depth: int, points: int | None = None) -> None:
        self._depth, self._points = depth, points
        self._forget()

    def _forget(self) -> None:
        self._rows = 0
        self._moved = self._squares = self._sum = torch.zeros((), dtype=torch.float64)

    def __call__(self, orbit: Orbit, batch: Batch) -> dict[str, Tensor]:
        wanted = len(batch) if self._points is None else min(self._points - self._rows, len(batch))
        if wanted <= 0:
            return {}
        first = orbit.ahead(0)[:wanted].flatten(1).cpu().double()
        last = orbit.ahead(self._depth - 1)[:wanted].flatten(1).cpu().double()
        self._rows += len(first)
        self._moved = self._moved + (last - first).square().sum()
        self._squares = self._squares + first.square().sum()
        self._sum = self._sum + first.sum(0)
        return {}

    def compute(self) -> dict[str, float]:
        if not self._rows:
            return {}
        moved, spread = float(self._moved), float(self._squares - self._sum.square().sum() / self._rows)
        self._forget()
        # As in the certificate where all outputs are one.
        return {f"drift_{self._depth}": (moved / spread) ** 0.5 if spread > 0 else 0.0 if moved == 0 else math.inf}
