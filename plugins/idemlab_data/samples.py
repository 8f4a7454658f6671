"""Training samples by number: what sources look up that draw from the data themselves."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from idemlab import Dataset

__all__ = ["Samples", "training_samples"]

Samples = Callable[[Tensor, Tensor], Tensor]
"""Numbers [N] and a tensor -> the targets of these training samples, [N, *shape], in its precision and on its device."""


def training_samples(dataset: Dataset) -> Samples:
    """A look-up in the training set; a closure, so that copies of a source share the data."""

    def look_up(numbers: Tensor, like: Tensor) -> Tensor:
        rows = dataset.train.__getitems__(numbers.tolist())
        return rows.to(like.device, like.dtype, dataset.range).target

    return look_up
