"""The contract of a metric: a measurement beyond the certificate."""

from __future__ import annotations

from torch import Tensor

from .dataset import Batch, Dataset
from .orbit import Orbit

__all__ = ["Metric"]


class Metric:
    """Base of all metrics.

    A per-sample metric overrides `__call__`. A set-level metric (such as a Fréchet distance) collects what it needs in
    `__call__`, returns an empty dict there, and returns its values from `compute`.
    """

    def fit(self, dataset: Dataset) -> None:
        """Learn what the metric needs from the data. Called once, before the first evaluation."""

    def __call__(self, orbit: Orbit, batch: Batch) -> dict[str, Tensor]:
        """Per-sample values, each [B]; reported as their mean over the evaluation set.

        Args:
            orbit: of the evaluation inputs; its points are computed lazily and shared with the certificate.
            batch: `input` is what the orbit starts from, `target` what f should make of it.
        """
        return {}

    def compute(self) -> dict[str, float]:
        """Set-level values over all batches since the last call. Forgets these batches."""
        return {}
