"""Arrays of an .npz file as a data set."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from idemlab import BadInput, Dataset, TensorRows, nearest_match

from .images import counted, fixed_share
from .labels import Labels, NoClass, class_key, count_classes, short

__all__ = ["npz"]

Array = np.ndarray[Any, np.dtype[Any]]


def npz(
    path: Path,
    *,
    samples: str,
    labels: str | None,
    test: str | None,
    test_labels: str | None,
    range: tuple[float, float] | None,
) -> Dataset:
    """A data set of arrays by name.

    Raises:
        BadInput: names the array, and the row of what is no number or no class.
    """
    arrays = _read(path)
    labels = labels if labels is not None else _there(arrays, "y_train")
    test = test if test is not None else _there(arrays, "x_test")
    test_labels = test_labels if test_labels is not None else (_there(arrays, "y_test") if test else "")
    for name in filter(None, (samples, labels, test, test_labels)):
        if name not in arrays:
            raise BadInput(
                f"there is no array '{short(name)}'",
                where=str(path),
                choices=sorted(arrays),
                nearest=nearest_match(name, arrays),
                next_step="name the array of the training samples as 'samples', and that of their classes as 'labels'",
            )
    if test and bool(labels) != bool(test_labels):
        raise BadInput(
            "only one of the training and the test samples has labels",
            where=str(path),
            choices=sorted(arrays),
            next_step="name the other array as 'labels' or 'test_labels', or give labels = \"\" and test_labels = \"\"",
        )
    names = [samples, *([test] if test else [])]
    parts = [_samples(arrays[name], f"{path}, array '{name}'", range) for name in names]
    keys = [
        _keys(arrays[name], len(arrays[of]), f"{path}, array '{name}'")
        for of, name in zip(names, (labels, test_labels), strict=False)
        if name
    ]
    if test and parts[0].shape[1:] != parts[1].shape[1:]:
        raise BadInput(
            f"samples of shape {list(parts[0].shape[1:])} to train on, and of {list(parts[1].shape[1:])} to test on",
            where=str(path),
        )
    if not test:
        shares = fixed_share(len(parts[0]), "row")
        parts = [parts[0][share] for share in shares]
        keys = [[each[row] for row in share] for each in keys for share in shares]
    which = f"of array '{test}'" if test else "(every tenth, at least two)"
    notes = [f"{counted(len(parts[0]), 'row')} of array '{samples}' to train on, {len(parts[1])} {which} to test on"]
    others = sorted(set(arrays) - {samples, labels, test, test_labels})
    notes += [f"left out: {', '.join(map(short, others))}"] if others else []
    found = count_classes(keys) if keys else None
    notes += [found.sentence] if found else []
    images = parts[0].dtype == torch.uint8
    if images:
        notes.append("bytes are read as images, 0 to 255 scaled to [-1, 1]")
    return Dataset(
        train=_rows(parts, found, 0),
        test=_rows(parts, found, 1),
        shape=tuple(parts[0].shape[1:]),
        range=(-1.0, 1.0) if images else range,
        classes=len(found.names) if found else None,
        description=tuple(notes),
    )


def _rows(parts: list[Tensor], labels: Labels | None, split: int) -> TensorRows:
    return TensorRows(parts[split], label=labels.numbers[split] if labels else None)


def _there(arrays: dict[str, Array], name: str) -> str:
    return name if name in arrays else ""


def _read(path: Path) -> dict[str, Array]:
    if not path.is_file():
        raise BadInput(f"there is no file {path}", expected="a file that numpy.savez has written")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it holds a single array, without a name")
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise BadInput(
            f"{path.name} cannot be read: {' '.join(str(error).split())[:200]}",
            where=str(path),
            expected="a file that numpy.savez has written, with arrays of numbers",
        ) from error


def _samples(array: Array, where: str, range: tuple[float, float] | None) -> Tensor:
    """The samples [N, *shape]; images get their channels first."""
    if array.ndim < 2 or not array.size:
        raise BadInput(
            f"samples cannot have the shape {list(array.shape)}", where=where, expected="[samples, ...], not empty"
        )
    if array.dtype == np.uint8:
        if range is not None:
            raise BadInput("bytes are images, whose range is [-1, 1]", where=where, next_step="leave 'range' out")
        if array.ndim == 3:
            array = array[:, None]
        elif array.ndim == 4 and array.shape[1] not in (1, 3) and array.shape[3] in (1, 3):
            array = np.moveaxis(array, 3, 1)
        return torch.from_numpy(np.ascontiguousarray(array))
    if array.dtype not in (np.float32, np.float64):
        raise BadInput(
            f"samples cannot be of type {array.dtype}",
            where=where,
            expected="float32, float64, or uint8 for images",
            next_step="save them as array.astype('float32')",
        )
    for place in np.argwhere(~np.isfinite(array))[:1]:
        raise BadInput(
            f"row {place[0]} holds {array[tuple(place)]} at {place[1:].tolist()}",
            where=where,
            expected="finite numbers",
        )
    if range is not None:
        for place in np.argwhere((array < range[0]) | (array > range[1]))[:1]:
            raise BadInput(
                f"row {place[0]} holds {array[tuple(place)]} at {place[1:].tolist()}, outside of the range",
                where=where,
                expected=f"numbers from {range[0]:g} to {range[1]:g}",
            )
    return torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))))


def _keys(array: Array, count: int, where: str) -> list[int | str]:
    if array.shape not in ((count,), (count, 1)):
        raise BadInput(
            f"labels of shape {list(array.shape)} for {counted(count, 'sample')}", where=where, expected=f"[{count}]"
        )
    keys = []
    for row, value in enumerate(array.reshape(-1).tolist()):
        try:
            keys.append(class_key(value))
        except NoClass as fault:
            raise BadInput(
                f"row {row} has no class: its label {fault}", where=where, expected="whole numbers from 0 up"
            ) from None
    return keys
