"""The samples of every step: a fresh order for each epoch, and the same global batches for any number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing import current_process
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..contracts.dataset import Batch, Dataset, TensorRows
from ..contracts.step import Shard, generator
from ..experiment.settings import TrainingSettings
from ..system.neighbours import own_cores

__all__ = ["batches"]


def _order(size: int, training: TrainingSettings, steps: range, rank: int, world: int) -> Iterator[Tensor]:
    """Indices of this process's rows of every micro-batch of the given optimiser steps.

    The order depends on (seed, step) alone, so that a run resumed mid-epoch sees the same samples as an uninterrupted one.
    """
    per_epoch = size // training.batch_size
    epoch, batches_of_epoch = -1, torch.empty(0)
    for step in steps:
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            order = torch.randperm(size, generator=generator(training.seed, epoch, "order"))
            batches_of_epoch = order[: per_epoch * training.batch_size].view(per_epoch, training.batch_size)
        rows = batches_of_epoch[step % per_epoch]
        for micro in range(training.micro_batches):
            shard = Shard(rank, world, micro, training.micro_batches)
            yield rows if shard.count == 1 else rows.chunk(shard.count)[shard.index]


def _whole(batch: Any) -> Any:
    """Collate function for sets that give whole batches."""
    return batch


def batches(dataset: Dataset, training: TrainingSettings, steps: range, *, rank: int, world: int) -> Iterator[Batch]:
    """This process's micro-batches of the given optimiser steps, in order, on the CPU as the dataset holds them."""
    order = _order(len(dataset.train), training, steps, rank, world)
    lists = (rows.tolist() for rows in order)
    # No worker could be faster, and a loader takes longer than small models; but it pins memory for a GPU.
    if isinstance(dataset.train, TensorRows) and not torch.cuda.is_available():
        # A subclass may take a list only. To make one costs more than the rows of a small batch.
        return map(dataset.train.__getitems__, order if type(dataset.train) is TensorRows else lists)
    # The worker of a sweep may not start processes, and has its share of the cores already.
    alone = isinstance(dataset.train, TensorRows) or current_process().daemon
    return iter(
        DataLoader(
            dataset.train,  # type: ignore[arg-type]
            batch_sampler=lists,
            collate_fn=_whole,
            num_workers=0 if alone else min(4, len(own_cores())),
            pin_memory=torch.cuda.is_available(),
        )
    )
