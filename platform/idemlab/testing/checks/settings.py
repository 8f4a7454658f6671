"""Test material for sources and metrics: small data, operators and steps."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...contracts.dataset import Batch, Dataset, MapStyle, TensorRows
from ...contracts.orbit import Operator
from ...contracts.step import Shard, Step, generator
from ..operators import Linear

__all__ = ["ROWS", "batch_of", "conditioned", "data", "operator_for", "step"]

ROWS = 8
"""Number of samples in a batch."""
_SHAPES = ((12,), (4, 6), (1, 12, 12))
_TRAIN, _TEST, _CLASSES = 64, 32, 2


def data() -> list[Dataset]:
    """Vectors, sequences and images in [-1, 1], with labels and the distance to the cube that they fill."""
    return [_data(shape) for shape in _SHAPES]


def _data(shape: tuple[int, ...]) -> Dataset:
    total = _TRAIN + _TEST
    rows = 2 * torch.rand((total, *shape), generator=generator("data", *shape)) - 1
    label = torch.arange(total) % _CLASSES
    return Dataset(
        train=TensorRows(rows[:_TRAIN], label=label[:_TRAIN]),
        test=TensorRows(rows[_TRAIN:], label=label[_TRAIN:]),
        shape=shape,
        range=(-1.0, 1.0),
        distance=_outside,
        projection=_inside,
        classes=_CLASSES,
    )


def conditioned(dataset: Dataset) -> Dataset:
    """The same data with their labels as the condition."""

    def rows(part: MapStyle) -> TensorRows:
        assert isinstance(part, TensorRows)
        return TensorRows(part.input, part.target, part.label, part.label)

    return replace(dataset, train=rows(dataset.train), test=rows(dataset.test))


def _outside(points: Tensor) -> Tensor:
    """Distance to the cube [-1, 1]^n, [B]."""
    distance: Tensor = (points.abs() - 1).clamp_min(0).flatten(1).norm(dim=1)
    return distance


def _inside(points: Tensor) -> Tensor:
    """The nearest point of the cube, [B, *shape]."""
    return points.clamp(-1, 1)


def batch_of(dataset: Dataset, start: int = 0, rows: int = ROWS, dtype: torch.dtype = torch.float32) -> Batch:
    """Test samples from `start` on."""
    return dataset.test.__getitems__(list(range(start, start + rows))).to("cpu", dtype, dataset.range)


class _Everything(Linear):
    """A linear map that also encodes and decodes, and has an invertible map x -> -x. A condition changes nothing."""

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        return super().forward(x)

    def encode(self, x: Tensor, *condition: Tensor) -> Tensor:
        return super().encode(x)

    def decode(self, h: Tensor, *condition: Tensor) -> Tensor:
        return super().decode(h)

    def transform(self, x: Tensor, *condition: Tensor) -> Tensor:
        return -x

    def inverse(self, z: Tensor, *condition: Tensor) -> Tensor:
        return -z


def operator_for(dataset: Dataset) -> Operator:
    """A linear map near a projector."""
    n = torch.Size(dataset.shape).numel()
    K = torch.diag((torch.arange(n) % 2).float())
    return _Everything(K + 0.1 * torch.randn(n, n, generator=generator("operator", n)) / n**0.5)


def step(index: int = 0, half: int | None = None) -> Step:
    """A step, over the whole batch or one of its halves as micro-batches."""
    return Step(index=index, purpose="conformance", shard=Shard() if half is None else Shard(micro=half, micros=2))
