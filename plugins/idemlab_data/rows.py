"""The rows of a table that have an image and one class; the others are refused, or left out and reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import datasets
import pyarrow as pa
import pyarrow.compute as pc

from idemlab import BadInput

from .images import counted
from .labels import NoClass, class_key

__all__ = ["Incomplete", "WholeRows", "whole_rows"]

Incomplete = Literal["refuse", "leave out"]
"""What becomes of rows without an image, or without one class."""


@dataclass(frozen=True)
class WholeRows:
    """Rows with an image and, where there are labels, one class.

    Args:
        indices: their numbers in the table, from 0.
        classes: the class of each, if there are labels.
        names: of the classes that numbers stand for, where the table has them.
        left_out: sentences on the others.
    """

    indices: list[int]
    classes: list[int | str]
    names: Sequence[str] | None
    left_out: list[str]

    def part(self, places: list[int]) -> WholeRows:
        """Some of these rows, by position."""
        return replace(
            self,
            indices=[self.indices[place] for place in places],
            classes=[self.classes[place] for place in places] if self.classes else [],
        )


def whole_rows(rows: Any, image: str, label: str | None, title: str, incomplete: Incomplete) -> WholeRows:
    """Go through the labels and the cells of images of one split, without reading an image.

    Args:
        rows: a `datasets.Dataset` whose image column is not decoded.
        title: of the split, for messages.

    Raises:
        BadInput: at the first row without an image or without one class, unless such rows are left out; if none is left.
    """
    feature = rows.features[label] if label else None
    names = feature.names if isinstance(feature, datasets.ClassLabel) else None
    empty = _without_image(rows, image)
    values: Sequence[Any] = [None] * len(rows)
    if label:
        values = _column(rows, label).to_pylist()
    indices, classes, bad_images, bad_labels = [], [], [], []
    for row, (value, no_image) in enumerate(zip(values, empty, strict=True)):
        if no_image:
            bad_images.append(row)
            continue
        try:
            if label:
                classes.append(class_key(value, names))
        except NoClass as fault:
            bad_labels.append((row, str(fault)))
        else:
            indices.append(row)
    if incomplete == "refuse" and bad_images:
        raise _refusal(f"row {bad_images[0]} has no image", len(bad_images), title, "an image in each row")
    if incomplete == "refuse" and bad_labels:
        row, why = bad_labels[0]
        what = f"row {row} has no class: its label in '{label}' {why}"
        raise _refusal(what, len(bad_labels), title, "one class a row: a text, or a whole number from 0 up")
    left_out = []
    if bad_images:
        left_out.append(f"left out, without an image: {counted(len(bad_images), 'row')}, first row {bad_images[0]}")
    if bad_labels:
        row, why = bad_labels[0]
        left_out.append(
            f"left out, without a class: {counted(len(bad_labels), 'row')}, first row {row}, whose label {why}"
        )
    if not indices:
        raise BadInput(
            f"there is no row with an image{' and a class' if label else ''}",
            where=title,
            next_step="choose another column as 'label', or label = \"\" for none"
            if bad_labels
            else "give another file",
        )
    return WholeRows(indices, classes, names, left_out)


def _refusal(what: str, count: int, title: str, expected: str) -> BadInput:
    others = f"; the same holds for {counted(count - 1, 'other row')}" if count > 1 else ""
    return BadInput(
        what + others,
        where=title,
        expected=f"{expected}; rows are counted from 0",
        next_step='correct the file, or leave such rows out with incomplete = "leave out"',
    )


def _column(rows: Any, name: str) -> pa.ChunkedArray:
    return rows.select_columns([name]).with_format("arrow")[:].column(name)


def _without_image(rows: Any, image: str) -> list[bool]:
    """For each row whether its cell is empty: neither bytes nor a path."""
    empty: list[bool] = []
    for chunk in _column(rows, image).chunks:
        fields = dict(zip((field.name for field in chunk.type), chunk.flatten(), strict=True))
        missing = [
            pc.fill_null(pc.equal(pc.binary_length(fields[name]), 0), True)
            for name in ("bytes", "path")
            if name in fields
        ]
        empty += pc.and_(missing[0], missing[-1]).to_pylist()
    return empty
