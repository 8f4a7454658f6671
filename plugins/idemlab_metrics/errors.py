"""Errors against a known answer: reconstruction, restoration, distance to a known manifold and to an exact projection."""

from __future__ import annotations

import torch
from torch import Tensor

from idemlab import BadInput, Batch, Dataset, Metric, Orbit

__all__ = ["ManifoldDistance", "ProjectionDistance", "TargetError"]


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


class ProjectionDistance(Metric):
    """Distance of f(x) to P(x), the output of the exact projection.

    `projection_distance`, [B]: |f(x) - P(x)|. `projection_error`, over the set: the root of its mean square over that of
    |P(x) - mean P(x)|, a relative error: the best constant has 1.
    """

    def fit(self, dataset: Dataset) -> None:
        """Take the exact operator from the data set.

        Raises:
            BadInput: if it knows none.
        """
        if dataset.projection is None:
            raise BadInput(
                "metric 'projection-distance' needs data whose exact projection is known",
                expected="a data set with a `projection`, for instance 'torus', 'sphere', 'ball' or 'sequences'",
                next_step="leave the metric out, or use dataset.name = 'ball'",
            )
        self._projection = dataset.projection
        self._forget()

    def _forget(self) -> None:
        self._off: list[Tensor] = []
        self._exact: list[Tensor] = []

    def __call__(self, orbit: Orbit, batch: Batch) -> dict[str, Tensor]:
        exact = self._projection(orbit.input).flatten(1)
        off = (orbit.ahead(0).flatten(1) - exact).norm(dim=1)
        self._off.append(off.cpu().double())
        self._exact.append(exact.cpu().double())
        return {"projection_distance": off}

    def compute(self) -> dict[str, float]:
        if not self._off:
            return {}
        off, exact = torch.cat(self._off), torch.cat(self._exact)
        self._forget()
        spread = (exact - exact.mean(0)).square().sum(1).mean()
        if spread == 0:  # P sends all inputs to one point, of which nothing is a share
            return {}
        return {"projection_error": float((off.square().mean() / spread).sqrt())}
