"""The samples on which an experiment is measured: the test split, or training samples held out from training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ..contracts.dataset import Batch, Dataset, MapStyle, TensorRows
from ..contracts.step import generator
from ..errors import BadInput
from ..experiment.experiment import Experiment
from ..wording import counted

__all__ = ["spared"]

_STRETCH = 10
"""One sample of each so many is held out."""


def spared(experiment: Experiment, dataset: Dataset) -> Dataset:
    """The data as the experiment is measured on them. With the split "validation", every tenth training sample replaces
    the test split and is not trained on, so that settings chosen by the measurement do not depend on the test split.

    Raises:
        BadInput: if there are too few samples to hold some out.
    """
    if experiment.evaluation.split == "test":
        return dataset
    total = len(dataset.train)
    if total < 2 * _STRETCH:
        raise BadInput(
            f"dataset '{experiment.dataset.name}' has {total} training samples, too few to hold out every tenth",
            where="[evaluation], key 'split'",
            expected=f"{2 * _STRETCH} or more",
            next_step="set evaluation.split = test",
        )
    # Drawn once and for all within each stretch: a fixed stride can coincide with an unknown order of the samples.
    places = torch.randint(_STRETCH, (total // _STRETCH,), generator=generator("validation", total)).tolist()
    held = {_STRETCH * i + place for i, place in enumerate(places)}
    kept = [i for i in range(total) if i not in held]
    told = f"every tenth training sample, {counted(len(held), 'sample')}, is held out and replaces the test split"
    return replace(
        dataset,
        train=_chosen(dataset.train, kept),
        test=_chosen(dataset.train, sorted(held)),
        description=(*dataset.description, told),
    )


def _chosen(rows: MapStyle, indices: Sequence[int]) -> MapStyle:
    """Some samples of a set, in memory if it is."""
    if type(rows) is not TensorRows:  # a subclass may give its samples in a way of its own
        return _Chosen(rows, indices)
    batch = rows.__getitems__(indices)
    target = None if batch.target is batch.input else batch.target
    return TensorRows(batch.input, target, batch.condition, batch.label)


class _Chosen:
    """Some samples of a map-style set."""

    def __init__(self, rows: MapStyle, indices: Sequence[int]) -> None:
        self._rows, self._indices = rows, list(indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitems__(self, indices: list[int]) -> Batch:
        return self._rows.__getitems__([self._indices[i] for i in indices])
