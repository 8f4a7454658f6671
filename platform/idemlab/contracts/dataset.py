"""The contract of a dataset and of its batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..wording import counted

__all__ = ["Batch", "Dataset", "MapStyle", "TensorRows"]


@dataclass(frozen=True)
class Batch:
    """One batch. Training makes f(input, condition) approach target.

    Args:
        input: [B, *shape].
        target: [B, *shape]; the input itself unless the dataset says otherwise.
        condition: [B, ...] or None; the second argument of the operator.
        label: [B] class numbers or None; the operator does not see them, unless they are the condition, too.
    """

    input: Tensor
    target: Tensor
    condition: Tensor | None = None
    label: Tensor | None = None

    def __len__(self) -> int:
        return self.input.shape[0]

    def to(self, device: torch.device | str, dtype: torch.dtype, range: tuple[float, float] | None = None) -> Batch:
        """The batch on the device, in floating point; uint8 images are scaled from 0..255 to `range`."""

        def values(t: Tensor) -> Tensor:
            if t.dtype != torch.uint8:
                return t.to(device, dtype, non_blocking=True)
            low, high = range or (0.0, 1.0)
            return t.to(device, non_blocking=True).to(dtype).mul_((high - low) / 255).add_(low)

        input = values(self.input)
        if input is self.target and self.condition is None and self.label is None:
            return self
        return Batch(
            input,
            input if self.target is self.input else values(self.target),
            None if self.condition is None else self.condition.to(device),
            None if self.label is None else self.label.to(device),
        )

    def rows(self, rows: slice | list[int]) -> Batch:
        """Some samples of the batch."""

        def pick(t: Tensor | None) -> Tensor | None:
            return None if t is None else t[rows]

        input = self.input[rows]
        target = input if self.target is self.input else self.target[rows]
        return Batch(input, target, pick(self.condition), pick(self.label))

    def replace(self, **changes: Any) -> Batch:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


class MapStyle(Protocol):
    """A map-style data set whose `__getitems__` returns a whole batch, as torch's data loaders call it."""

    def __len__(self) -> int: ...

    def __getitems__(self, indices: list[int], /) -> Batch: ...


class TensorRows:
    """A map-style data set in memory, as uint8 or floating-point tensors. The fastest choice for small data sets.

    Args:
        input: [N, *shape].
        target, condition, label: [N, ...] or None.
    """

    def __init__(
        self,
        input: Tensor,
        target: Tensor | None = None,
        condition: Tensor | None = None,
        label: Tensor | None = None,
    ) -> None:
        for name, rows in (("target", target), ("condition", condition), ("label", label)):
            if rows is not None and len(rows) != len(input):
                raise ValueError(f"{name} has {counted(len(rows), 'row')}, input has {len(input)}")
        self.input, self.target, self.condition, self.label = input, target, condition, label

    def __len__(self) -> int:
        return len(self.input)

    def __getitem__(self, index: int) -> Tensor:
        return self.input[index]

    def __getitems__(self, indices: Sequence[int] | Tensor) -> Batch:
        rows = indices if isinstance(indices, Tensor) else torch.as_tensor(indices)

        def pick(t: Tensor | None) -> Tensor | None:
            return None if t is None else t[rows]

        input = self.input[rows]
        target = pick(self.target)
        return Batch(input, input if target is None else target, pick(self.condition), pick(self.label))


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Data to train and to evaluate on.

    Args:
        train, test: map-style sets (see `MapStyle`); no test sample may occur in train.
        shape: of one sample, without the batch; images are (channels, height, width).
        range: smallest and largest value of a sample after scaling, for instance (-1, 1); None if unbounded.
        distance: points [B, *shape] -> distance of each to the true manifold, [B], where it is known.
        projection: points [B, *shape] -> their images under the exact operator, [B, *shape], if it is known: the nearest
            points of a manifold or of a convex body, or the sorted lists.
        classes: number of classes, if the batches have labels.
        conditions: number of values of the condition, where it is a whole number from 0. idemlab sets it for labels and
            clusters.
        description: plain sentences on how the files were read: splits, classes, what was left out and why. A run prints
            them when it starts.
    """

    train: MapStyle
    test: MapStyle
    shape: tuple[int, ...]
    range: tuple[float, float] | None = None
    distance: Callable[[Tensor], Tensor] | None = None
    projection: Callable[[Tensor], Tensor] | None = None
    classes: int | None = None
    conditions: int | None = None
    description: tuple[str, ...] = ()

    @classmethod
    def of_tensors(cls, train: Tensor, test: Tensor, **settings: Any) -> Dataset:
        """A dataset of two tensors [N, *shape] in memory; `settings` are the fields of `Dataset`."""
        return cls(train=TensorRows(train), test=TensorRows(test), shape=tuple(train.shape[1:]), **settings)
