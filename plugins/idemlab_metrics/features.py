"""Features in which sets of samples are compared, named after their extractor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor

from idemlab import Batch, Dataset, MapStyle, Metric, Orbit

from .cnn import Cnn
from .hog import Hog
from .inception import Inception
from .pca import Pca
from .rows import representative

__all__ = ["DEPTH", "Extractor", "FeatureMetric", "Features", "extractor"]

DEPTH = 3
"""Sets are compared at f(x), f(f(x)) and f(f(f(x)))."""

_CHUNK = 500

Features = Literal["cnn", "hog", "pca", "inception"]


class Extractor(Protocol):
    """Points [B, *shape] -> features [B, n] in float64 on the CPU."""

    @property
    def name(self) -> str:
        """Its kind and training data, for instance ``cnn-3fa9c1d2``."""

    @property
    def facts(self) -> dict[str, float]:
        """Values that say how far to trust the features. Every metric in these features reports them."""

    def __call__(self, points: Tensor, /) -> Tensor: ...


def extractor(features: Features, dataset: Dataset) -> Extractor:
    """The extractor of these features for a data set; it is trained at its first use.

    Raises:
        BadInput: if it cannot be had for this data set.
    """
    kinds: dict[Features, Callable[[Dataset], Extractor]] = {
        "cnn": Cnn,
        "hog": Hog,
        "pca": Pca,
        "inception": Inception,
    }
    return kinds[features](dataset)


class FeatureMetric(Metric):
    """Base of metrics that compare sets of samples in features: collects those of f(x), ..., f^depth(x).

    Args:
        features: which.
        depth: how far along the orbit.
    """

    def __init__(self, features: Features, depth: int = DEPTH) -> None:
        self._features: Features = features
        self._depth = depth

    def fit(self, dataset: Dataset) -> None:
        """Take the data.

        Raises:
            BadInput: if these features cannot be had for them.
        """
        self.extractor = extractor(self._features, dataset)
        self._dataset = dataset
        self._device = torch.device("cpu")
        self._seen: list[list[Tensor]] = [[] for _ in range(self._depth)]
        self._of_data: dict[tuple[str, int], Tensor] = {}

    def __call__(self, orbit: Orbit, batch: Batch) -> dict[str, Tensor]:
        self._device = orbit.input.device
        for k, seen in enumerate(self._seen):
            seen.append(self.extractor(orbit.ahead(k)))
        return {}

    def collected(self) -> list[Tensor]:
        """Features of f(x), f(f(x)), ... over all batches since the last call, each [N, n]; nothing where there was none."""
        points = [torch.cat(seen) for seen in self._seen if seen]
        self._seen = [[] for _ in range(self._depth)]
        return points

    def of_data(self, split: Literal["train", "test"], count: int) -> Tensor:
        """Features of at most `count` samples of a split, [at most `count`, n]; computed once."""
        if (split, count) not in self._of_data:
            rows: MapStyle = getattr(self._dataset, split)
            indices = representative(len(rows), count)
            parts = (rows.__getitems__(indices[start : start + _CHUNK]) for start in range(0, len(indices), _CHUNK))
            ready = (part.to(self._device, torch.float32, self._dataset.range).target for part in parts)
            self._of_data[split, count] = torch.cat([self.extractor(points) for points in ready])
        return self._of_data[split, count]
