"""Fréchet distance between the outputs and the training samples, in named features."""

from __future__ import annotations

import torch
from torch import Tensor

from .features import FeatureMetric

__all__ = ["FrechetDistance", "frechet_distance"]

_REFERENCE = 10_000


class FrechetDistance(FeatureMetric):
    """Fréchet distance of the sets f(x), f(f(x)), f(f(f(x))) to the training samples, in features of an extractor.

    As is the field's practice, the training split is what they are compared with (10 000 samples of it where there
    are more). As many test samples as there are outputs give the floor: new samples of the data, as a perfect
    generator would give them. Distances of sets of different size do not compare: small sets look farther.
    Values, over the set: `frechet_cnn_1`, `_2`, `_3` and `frechet_cnn_of_test`; `frechet_pca_...`; `fid_...`.
    """

    def compute(self) -> dict[str, float]:
        outputs = self.collected()
        if not outputs or len(outputs[0]) < 2:
            return {}
        training = self.of_data("train", _REFERENCE)
        sets = {str(k): points for k, points in enumerate(outputs, 1)}
        sets["of_test"] = self.of_data("test", len(outputs[0]))
        prefix = "fid" if self._features == "inception" else f"frechet_{self._features}"
        distances = {f"{prefix}_{name}": frechet_distance(points, training) for name, points in sets.items()}
        return distances | self.extractor.facts


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """|μ_a - μ_b|² + tr(C_a + C_b - 2 (C_a^½ C_b C_a^½)^½) of rows [N, n] and [M, n] (Dowson and Landau 1982).

    The trace of the last root is the nuclear norm of C_a^½ C_b^½: as a sum of singular values it loses no digits where
    covariances are nearly singular, and no root of a matrix that is not symmetric is ever taken.
    Not a number where an entry is not finite.
    """
    a, b = a.double(), b.double()
    if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
        return float("nan")
    between = (a.mean(0) - b.mean(0)).square().sum()
    C_a, C_b = _covariance(a), _covariance(b)
    common = torch.linalg.matrix_norm(_root(C_a) @ _root(C_b), "nuc")
    distance = between + C_a.trace() + C_b.trace() - 2 * common
    return float(distance.clamp_min(0))


def _covariance(rows: Tensor) -> Tensor:
    """Unbiased, [n, n]."""
    centred = rows - rows.mean(0)
    return centred.T @ centred / (len(rows) - 1)


def _root(C: Tensor) -> Tensor:
    """The symmetric root of a covariance; what rounding made negative counts as 0."""
    values, vectors = torch.linalg.eigh(C)
    root: Tensor = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    return root
