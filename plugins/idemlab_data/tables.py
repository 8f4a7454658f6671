"""Tables of numbers, from CSV or Parquet files: each row a sample, each column an entry of it."""

from __future__ import annotations

import csv
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import torch

from idemlab import BadInput, Dataset, TensorRows, nearest_match

from .images import counted, fixed_share
from .labels import NoClass, class_key, count_classes, short
from .rows import Incomplete

__all__ = ["table"]

_EXACT = 2**53
"""Whole numbers up to this one are exact as floating-point numbers."""
_LISTED = 8


@dataclass(frozen=True)
class _Rows:
    """The usable rows of one file.

    Args:
        numbers: of the chosen columns, [N, n].
        classes: the class of each row, if there are labels.
        notes: sentences on what was left out.
    """

    numbers: np.ndarray[Any, np.dtype[np.float64]]
    classes: list[int | str]
    notes: list[str]


def table(
    path: Path,
    *,
    columns: Sequence[str] | None,
    label: str | None,
    test: Path | None,
    separator: str,
    standardise: bool,
    incomplete: Incomplete,
) -> Dataset:
    """A data set of the rows of one file, or of two.

    Raises:
        BadInput: names the row and the column of what is no number or no class.
    """
    frames = [_read(file, separator) for file in (path, *([] if test is None else [test]))]
    used = _chosen(frames[0], columns, label, path)
    if test is not None:
        _check_columns(frames[1], [*used, *([label] if label else [])], test)
    files = [path] if test is None else [path, test]
    parts = [_rows(frame, used, label, file, incomplete) for frame, file in zip(frames, files, strict=True)]
    others = [str(name) for name in frames[0].columns if name not in used and name != label]
    notes = [f"{counted(len(used), 'column')}: {_listed(used)}"] + ([f"left out: {_listed(others)}"] if others else [])
    for part in parts:
        notes += part.notes
    if test is None:
        shares = fixed_share(len(parts[0].numbers), "row")
        numbers = [parts[0].numbers[share] for share in shares]
        classes = [[parts[0].classes[row] for row in share] for share in shares] if label else []
    else:
        numbers, classes = [part.numbers for part in parts], [part.classes for part in parts]
    which = "(every tenth, at least two)" if test is None else f"of {short(test.name)}"
    notes.insert(0, f"{counted(len(numbers[0]), 'row')} to train on, {len(numbers[1])} {which} to test on")
    if standardise:
        numbers = _standardised(numbers, used, path)
        notes.append("each column less its mean and divided by its standard deviation, those of the training rows")
    labels = count_classes(classes) if label else None
    notes += [labels.sentence] if labels else []
    train, held = (
        TensorRows(torch.from_numpy(each), label=labels.numbers[i] if labels else None)
        for i, each in enumerate(numbers)
    )
    return Dataset(
        train=train,
        test=held,
        shape=(len(used),),
        classes=len(labels.names) if labels else None,
        description=tuple(notes),
    )


def _read(path: Path, separator: str) -> pandas.DataFrame:
    if not path.is_file():
        raise BadInput(f"there is no file {path}", expected="a CSV or a Parquet file")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            frame = pandas.read_parquet(path)
        else:
            _check_header(path, separator)
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # a row with too many cells would lose them
                frame = pandas.read_csv(path, sep=separator, index_col=False, skipinitialspace=True, low_memory=False)
    except BadInput:
        raise
    except Exception as error:
        raise BadInput(
            f"{path.name} cannot be read as a table: {' '.join(str(error).split())[:200]}",
            where=str(path),
            expected="a CSV file with one line of names above, or a Parquet file",
        ) from error
    if not len(frame):
        raise BadInput(f"{path.name} has no rows", where=str(path))
    return frame


def _check_header(path: Path, separator: str) -> None:
    """Refuse names that occur twice or are numbers: pandas would rename them, or a row of data would be taken for names."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        names = next(csv.reader(file, delimiter=separator, skipinitialspace=True), [])
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise BadInput(f"two columns are called '{short(twice[0])}'", where=str(path), next_step="rename one of them")
    if names and all(_is_number(name) for name in names):
        raise BadInput(
            f"the first line of {path.name} holds numbers: {_listed(names)}",
            where=str(path),
            expected="a line with the names of the columns above the rows",
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _chosen(frame: pandas.DataFrame, columns: Sequence[str] | None, label: str | None, path: Path) -> list[str]:
    """The columns that samples are made of."""
    names = [str(name) for name in frame.columns]
    _check_columns(frame, [*(columns or []), *([label] if label else [])], path)
    used = list(columns) if columns is not None else [name for name in names if name != label]
    if label in used:
        raise BadInput(
            f"column '{label}' is the label and a feature", where=str(path), next_step="leave it out of 'columns'"
        )
    if len(set(used)) < len(used) or not used:
        raise BadInput(
            "'columns' names a column twice" if used else "there are no columns", where=str(path), choices=names
        )
    for name in used:
        kind = frame[name].dtype
        if not pandas.api.types.is_numeric_dtype(kind) or pandas.api.types.is_complex_dtype(kind):
            odd = [(i, value) for i, value in enumerate(frame[name]) if not isinstance(value, (int, float))]
            row, value = odd[0] if odd else (0, frame[name].iloc[0])
            raise BadInput(
                f"column '{short(name)}' holds no numbers: row {row} has '{short(str(value))}'",
                where=str(path),
                expected="numbers in all columns; rows are counted from 0",
                next_step=f"name the columns of numbers in 'columns'{'' if label else ', or this one as the label'}",
            )
    return used


def _check_columns(frame: pandas.DataFrame, wanted: Sequence[str], path: Path) -> None:
    names = [str(name) for name in frame.columns]
    for name in wanted:
        if name not in names:
            raise BadInput(
                f"there is no column '{short(name)}'",
                where=str(path),
                choices=names,
                nearest=nearest_match(name, names),
            )


def _rows(frame: pandas.DataFrame, used: list[str], label: str | None, path: Path, incomplete: Incomplete) -> _Rows:
    numbers = frame[used].to_numpy(dtype=np.float64, na_value=np.nan)
    for place in np.argwhere(np.isinf(numbers))[:1]:
        raise BadInput(
            f"row {place[0]} of column '{used[place[1]]}' is infinite", where=str(path), expected="finite numbers"
        )
    for i, name in enumerate(used):
        if pandas.api.types.is_integer_dtype(frame[name].dtype) and np.abs(numbers[:, i]).max(initial=0) > _EXACT:
            raise BadInput(
                f"column '{name}' has whole numbers beyond 2^53, which would be rounded",
                where=str(path),
                next_step="name the columns to use in 'columns': is this one an identifier?",
            )
    empty = np.isnan(numbers)
    classes: list[int | str] = []
    faults = {int(row): f"column '{used[int(np.argmax(empty[row]))]}' is empty" for row in np.flatnonzero(empty.any(1))}
    keep: list[int] = []
    values: list[Any] = [0] * len(frame)
    if label:
        values = [None if pandas.isna(value) else value for value in frame[label].tolist()]
    for row, value in enumerate(values):
        if row in faults:
            continue
        try:
            key = class_key(value)
        except NoClass as fault:
            faults[row] = f"its label in '{label}' {fault}"
            continue
        keep.append(row)
        classes.append(key)
    if faults and (incomplete == "refuse" or not keep):
        row = min(faults)
        raise BadInput(
            f"row {row} is not complete: {faults[row]}"
            + (f"; the same holds for {counted(len(faults) - 1, 'other row')}" if len(faults) > 1 else ""),
            where=str(path),
            expected="a number in each column, and one class a row; rows are counted from 0",
            next_step='correct the file, or leave such rows out with incomplete = "leave out"',
        )
    notes = []
    if faults:
        row = min(faults)
        notes = [
            f"left out of {short(path.name)}, not complete: {counted(len(faults), 'row')}, first row {row}: {faults[row]}"
        ]
    return _Rows(np.ascontiguousarray(numbers[keep]), classes if label else [], notes)


def _standardised(parts: list[Any], used: list[str], path: Path) -> list[Any]:
    mean, scale = parts[0].mean(0), parts[0].std(0)
    if not (scale > 0).all():
        name = used[int(np.argmin(scale))]
        raise BadInput(
            f"column '{name}' has the same value in all training rows, so it cannot be scaled",
            where=str(path),
            next_step="leave it out of 'columns'",
        )
    return [(part - mean) / scale for part in parts]


def _listed(names: Sequence[str]) -> str:
    shown = [short(name) for name in names[:_LISTED]]
    return ", ".join([*shown, *(["..."] if len(names) > _LISTED else [])])
