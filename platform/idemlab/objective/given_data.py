"""Data from tensors, arrays and map-style data sets: checked, and put into an `idemlab.Dataset` without a copy."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from multiprocessing import get_start_method
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from ..contracts.dataset import Batch, Dataset, MapStyle, TensorRows
from ..errors import BadInput
from ..wording import counted, with_article
from .fingerprint import fingerprint

__all__ = ["Items", "as_dataset", "data_facts"]

_WHERE = "the given dataset"
_PAIR = "a pair (train, test) of tensors [N, *shape], arrays, or map-style data sets; or an idemlab.Dataset"
_CLASSES = "one class number for each sample, [N], whole numbers from 0 up"
_LOOKED_AT = 32
"""Largest number of items of a map-style set that are read to check it and to know it again."""


class Items:
    """A map-style data set of single items, read as batches.

    Args:
        items: has a length and gives, for an index, a sample (a tensor or an array) or a pair (sample, class number).
    """

    def __init__(self, items: Any) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitems__(self, indices: list[int]) -> Batch:
        fetch = getattr(self._items, "__getitems__", None)
        found = fetch(indices) if fetch else [self._items[i] for i in indices]
        return found if isinstance(found, Batch) else _stacked(found)

    @property
    def code(self) -> type:
        """The class of the set."""
        return type(self._items)


def as_dataset(value: Any) -> Dataset:
    """The dataset that a pair (train, test) stands for; an `idemlab.Dataset` itself.

    Raises:
        BadInput: if lengths, shapes, types, devices or values cannot be trained on.
    """
    if isinstance(value, Dataset):
        for side, rows in (("train", value.train), ("test", value.test)):
            _first(rows, side)
        return value
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        held = f"{len(value)} parts" if isinstance(value, (tuple, list)) else with_article(type(value).__name__)
        raise BadInput(
            f"a dataset cannot be made of {held}",
            where=_WHERE,
            expected=_PAIR,
            next_step="split your samples, for instance dataset=(x[:900], x[900:])",
        )
    sets = {side: _set_of(part, side) for side, part in zip(("train", "test"), value, strict=True)}
    first = {side: _first(rows, side) for side, rows in sets.items()}
    train, test = first["train"].input, first["test"].input
    for what, one, other in (
        ("samples of shape", list(train.shape[1:]), list(test.shape[1:])),
        ("samples of type", _type(train), _type(test)),
    ):
        if one != other:
            raise BadInput(
                f"train has {what} {one}, and test has {what} {other}",
                where=_WHERE,
                expected="train and test samples of one shape and one type",
            )
    labelled = {side: batch.label is not None for side, batch in first.items()}
    if labelled["train"] != labelled["test"]:
        raise BadInput("only one of train and test has labels", where=_WHERE, expected="labels in both, or in none")
    labels = [rows.label for rows in sets.values() if isinstance(rows, TensorRows) and rows.label is not None]
    return Dataset(
        train=sets["train"],
        test=sets["test"],
        shape=tuple(train.shape[1:]),
        range=(0.0, 1.0) if train.dtype == torch.uint8 else None,
        classes=1 + max(int(each.max()) for each in labels) if len(labels) == 2 else None,
    )


def data_facts(dataset: Dataset) -> dict[str, Any]:
    """The description of a dataset in a resolved file: the numbers of samples, their shape and type, and a hash.

    All of a set in memory is hashed, and some evenly spaced items of any other set.
    """
    batch = _look(dataset.train)
    facts: dict[str, Any] = {"train": len(dataset.train), "test": len(dataset.test)}
    facts |= {"shape": list(dataset.shape), "dtype": _type(batch.input)}
    if dataset.range is not None:
        facts["range"] = [float(end) for end in dataset.range]
    prints = [_print(rows) for rows in (dataset.train, dataset.test)]
    facts["hash"] = hashlib.sha256("".join(prints).encode()).hexdigest()[:16] if all(prints) else "drawn anew each time"
    return facts


# -- one set --------------------------------------------------------------------------------------------------------------


def _set_of(value: Any, side: str) -> MapStyle:
    """The map-style set of batches that tensors, arrays or a map-style set of items stand for."""
    if isinstance(value, (IterableDataset, DataLoader)):
        what = "a DataLoader" if isinstance(value, DataLoader) else "an iterable data set, which has no order"
        raise BadInput(
            f"{side} is {what}",
            where=_WHERE,
            expected=_PAIR,
            next_step="give the data set that it reads" if isinstance(value, DataLoader) else "read it into tensors",
        )
    if isinstance(value, TensorDataset) and len(value.tensors) <= 2:
        value = value.tensors
    if isinstance(value, (tuple, list)) and len(value) in (1, 2) and _is_array(value[0]):
        label = _labels(value[1], side) if len(value) == 2 else None
        try:
            return TensorRows(_samples(value[0], side), label=label)
        except ValueError as error:
            raise BadInput(f"{side}: {error}", where=_WHERE, expected="one label for each sample") from error
    if _is_array(value):
        return TensorRows(_samples(value, side))
    if isinstance(value, TensorRows):
        return value
    if isinstance(value, (str, bytes, list, tuple, dict)) or not (
        hasattr(value, "__getitem__") and hasattr(value, "__len__")
    ):
        raise BadInput(f"{side} is {with_article(type(value).__name__)}", where=_WHERE, expected=_PAIR)
    try:
        len(value)
    except Exception as error:  # it is the caller's
        raise BadInput(
            f"{side}, {with_article(type(value).__name__)}, has no length: {' '.join(str(error).split())}",
            where=_WHERE,
            expected="a data set whose `__len__` is the number of its samples",
        ) from error
    if get_start_method() != "fork":
        _check_sent(value, side)
    return Items(value)


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor) or hasattr(value, "__array__")


def _check_sent(items: Any, side: str) -> None:
    try:
        pickle.dumps(items)
    except Exception as error:  # its parts may raise anything
        raise BadInput(
            f"{side} cannot be sent to the processes that read it: {' '.join(str(error).split())}",
            where=_WHERE,
            expected="a data set that pickle can store",
            next_step="move its functions to the top of a module, or give tensors",
        ) from error


def _tensor(value: Any, what: str) -> Tensor:
    """A tensor, or an array as a tensor that shares its memory where it can."""
    if isinstance(value, Tensor):
        return value.detach()
    import numpy

    array = numpy.asarray(value)
    if not array.dtype.isnative:  # as in files of other machines; torch knows only this one's order
        array = array.astype(array.dtype.newbyteorder("="))
    try:
        return torch.from_numpy(array if array.flags.writeable and _forward(array) else array.copy())
    except TypeError as error:
        raise BadInput(
            f"{what} {'are' if what.startswith('the labels') else 'is'} an array of type {array.dtype}",
            where=_WHERE,
            expected=_CLASSES if what.startswith("the labels") else "floating point, or uint8 for images",
        ) from error


def _forward(array: Any) -> bool:
    """Whether torch can share the memory of an array: it has no negative strides."""
    return all(stride >= 0 for stride in array.strides)


def _samples(value: Any, side: str) -> Tensor:
    """Checked samples, [N, *shape]."""
    samples = _tensor(value, side)
    if samples.layout is not torch.strided:
        raise BadInput(
            f"{side} is a sparse tensor", where=_WHERE, expected="a dense one", next_step=f"give {side}.to_dense()"
        )
    if samples.dim() < 2:
        raise BadInput(
            f"{side} has the shape {list(samples.shape)}, so that its samples have none",
            where=_WHERE,
            expected="[N, *shape]: N samples, each with at least one dimension",
            next_step=f"give {side}[:, None] for samples of one number",
        )
    if not len(samples) or not samples[0].numel():
        raise BadInput(f"{side} is empty: its shape is {list(samples.shape)}", where=_WHERE, expected="[N, *shape]")
    return samples


def _check_values(samples: Tensor, numbers: Sequence[int], side: str) -> None:
    """Refuse samples that lie elsewhere, of a type that would be converted silently, or that are not finite."""
    if samples.device.type != "cpu":
        raise BadInput(
            f"{side} lies on the device {samples.device}",
            where=_WHERE,
            expected="samples on the CPU; each batch is moved to the device of the run",
            next_step=f"give {side}.cpu()",
        )
    if not samples.is_floating_point() and samples.dtype != torch.uint8:
        raise BadInput(
            f"{side} has samples of type {_type(samples)}",
            where=_WHERE,
            expected="floating point, or uint8 for images",
            next_step="give real and imaginary parts as channels (torch.view_as_real)"
            if samples.is_complex()
            else f"convert them yourself, for instance {side}.float()",
        )
    bad = ~torch.isfinite(samples).flatten(1).all(1)
    if bool(bad.any()):
        raise BadInput(
            f"{side} has {int(bad.sum())} of {counted(len(samples), 'sample')} with values that are not finite; "
            f"the first is number {numbers[int(bad.nonzero()[0])]}",
            where=_WHERE,
            expected="finite values",
            next_step="leave these samples out, or fill the gaps; samples are counted from 0",
        )


def _labels(value: Any, side: str) -> Tensor:
    labels = _tensor(value, f"the labels of {side}")
    whole = not labels.is_floating_point() and not labels.is_complex() and labels.dtype != torch.bool
    if labels.dim() != 1 or not whole or (len(labels) and int(labels.min()) < 0):
        raise BadInput(
            f"the labels of {side} have the shape {list(labels.shape)} and the type {_type(labels)}"
            + (", and some are negative" if whole and len(labels) and int(labels.min()) < 0 else ""),
            where=_WHERE,
            expected=_CLASSES,
            next_step="for targets of another kind, give an idemlab.Dataset",
        )
    return labels.long()


# -- looking at a set -----------------------------------------------------------------------------------------------------


def _some(rows: MapStyle) -> list[int]:
    """Numbers of some evenly spaced items."""
    count = min(len(rows), _LOOKED_AT)
    return [i * len(rows) // count for i in range(count)]


def _look(rows: MapStyle) -> Batch:
    return rows.__getitems__(_some(rows))


def _first(rows: MapStyle, side: str) -> Batch:
    """Some items of a set, checked; of a set in memory, all values are checked.

    Raises:
        BadInput: if they cannot be read, or cannot be trained on.
    """
    if not len(rows):
        raise BadInput(f"{side} is empty", where=_WHERE, expected="samples to train on, and at least two to test on")
    try:
        batch = _look(rows)
    except BadInput:
        raise
    except Exception as error:  # it is the caller's code
        raise BadInput(
            f"the items of {side} cannot be read as a batch: {type(error).__name__}: {' '.join(str(error).split())}",
            where=f"{_WHERE}, {type(rows).__name__ if not isinstance(rows, Items) else rows.code.__name__}",
            expected="each item a tensor of one shape, or a pair (tensor, class number)",
            next_step="let the data set return tensors (for images, a transform such as ToTensor)",
        ) from error
    if not isinstance(batch, Batch) or batch.input.dim() < 2:
        what = with_article(type(batch).__name__) if not isinstance(batch, Batch) else "samples without a shape"
        raise BadInput(f"{side} gives {what}", where=_WHERE, expected="samples with at least one dimension")
    if isinstance(rows, TensorRows):
        _check_values(rows.input, range(len(rows)), side)
    else:
        _check_values(batch.input, _some(rows), side)
    return batch


def _print(rows: MapStyle) -> str:
    """A hash of a set; empty for one whose items differ each time they are read."""

    def tensors(batch: Batch | TensorRows) -> dict[str, Tensor]:
        fields = {name: getattr(batch, name) for name in ("input", "target", "condition", "label")}
        return {name: t for name, t in fields.items() if t is not None}

    if isinstance(rows, TensorRows):
        return fingerprint(tensors(rows))
    once, again = (fingerprint(tensors(_look(rows)), len(rows)) for _ in range(2))
    return once if once == again else ""


def _type(t: Tensor) -> str:
    return str(t.dtype).removeprefix("torch.")


# -- items ----------------------------------------------------------------------------------------------------------------


def _stacked(items: Sequence[Any]) -> Batch:
    """One batch of single items.

    Raises:
        ValueError, RuntimeError: if they are no samples, or of different shapes.
    """
    parts = [_split(item) for item in items]
    input = torch.stack([sample for sample, _ in parts])
    labels = [label for _, label in parts if label is not None]
    if labels and len(labels) < len(parts):
        raise ValueError("some items have a label and others have none")
    return Batch(input, input, label=torch.tensor(labels) if labels else None)


def _split(item: Any) -> tuple[Tensor, int | None]:
    """(sample, label or None) of one item."""
    if _is_array(item):
        return _sample(item), None
    if isinstance(item, (tuple, list)) and len(item) == 1 and _is_array(item[0]):  # as of a TensorDataset
        return _sample(item[0]), None
    if isinstance(item, (tuple, list)) and len(item) == 2 and _is_array(item[0]):
        single = _is_array(item[1]) and not getattr(item[1], "shape", ())
        label = item[1].item() if single else item[1]
        if isinstance(label, bool) or not isinstance(label, int) or label < 0:
            raise ValueError(f"the label {_short(item[1])} is not a class number from 0 up")
        return _sample(item[0]), label
    held = f"{len(item)} parts" if isinstance(item, (tuple, list)) else with_article(type(item).__name__)
    raise ValueError(f"an item is {held}")


def _sample(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach()
    if not hasattr(value, "strides"):  # a picture of PIL has an `__array__`, but its axes are not those of a tensor
        raise ValueError(f"a sample is {with_article(type(value).__name__)}, not a tensor")
    return _tensor(value, "an item")


def _short(value: Any) -> str:
    return f"of shape {list(value.shape)}" if hasattr(value, "shape") else repr(value)[:40]
