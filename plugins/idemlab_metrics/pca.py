"""Features for data without labels: the leading principal components of the training samples."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from idemlab import Dataset, principal_components

from .rows import representative

__all__ = ["Pca"]

_ROWS = 2000
_COMPONENTS = 64


class Pca:
    """Points [B, *shape] -> their coordinates along the 64 leading principal components of 2000 training samples, [B, 64].

    Where samples have fewer entries, or the split fewer samples, there are fewer. Distances are in the data's own scale.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    @property
    def name(self) -> str:
        """For instance ``pca-64``."""
        return f"pca-{self._fitted[1].shape[1]}"

    @property
    def facts(self) -> dict[str, float]:
        """None: there is nothing to get wrong."""
        return {}

    def __call__(self, points: Tensor) -> Tensor:
        mean, components = self._fitted
        return (points.flatten(1).cpu().double() - mean) @ components

    @cached_property
    def _fitted(self) -> tuple[Tensor, Tensor]:
        rows = self._dataset.train
        batch = rows.__getitems__(representative(len(rows), _ROWS)).to("cpu", torch.float32, self._dataset.range)
        return principal_components(batch.target.flatten(1).double(), _COMPONENTS)
