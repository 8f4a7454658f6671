"""Memorisation: how near outputs come to the training samples, beside how near test samples come."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from idemlab import Batch, Dataset, Metric, Orbit, TensorRows

from .rows import representative

__all__ = ["NearestTraining"]

_CHUNK = 4096
_FROM_DISK = 10_000
_TEST = 1000


class NearestTraining(Metric):
    """min over the training targets t of |f(x) - t|_2, [B], beside the same for test targets.

    Where the set is not kept in memory, 10 000 training samples stand for it.
    """

    def fit(self, dataset: Dataset) -> None:
        count = len(dataset.train) if isinstance(dataset.train, TensorRows) else _FROM_DISK
        self._dataset = dataset
        self._training = representative(len(dataset.train), count)
        self._of_test = cache(self._measure_test)

    def __call__(self, orbit: Orbit, batch: Batch) -> dict[str, Tensor]:
        return {"nearest_training": self._nearest(orbit.ahead(0))}

    def compute(self) -> dict[str, float]:
        return {"nearest_training_of_test": self._of_test()}

    def _measure_test(self) -> float:
        test = self._dataset.test.__getitems__(representative(len(self._dataset.test), _TEST))
        return self._nearest(test.to("cpu", torch.float32, self._dataset.range).target).mean().item()

    def _nearest(self, points: Tensor) -> Tensor:
        """Distance of each point [B, *shape] to the nearest training target, [B]."""
        flat = points.flatten(1).float()
        best = flat.new_full((len(flat),), torch.inf)
        for start in range(0, len(self._training), _CHUNK):
            chunk = self._dataset.train.__getitems__(self._training[start : start + _CHUNK])
            targets = chunk.to(flat.device, torch.float32, self._dataset.range).target.flatten(1)
            best = torch.minimum(best, torch.cdist(flat, targets).amin(1))
        return best
