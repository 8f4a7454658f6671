"""Errors against a known answer: reconstruction, restoration, distance to a known manifold."""

from __future__ import annotations

from torch import Tensor

from idemlab import BadInput, Batch, Dataset, Metric, Orbit

__all__ = ["ManifoldDistance", "TargetError"]


class TargetError(Metric):
    """mean |f(x) - target| of each sample, [B].

    Args:
        name: of the metric.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, orbit: Orbit, batch: Batch) -> dict[str, Tensor]:
        return {self._name: (orbit.ahead(0) - batch.target).flatten(1).abs().mean(1)}


class ManifoldDistance(Metric):
    """Euclidean distance of f(x) to the manifold that the data lie on, [B]."""

    def fit(self, dataset: Dataset) -> None:
        """Take the distance from the data set.

        Raises:
            BadInput: if it knows none.
        """
        if dataset.distance is None:
            raise BadInput(
                "metric 'manifold-distance' needs data whose manifold is known",
                expected="a data set with a `distance`, for instance 'torus'",
                next_step="leave the metric out, or use dataset.name = 'torus'",
            )
        self._distance = dataset.distance

    def __call__(self, orbit: Orbit, batch: Batch) -> dict[str, Tensor]:
        return {"manifold_distance": self._distance(orbit.ahead(0))}
