"""Precision and recall, density and coverage: do outputs look like data, and does all of the data occur among them."""

from __future__ import annotations

import torch
from torch import Tensor

from .features import FeatureMetric

__all__ = ["PrecisionRecall", "precision_recall"]

_NEAR, _COVER = 3, 5
_CHUNK = 500


class PrecisionRecall(FeatureMetric):
    """Precision, recall, density and coverage of the sets f(x), f(f(x)), f(f(f(x))), in features of an extractor.

    The outputs are compared with as many training samples; as many test samples, compared with the same,
    give the ceiling.
    Values, over the set: `precision_cnn_1`, `_2`, `_3`, `precision_cnn_of_test`, and `recall`, `density`, `coverage` alike.
    """

    def compute(self) -> dict[str, float]:
        outputs = self.collected()
        if not outputs or len(outputs[0]) <= _COVER:
            return {}
        sets = {str(k): points for k, points in enumerate(outputs, 1)}
        sets["of_test"] = self.of_data("test", len(outputs[0]))
        training = self.of_data("train", len(outputs[0]))
        return {
            f"{measure}_{self._features}_{name}": value
            for name, points in sets.items()
            for measure, value in precision_recall(training, points).items()
        } | self.extractor.facts


def precision_recall(data: Tensor, outputs: Tensor) -> dict[str, float]:
    """How the sets of rows [N, n] and [M, n] overlap, shares in [0, 1] but for the density.

    Each set's manifold is the union of balls around its rows that reach their k-th nearest neighbour in it.
    `precision`: outputs in the manifold of the data; `recall`: data in that of the outputs; k = 3 (Kynkäänniemi et al.
    2019).
    `density`: balls of the data that an output lies in, over k; `coverage`: such balls that hold an output; k = 5
    (Naeem et al. 2020); for two sets of one distribution 1, and 1 - 2^-5 = 0.97.
    """
    centre = data.mean(0)  # large offsets cost digits
    data, outputs = data - centre, outputs - centre
    data_near, data_cover = _reach(data, _NEAR), _reach(data, _COVER)
    outputs_near = _reach(outputs, _NEAR)
    precise = dense = torch.zeros((), dtype=torch.float64)
    recalled = covered = torch.zeros(len(data), dtype=torch.bool)
    for rows, near in zip(outputs.split(_CHUNK), outputs_near.split(_CHUNK), strict=True):  # type: ignore[no-untyped-call]
        apart = torch.cdist(rows, data)
        precise = precise + (apart <= data_near).any(1).sum()
        dense = dense + (apart <= data_cover).sum()
        recalled = recalled | (apart <= near.unsqueeze(1)).any(0)
        covered = covered | (apart <= data_cover).any(0)
    return {
        "precision": float(precise / len(outputs)),
        "recall": float(recalled.double().mean()),
        "density": float(dense / (_COVER * len(outputs))),
        "coverage": float(covered.double().mean()),
    }


def _reach(rows: Tensor, k: int) -> Tensor:
    """Distance of each row to its k-th nearest other row, [N]."""
    # The row itself, at 0, is the nearest.
    parts = [torch.cdist(part, rows).kthvalue(k + 1, dim=1).values for part in rows.split(_CHUNK)]  # type: ignore[no-untyped-call]
    return torch.cat(parts)
