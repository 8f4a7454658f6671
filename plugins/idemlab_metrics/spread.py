"""How much the outputs differ: the first sign of collapse."""

from __future__ import annotations

import torch
from torch import Tensor

from idemlab import Batch, Metric, Orbit

__all__ = ["Spread"]


class Spread(Metric):
    """sqrt of the mean over entries of the variance over the set, of f(x): 0 where all inputs are sent to one point.

    Mean and sum of squares are merged batch by batch (Chan, Golub, LeVeque 1983), in float64.
    """

    def __init__(self) -> None:
        self._count, self._mean, self._squares = 0, torch.zeros(()), torch.zeros(())

    def __call__(self, orbit: Orbit, batch: Batch) -> dict[str, Tensor]:
        y = orbit.ahead(0).flatten(1).cpu().double()
        mean, squares = y.mean(0), (y - y.mean(0)).square().sum(0)
        total = self._count + len(y)
        shift = mean - self._mean
        self._squares = self._squares + squares + shift.square() * (self._count * len(y) / total)
        self._mean = self._mean + shift * (len(y) / total)
        self._count = total
        return {}

    def compute(self) -> dict[str, float]:
        if self._count == 0:
            return {}
        spread = (self._squares / self._count).mean().sqrt().item()
        self._count, self._mean, self._squares = 0, torch.zeros(()), torch.zeros(())
        return {"spread": spread}
