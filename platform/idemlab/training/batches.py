"""The samples of every step: a fresh order for each epoch, and the same global batches for any number of processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from ..contracts.dataset import Batch, Dataset, TensorRows
from ..contracts.step import Shard, generator
from ..experiment.settings import TrainingSettings

__all__ = ["batches"]


class _Order(Sampler[list[int]]):
    """Indices of this process's rows of every micro-batch, from optimiser step `start` on.

    The order depends on (seed, step) alone, so that a run resumed mid-epoch sees the same samples as an uninterrupted one.
    """

    def __init__(self, size: int, training: TrainingSettings, steps: range, rank: int, world: int) -> None:
        self._size, self._training, self._steps = size, training, steps
        self._rank, self._world = rank, world

    def __iter__(self) -> Iterator[list[int]]:
        training = self._training
        per_epoch = self._size // training.batch_size
        epoch, order = -1, torch.empty(0)
        for step in self._steps:
            if step // per_epoch != epoch:
                epoch = step // per_epoch
                order = torch.randperm(self._size, generator=generator(training.seed, epoch, "order"))
            start = step % per_epoch * training.batch_size
            rows = order[start : start + training.batch_size]
            for micro in range(training.micro_batches):
                shard = Shard(self._rank, self._world, micro, training.micro_batches)
                yield rows.chunk(shard.count)[shard.index].tolist()


def _whole(batch: Any) -> Any:
    """Collate function for sets that give whole batches."""
    return batch


def batches(dataset: Dataset, training: TrainingSettings, steps: range, *, rank: int, world: int) -> Iterator[Batch]:
    """This process's micro-batches of the given optimiser steps, in order, on the CPU as the dataset holds them."""
    order = _Order(len(dataset.train), training, steps, rank, world)
    # No worker could be faster, and a loader takes longer than small models; but it pins memory for a GPU.
    if isinstance(dataset.train, TensorRows) and not torch.cuda.is_available():
        return map(dataset.train.__getitems__, order)
    return iter(
        DataLoader(
            dataset.train,  # type: ignore[arg-type]
            batch_sampler=order,
            collate_fn=_whole,
            num_workers=0 if isinstance(dataset.train, TensorRows) else min(4, os.cpu_count() or 1),
            pin_memory=torch.cuda.is_available(),
        )
    )
