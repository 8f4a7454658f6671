"""What labels mean, by the table of docs/data.md: each row has its variants here."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from pyarrow import parquet

from idemlab import BadInput, Dataset
from idemlab_data.hub import hub_dataset

pytestmark = pytest.mark.usefixtures("own_cache")


# -- labels: (rule, variant, labels of five rows, classes' numbers) -------------------------------------------------------

LABELS: list[tuple[str, str, Any, list[int]]] = [
    ("text", "names", ["dog", "cat", "dog", "cat", "emu"], [1, 0, 1, 0, 2]),
    ("text", "digits", ["10", "9", "10", "9", "9"], [0, 1, 0, 1, 1]),
    ("text", "of a dictionary", pa.array(["b", "a", "b", "a", "b"]).dictionary_encode(), [1, 0, 1, 0, 1]),
    ("whole number from 0 up", "in a row", [0, 1, 2, 1, 0], [0, 1, 2, 1, 0]),
    ("whole number from 0 up", "with gaps", [7, 3, 9, 3, 7], [1, 0, 2, 0, 1]),
    ("whole number from 0 up", "large", [2**62, 0, 2**62, 0, 0], [1, 0, 1, 0, 0]),
    ("whole number from 0 up", "as 1.0", [1.0, 0.0, 1.0, 2.0, 0.0], [1, 0, 1, 2, 0]),
    ("whole number from 0 up", "bytes", pa.array([1, 0, 1, 0, 1], pa.uint8()), [1, 0, 1, 0, 1]),
    (
        "whole number from 0 up",
        "decimal",
        [Decimal(3), Decimal(1), Decimal(3), Decimal(1), Decimal(1)],
        [1, 0, 1, 0, 0],
    ),
    ("true or false", "", [True, False, True, False, False], [1, 0, 1, 0, 0]),
    ("list of one", "", [[1], [0], [1], [0], [2]], [1, 0, 1, 0, 2]),
]

REFUSED_LABELS: list[tuple[str, str, Any, str]] = [
    ("missing or empty", "null", [0, 1, None, 1, 0], "is missing"),
    ("missing or empty", "null among texts", ["a", "b", None, "b", "a"], "is missing"),
    ("missing or empty", "not a number", [0.0, 1.0, float("nan"), 1.0, 0.0], "is missing"),
    ("missing or empty", "empty text", ["a", "b", "", "b", "a"], "is empty"),
    ("missing or empty", "blank text", ["a", "b", " \t", "b", "a"], "is empty"),
    ("missing or empty", "empty list", [[0], [1], [], [1], [0]], "is missing"),
    ("negative", "-1", [0, 1, -1, 1, 0], "is negative"),
    ("negative", "-5", [0, 1, -5, 1, 0], "is negative"),
    ("fraction", "0.5", [0.0, 1.0, 0.5, 1.0, 0.0], "is the fraction 0.5"),
    (
        "fraction",
        "decimal",
        [Decimal("1.0"), Decimal("1.0"), Decimal("1.5"), Decimal("2.0"), Decimal("2.0")],
        "is the fraction",
    ),
    ("several in a row", "two", [[0], [1], [0, 1], [1], [0]], "is 2 labels"),
    ("several in a row", "texts", [["a"], ["b"], ["a", "b"], ["b"], ["a"]], "is 2 labels"),
    ("anything else", "infinite", [0.0, 1.0, float("inf"), 1.0, 0.0], "is inf"),
]

NO_LABELS: dict[str, Any] = {
    "bytes": [b"a"] * 5,
    "dates": [datetime.date(2019, 2, 1)] * 5,
    "tables": [{"a": 1}] * 5,
    "nothing": pa.nulls(5),
}


def test_the_page_has_a_row_for_each_rule_of_labels_and_no_other(rules: Callable[[str], list[str]]) -> None:
    tested = {case[0] for case in [*LABELS, *REFUSED_LABELS]} | {"image cell that is empty"}
    assert sorted(rules("What a label means")) == sorted(tested)


def numbers(data: Dataset) -> list[int]:
    """The class of each image, in the order of the file."""
    return [number for _, number in pairs(data)]


def pairs(data: Dataset) -> list[tuple[float, int]]:
    rows = [part.__getitems__(list(range(len(part)))) for part in (data.train, data.test)]
    found: list[tuple[float, int]] = []
    for batch in rows:
        assert batch.label is not None
        found += zip(batch.input.flatten(1)[:, 0].tolist(), batch.label.tolist(), strict=True)
    return sorted(found)


@pytest.mark.parametrize(
    ("labels", "found"), [case[2:] for case in LABELS], ids=[f"{rule}: {what}" for rule, what, *_ in LABELS]
)
def test_labels_become_the_classes_that_occur(folder: Any, labels: Any, found: list[int]) -> None:
    data = hub_dataset(str(folder.table("x.parquet", 5, labels)), label="label")
    assert numbers(data) == found
    assert data.classes == len(set(found))


@pytest.mark.parametrize(
    ("labels", "reason"),
    [case[2:] for case in REFUSED_LABELS],
    ids=[f"{rule}: {what}" for rule, what, *_ in REFUSED_LABELS],
)
def test_what_is_no_label_is_refused_with_its_row_or_left_out(folder: Any, labels: Any, reason: str) -> None:
    path = str(folder.table("x.parquet", 5, labels))
    with pytest.raises(BadInput, match=f"row 2 has no class: its label in 'label' {reason}") as caught:
        hub_dataset(path, label="label")
    assert 'incomplete = "leave out"' in str(caught.value)
    data = hub_dataset(path, label="label", incomplete="leave out")
    assert sorted(set(numbers(data))) == [0, 1]
    assert [image for image, _ in pairs(data)] == [0, 1, 3, 4]  # rows keep their images
    assert f"left out, without a class: 1 row, first row 2, whose label {reason}" in " ".join(data.description)
    assert hub_dataset(path, label="").classes is None


@pytest.mark.parametrize("labels", NO_LABELS.values(), ids=NO_LABELS)
def test_columns_of_something_else_are_refused(folder: Any, labels: Any) -> None:
    path = str(folder.table("x.parquet", 5, labels))
    with pytest.raises(BadInput, match=r"row 0 has no class.*; the same holds for 4 other rows"):
        hub_dataset(path, label="label")
    with pytest.raises(BadInput, match="there is no row with an image and a class"):
        hub_dataset(path, label="label", incomplete="leave out")


@pytest.mark.parametrize(
    "cell", [None, {"bytes": None, "path": None}, {"bytes": b"", "path": None}, {"bytes": b"", "path": ""}]
)
def test_an_empty_cell_is_refused_with_its_row_or_left_out(
    tmp_path: Path, cell: Any, png: Callable[..., bytes]
) -> None:
    cells = [{"bytes": png(k), "path": None} for k in range(4)]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    rows = datasets.Dataset.from_dict(
        {"image": cells}, features=datasets.Features({"image": datasets.Image()})
    ).data.table
    rows = pa.table({"image": pa.array([*cells[:2], cell, *cells[2:]], kind)}, schema=rows.schema)
    parquet.write_table(rows, tmp_path / "x.parquet")
    with pytest.raises(BadInput, match="row 2 has no image"):
        hub_dataset(str(tmp_path / "x.parquet"))
    data = hub_dataset(str(tmp_path / "x.parquet"), incomplete="leave out")
    assert (len(data.train), len(data.test)) == (2, 2)
    assert "left out, without an image: 1 row, first row 2" in data.description


def test_unlabelled_rows_of_a_column_of_classes(tmp_path: Path, png: Callable[..., bytes]) -> None:
    """-1 is how sets on the hub say that a row has no class; a number beyond the list of names is none either."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    cells = [{"bytes": png(k), "path": None} for k in range(5)]
    rows = datasets.Dataset.from_dict({"image": cells, "label": [2, 0, -1, 0, 2]}, features=features)
    rows.to_parquet(str(tmp_path / "x.parquet"))
    with pytest.raises(BadInput, match=r"row 2 has no class: its label in 'label' is negative \(-1\)"):
        hub_dataset(str(tmp_path / "x.parquet"))
    data = hub_dataset(str(tmp_path / "x.parquet"), incomplete="leave out")
    assert (data.classes, numbers(data)) == (2, [1, 0, 0, 1])
    assert "2 classes: a (2), c (2)" in data.description
