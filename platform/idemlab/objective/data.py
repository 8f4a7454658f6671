"""The data of an experiment, with the condition that it asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..contracts.dataset import Batch, Dataset, MapStyle, TensorRows
from ..errors import BadInput, Failure
from ..experiment.condition import IN_TRAINING
from ..experiment.experiment import Experiment
from ..wording import counted
from .clusters import clusters_of
from .engines import Engine
from .fingerprint import fingerprint
from .held_out import spared

__all__ = ["build_dataset", "classes_of", "clustered", "clusters_hash", "conditioned", "under_clusters"]

_WHERE = "[dataset], key 'condition'"


def build_dataset(experiment: Experiment, *, trained_on: bool = True) -> Dataset:
    """The data that the experiment names. Its batches have a condition if the experiment asks for one, perhaps in training
    only, and with the split "validation" a part of the training samples stands for the test split.

    Args:
        trained_on: whether training samples need their condition, which takes time to find.

    Raises:
        BadInput, Failure: from the factory; names the plugin at fault.
        BadInput: if the data have no labels to take as the condition, or too few samples to hold some out.
    """
    dataset = spared(experiment, experiment.dataset.build_as(Dataset))
    if experiment.condition == "none" or (experiment.condition in IN_TRAINING and not trained_on):
        return dataset
    if experiment.condition == "clusters":
        return clustered(dataset, str(experiment.dataset))
    both = conditioned(dataset, str(experiment.dataset))
    return replace(both, test=dataset.test) if experiment.condition == "training" else both


def classes_of(experiment: Experiment, dataset: Dataset) -> int | None:
    """Number of classes of the condition, be it in training only; None for an operator f(x)."""
    return None if experiment.condition == "none" else dataset.conditions


def clusters_hash(experiment: Experiment, dataset: Dataset, engine: Engine) -> str | None:
    """Hash of the clusters that are the condition in training, or None. All processes must call this.

    Raises:
        Failure: if the processes found different clusters.
    """
    found = getattr(dataset.train, "condition", None) if experiment.condition == "clusters" else None
    if found is None:
        return None
    own = fingerprint({"cluster": found})[:15]
    if not engine.alone and len(set(engine.rows(torch.tensor(int(own, 16), device=engine.device)).tolist())) > 1:
        raise Failure(
            "the processes found different clusters of the training samples",
            where=_WHERE,
            expected="the same data; on another machine, rounding can decide which clusters are found",
            next_step="set IDEMLAB_CACHE to a folder that all machines share",
        )
    return own


def under_clusters(now: str | None, run: Path) -> Callable[[Mapping[str, Any]], None]:
    """A check of a checkpoint's state: it refuses to resume a run under clusters with another hash, as each learned vector
    would serve another cluster.
    """

    def check(state: Mapping[str, Any]) -> None:
        if state.get("clusters") != now:
            raise Failure(
                "the checkpoint was not written under these clusters of the training samples",
                where=str(run),
                expected="the same data; on another machine, rounding can decide which clusters are found",
                next_step="resume where the run began, or copy the folder 'clusters' of the cache there (IDEMLAB_CACHE)",
            )

    return check


def conditioned(dataset: Dataset, name: str) -> Dataset:
    """The same data with their labels as the condition, too.

    Args:
        name: of the data set, for messages.

    Raises:
        BadInput: if labels or the number of classes are missing, or labels are not class numbers below it.
    """
    for side, rows in (("train", dataset.train), ("test", dataset.test)):
        _check_none(rows, side, name)
        if rows.__getitems__([0]).label is None:
            raise BadInput(
                f"{name} has no labels to take as the condition, in {side}",
                where=_WHERE,
                expected="a class number for each sample",
                next_step="give the data labels (idemlab.Dataset, or pairs of samples and class numbers), set "
                "dataset.condition = clusters, or leave 'condition' out",
            )
    if dataset.classes is None:
        raise BadInput(
            f"{name} does not say how many classes there are",
            where=_WHERE,
            expected="`classes`, the number of classes of an idemlab.Dataset",
            next_step="give an idemlab.Dataset with `classes`",
        )
    train, test = (_conditioned(rows, dataset.classes, name) for rows in (dataset.train, dataset.test))
    return replace(dataset, train=train, test=test, conditions=dataset.classes)


def clustered(dataset: Dataset, name: str) -> Dataset:
    """The same data. The condition of a training sample is the number of its cluster; test samples have none.

    Args:
        name: of the data set, for messages.

    Raises:
        BadInput: if the data have conditions of their own; from `clusters_of`.
    """
    for side, rows in (("train", dataset.train), ("test", dataset.test)):
        _check_none(rows, side, name)
    found = clusters_of(dataset.train, name)
    sizes = torch.bincount(found)
    told = (
        f"{len(sizes)} clusters of the training samples are the condition in training; the smallest has "
        f"{counted(int(sizes[-1]), 'sample')}, the largest {int(sizes[0])}"
    )
    train = _numbered(dataset.train, found)
    return replace(dataset, train=train, conditions=len(sizes), description=(*dataset.description, told))


def _check_none(rows: MapStyle, side: str, name: str) -> None:
    if rows.__getitems__([0]).condition is not None:
        raise BadInput(
            f"{name} gives conditions of its own, in {side}",
            where=_WHERE,
            next_step="leave 'condition' out: the operator receives the conditions of the data set",
        )


def _numbered(rows: MapStyle, numbers: Tensor) -> MapStyle:
    if type(rows) is not TensorRows:  # a subclass may give its samples in a way of its own
        return _Numbered(rows, numbers)
    return TensorRows(rows.input, rows.target, numbers, rows.label)


class _Numbered:
    """A map-style set whose samples have given numbers as condition."""

    def __init__(self, rows: MapStyle, numbers: Tensor) -> None:
        self._rows, self.condition = rows, numbers

    def __len__(self) -> int:
        return len(self._rows)

    def __getitems__(self, indices: list[int]) -> Batch:
        return self._rows.__getitems__(indices).replace(condition=self.condition[indices])


def _conditioned(rows: MapStyle, classes: int, name: str) -> MapStyle:
    if type(rows) is not TensorRows:  # a subclass may give its samples in a way of its own
        return _Labelled(rows, classes, name)
    return TensorRows(rows.input, rows.target, _checked(rows.label, len(rows), classes, name), rows.label)


class _Labelled:
    """A map-style set whose batches have their labels as condition."""

    def __init__(self, rows: MapStyle, classes: int, name: str) -> None:
        self._rows, self._classes, self._name = rows, classes, name

    def __len__(self) -> int:
        return len(self._rows)

    def __getitems__(self, indices: list[int]) -> Batch:
        batch = self._rows.__getitems__(indices)
        return batch.replace(condition=_checked(batch.label, len(batch), self._classes, self._name))


def _checked(label: Tensor | None, count: int, classes: int, name: str) -> Tensor:
    """Labels as class numbers [N], int64.

    Raises:
        BadInput: if some are missing, are of another shape or type, or are no class.
    """
    if label is None:
        raise BadInput(f"{name} has samples without labels", where=_WHERE, expected="a class number for each sample")
    whole = not (label.is_floating_point() or label.is_complex() or label.dtype == torch.bool)
    if label.shape != (count,) or not whole:
        kind = str(label.dtype).removeprefix("torch.")
        raise BadInput(
            f"the labels of {name} have the shape {list(label.shape)} and the type {kind}",
            where=_WHERE,
            expected=f"one class number for each of {count} samples, [{count}], as whole numbers",
        )
    wrong = (label < 0) | (label >= classes)
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        raise BadInput(
            f"{name} has the label {int(label[first])}, and {counted(classes, 'class', 'classes')}",
            where=_WHERE,
            expected=f"labels from 0 to {classes - 1}",
            next_step="number the classes from 0, or correct `classes` of the data set",
        )
    return label.long()
