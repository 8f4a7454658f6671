"""Diversity across inputs: how much outputs differ for different z, compared with data."""

from __future__ import annotations

import torch
from torch import Tensor

from idemlab import Batch, Dataset, Orbit

from .features import FeatureMetric, Features
from .rows import representative

__all__ = ["Diversity", "mean_distance"]

_CHUNK = 500


class Diversity(FeatureMetric):
    """Mean distance of two outputs over that of two test samples, in pixels and in features of an extractor.

    1 is as diverse as data, 0 a single output whatever the input. The spread of outputs stands in the certificate.
    Values, over the set: `diversity_pixels` and `diversity_cnn` (or whatever the features are).
    """

    def __init__(self, features: Features) -> None:
        super().__init__(features, depth=1)

    def fit(self, dataset: Dataset) -> None:
        super().fit(dataset)
        self._pixels: list[Tensor] = []

    def __call__(self, orbit: Orbit, batch: Batch) -> dict[str, Tensor]:
        self._pixels.append(orbit.ahead(0).flatten(1).float().cpu())
        return super().__call__(orbit, batch)

    def compute(self) -> dict[str, float]:
        features = self.collected()
        if not features or len(features[0]) < 2:
            self._pixels = []
            return {}
        pixels, self._pixels = torch.cat(self._pixels), []
        test = self._dataset.test.__getitems__(representative(len(self._dataset.test), len(pixels)))
        test_pixels = test.to("cpu", torch.float32, self._dataset.range).target.flatten(1)
        test_features = self.of_data("test", len(pixels))
        return {
            "diversity_pixels": mean_distance(pixels) / mean_distance(test_pixels),
            f"diversity_{self._features}": mean_distance(features[0]) / mean_distance(test_features),
        } | self.extractor.facts


def mean_distance(rows: Tensor) -> float:
    """Mean Euclidean distance of two different rows of [N, n]."""
    parts = rows.split(_CHUNK)  # type: ignore[no-untyped-call]
    total = sum(float(torch.cdist(part, rows).double().sum()) for part in parts)
    return total / (len(rows) * (len(rows) - 1))
