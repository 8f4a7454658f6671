"""Checks of datasets: batches by index, the declared shape and range, and no test sample in train."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ...contracts.dataset import Batch, Dataset, MapStyle, TensorRows
from ...contracts.specs import DatasetSpec
from ...wording import counted
from ..kit import at_most, check, must
from ..subject import Subject

__all__: list[str] = []

_CHUNK = 512
_MOST = 20_000
"""Number of samples of a set that are checked, evenly spaced; all samples of a smaller set."""


def _parts(dataset: Dataset) -> dict[str, MapStyle]:
    return {"train": dataset.train, "test": dataset.test}


def _some(rows: MapStyle, count: int = 8) -> list[int]:
    """At most `count` indices, evenly spaced."""
    total = len(rows)
    count = min(count, total)
    return [i * total // count for i in range(count)]


def _chunks(rows: MapStyle) -> Iterator[Batch]:
    indices = _some(rows, _MOST)
    for start in range(0, len(indices), _CHUNK):
        yield rows.__getitems__(indices[start : start + _CHUNK])


def _tensors(batch: Batch) -> dict[str, Tensor]:
    fields: dict[str, Any] = {"input": batch.input, "target": batch.target}
    fields |= {"condition": batch.condition, "label": batch.label}
    return {name: value for name, value in fields.items() if value is not None}


@check(
    "dataset", cause="`shape` must be the shape of one sample without the batch: images are (channels, height, width)"
)
def samples_have_the_shape(subject: Subject) -> None:
    """Train and test are not empty; inputs and targets of every batch have the dataset's shape, as uint8 or floats."""
    dataset: Dataset = subject.built
    for part, rows in _parts(dataset).items():
        must(len(rows) > 0, f"{part} is empty")
        for size in (1, 2, 5):
            indices = [i % len(rows) for i in range(size)]
            batch = rows.__getitems__(indices)
            must(
                isinstance(batch, Batch),
                f"__getitems__ of {part} returned {type(batch).__name__}, not an idemlab.Batch",
            )
            expected = [size, *dataset.shape]
            for name, value in _tensors(batch).items():
                must(
                    len(value) == size,
                    f"{counted(size, 'index', 'indices')} of {part} gave {counted(len(value), 'row')} of {name}",
                )
            for name, value in (("inputs", batch.input), ("targets", batch.target)):
                must(list(value.shape) == expected, f"{name} of {part} are {list(value.shape)}, not {expected}")
                fine = value.dtype == torch.uint8 or value.dtype.is_floating_point
                must(fine, f"{name} of {part} are {value.dtype}, neither uint8 nor floating point")


@check("dataset", cause="__getitems__ sorts, shuffles or ignores its indices, or augments at random")
def batches_follow_their_indices(subject: Subject) -> None:
    """A batch has the samples of its indices, in their order, and the same ones every time."""
    dataset: Dataset = subject.built
    for part, rows in _parts(dataset).items():
        forward = _some(rows)
        there, back = rows.__getitems__(forward), rows.__getitems__(forward[::-1])
        twice = rows.__getitems__([forward[0], forward[0]])
        for name, value in _tensors(there).items():
            other = _tensors(back)[name].flip(0)
            must(torch.equal(value, other), f"the {name}s of {part} do not follow the order of the indices")
            one, two = _tensors(twice)[name]
            must(torch.equal(one, two) and torch.equal(one, value[0]), f"one index of {part} has several {name}s")


@check("dataset", cause="`range` must be the range after scaling; uint8 images are scaled from 0..255 to it")
def samples_are_in_range(subject: Subject) -> None:
    """All samples are finite, and within the range if there is one."""
    dataset: Dataset = subject.built
    low, high = dataset.range or (-torch.inf, torch.inf)
    for part, rows in _parts(dataset).items():
        for batch in _chunks(rows):
            x = batch.to("cpu", torch.float64, dataset.range).input
            must(bool(torch.isfinite(x).all()), f"samples of {part} are not finite")
            at_most(
                max(low - x.min(), x.max() - high), 1e-6, f"how far samples of {part} leave the range [{low}, {high}]"
            )


@check("dataset", cause="samples were repeated or augmented before the split, or test is a part of train")
def no_test_sample_is_in_train(subject: Subject) -> None:
    """No sample occurs both in train and in test."""
    dataset: Dataset = subject.built
    seen = {row.numpy().tobytes() for batch in _chunks(dataset.train) for row in batch.input}
    common = sum(row.numpy().tobytes() in seen for batch in _chunks(dataset.test) for row in batch.input)
    at_most(common, 0, "test samples that are in train, too")


@check("dataset", cause="its own randomness is not seeded: draw from idemlab.step.generator(name, seed)")
def deterministic(subject: Subject) -> None:
    """Built again, it has the same samples, and it does not use the global generator."""
    before = torch.get_rng_state()
    again: Dataset = subject.build()
    must(torch.equal(torch.get_rng_state(), before), "it drew from the global generator")
    for (part, rows), other in zip(_parts(subject.built).items(), _parts(again).values(), strict=True):
        must(len(rows) == len(other), f"built again, {part} has {counted(len(other), 'sample')}, not {len(rows)}")
        a, b = (_tensors(each.__getitems__(_some(rows, 64))) for each in (rows, other))
        must(all(torch.equal(a[name], b[name]) for name in a), f"built again, {part} has other samples")


@check(
    "dataset", cause="an open file, a lambda or a lock among its attributes: samples are decoded in worker processes"
)
def workers_can_have_it(subject: Subject) -> None:
    """A set that is not kept in memory can be sent to other processes."""
    for part, rows in _parts(subject.built).items():
        if not isinstance(rows, TensorRows):
            sent: MapStyle = pickle.loads(pickle.dumps(rows))
            some = _some(rows)
            same = torch.equal(sent.__getitems__(some).input, rows.__getitems__(some).input)
            must(same, f"{part} gives other samples in another process")


@check(
    "dataset",
    cause="`classes` must be the number of classes, labels count from 0, and `distance` measures from the data's manifold, "
    "and `projection` is that of the exact operator",
)
def labels_and_distance_are_true(subject: Subject) -> None:
    """Labels are class numbers; data lie on their manifold, and an exact operator keeps targets, where these are known."""
    dataset: Dataset = subject.built
    may_have = not isinstance(subject.entry.spec, DatasetSpec) or subject.entry.spec.labels
    for part, rows in _parts(dataset).items():
        some = rows.__getitems__(_some(rows, 256))
        must(dataset.classes is None or some.label is not None, f"there are classes, and {part} has no labels")
        must(may_have or some.label is None, f"its spec says labels=False, and {part} has labels")
        if dataset.classes is not None and some.label is not None:
            must(some.label.shape == (len(some),), f"labels of {part} are {list(some.label.shape)}, not [B]")
            inside = bool((some.label >= 0).all() and (some.label < dataset.classes).all())
            must(inside, f"labels of {part} are not in 0 ... {dataset.classes - 1}")
        if dataset.conditions is not None and some.condition is not None:
            inside = bool((some.condition >= 0).all() and (some.condition < dataset.conditions).all())
            must(inside, f"conditions of {part} are not in 0 ... {dataset.conditions - 1}")
        if dataset.distance is not None:
            x = some.to("cpu", torch.float32, dataset.range).input
            far, near = dataset.distance(x + 1), dataset.distance(x)
            must(near.shape == (len(x),), f"distance gives {list(near.shape)}, not [B]")
            must(bool((near >= 0).all()), "a distance is negative")
            at_most(near.max(), 1e-3 * float(far.max()), f"distance of samples of {part} to their own manifold")
        if dataset.projection is not None:
            target = some.to("cpu", torch.float32, dataset.range).target
            kept = dataset.projection(target)
            must(kept.shape == target.shape, f"projection gives {list(kept.shape)}, not {list(target.shape)}")
            off = (kept - target).abs().max()
            at_most(off, 1e-3 * float(target.abs().max()), f"change of targets of {part} by their own projection")
