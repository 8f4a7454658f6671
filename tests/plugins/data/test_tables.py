"""Tables and arrays of numbers: what is read, what is held out, and what is refused with its row and column."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

import idemlab
from idemlab import BadInput, Dataset

ROWS = [f"{i},{i / 2},{'even' if i % 2 == 0 else 'odd'},x{i}" for i in range(25)]
GOOD = "\n".join(["a,b,kind,note", *ROWS])


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Dataset]:
    """A function that writes a file and builds the data set of it."""

    def make(content: Any, name: str, **arguments: Any) -> Dataset:
        path = tmp_path / ("table.csv" if isinstance(content, str) else "table.parquet" if name == "table" else "a.npz")
        if isinstance(content, str):
            path.write_text(content)
        elif name == "table":
            content.to_parquet(path)
        else:
            np.savez(path, **content)
        return idemlab.installed().check("dataset", {"name": name, "path": str(path), **arguments}, "here").build()

    return make


def test_a_table_holds_out_every_tenth_row_and_tells_what_it_leaves_out(build: Callable[..., Dataset]) -> None:
    dataset = build(GOOD, "table", columns=["b", "a"], label="kind")
    assert (dataset.shape, dataset.classes, len(dataset.train), len(dataset.test)) == ((2,), 2, 23, 2)
    test = dataset.test.__getitems__([0, 1])
    assert test.input.tolist() == [[4.5, 9.0], [9.5, 19.0]]
    assert test.label is not None
    assert test.label.tolist() == [1, 1]  # odd
    assert dataset.description == (
        "23 rows to train on, 2 (every tenth, at least two) to test on",
        "2 columns: b, a",
        "left out: note",
        "2 classes: even (13), odd (12)",
    )


def test_parquet_and_csv_give_the_same(build: Callable[..., Dataset]) -> None:
    frame = pandas.DataFrame({"a": range(25), "b": [i / 2 for i in range(25)], "kind": ["even", "odd"] * 12 + ["even"]})
    one, other = (build(content, "table", columns=["a", "b"], label="kind") for content in (GOOD, frame))
    for split in ("train", "test"):
        rows = [getattr(each, split).__getitems__(list(range(2))) for each in (one, other)]
        assert torch.equal(rows[0].input, rows[1].input)
        assert torch.equal(rows[0].label, rows[1].label)


def test_a_table_is_standardised_by_its_training_rows(build: Callable[..., Dataset], tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("b,a\n1,2\n3,4\n")
    dataset = build("a,b\n0,10\n2,30\n", "table", test=str(tmp_path / "test.csv"), standardise=True)
    assert dataset.train.__getitems__([0, 1]).input.tolist() == [[-1, -1], [1, 1]]
    assert dataset.test.__getitems__([0]).input.tolist() == [[1.0, -1.9]]


def test_rows_that_are_not_complete_can_be_left_out(build: Callable[..., Dataset]) -> None:
    content = "a,b,kind\n" + "1,2,0\n,2,0\n1,2,\n" * 4
    dataset = build(content, "table", label="kind", incomplete="leave out")
    assert len(dataset.train) + len(dataset.test) == 4
    assert "left out of table.csv, not complete: 8 rows, first row 1: column 'a' is empty" in dataset.description


@pytest.mark.parametrize(
    ("content", "arguments", "what"),
    [
        (GOOD, {}, "column 'kind' holds no numbers: row 0 has 'even'"),
        (GOOD, {"columns": ["a", "c"]}, "there is no column 'c'"),
        (GOOD, {"columns": ["a"], "label": "knd"}, "there is no column 'knd'"),
        (GOOD, {"columns": ["a", "a"]}, "'columns' names a column twice"),
        (GOOD, {"columns": ["a"], "label": "a"}, "column 'a' is the label and a feature"),
        ("a,b\n1,2\n3,\n5,6\n7,\n", {}, "row 1 is not complete: column 'b' is empty; the same holds for 1 other row"),
        ("a,b\n1,2\n3,inf\n5,6\n", {}, "row 1 of column 'b' is infinite"),
        ("a,b\n1,2\n3,4\n5,-1\n", {"label": "b"}, "row 2 is not complete: its label in 'b' is negative (-1)"),
        ("a,b\n1,2\n3,4\n5,0.5\n", {"label": "b"}, "row 2 is not complete: its label in 'b' is the fraction 0.5"),
        ("a,a\n1,2\n", {}, "two columns are called 'a'"),
        ("1,2\n3,4\n", {}, "the first line of table.csv holds numbers: 1, 2"),
        ("a,b\n1,2,3\n1,2,3\n", {}, "table.csv cannot be read as a table"),
        ("a,b\n1,2\n1,2,3\n", {}, "table.csv cannot be read as a table"),
        ("a,b\n", {}, "table.csv has no rows"),
        ("", {}, "table.csv cannot be read as a table"),
        ("a;b\n1;2\n", {}, "column 'a;b' holds no numbers: row 0 has '1;2'"),
        ("a\n1\n2\n", {}, "the set has 2 rows"),
        ("a\n9007199254740995\n1\n2\n", {}, "column 'a' has whole numbers beyond 2^53"),
        ("a\n1\n1\n1\n", {"standardise": True}, "column 'a' has the same value in all training rows"),
        (pandas.DataFrame({"a": [1.0, float("nan"), 3.0]}), {}, "row 1 is not complete: column 'a' is empty"),
        ("a\nx\ny\nz\n", {}, "column 'a' holds no numbers: row 0 has 'x'"),
    ],
)
def test_a_table_that_has_no_one_meaning_is_refused(
    content: Any, arguments: dict[str, Any], what: str, build: Callable[..., Dataset]
) -> None:
    with pytest.raises(BadInput) as caught:
        build(content, "table", **arguments)
    assert caught.value.what.startswith(what)
    assert "table" in str(caught.value.where)


def _images(count: int) -> Any:
    return np.arange(count * 12, dtype=np.uint8).reshape(count, 4, 3)


def test_arrays_of_numbers_and_of_images(build: Callable[..., Dataset]) -> None:
    numbers = np.arange(24, dtype=np.float64).reshape(12, 2)
    dataset = build({"x_train": numbers, "extra": np.zeros(3)}, "npz")
    assert (dataset.shape, dataset.range, dataset.classes) == ((2,), None, None)
    assert (len(dataset.train), len(dataset.test)) == (10, 2)
    assert "left out: extra" in dataset.description
    arrays = {
        "x_train": _images(5),
        "y_train": np.array([0, 1, 0, 1, 3]),
        "x_test": _images(2),
        "y_test": np.array([[1], [3]]),
    }
    images = build(arrays, "npz")
    assert (images.shape, images.range, images.classes) == ((1, 4, 3), (-1.0, 1.0), 3)
    label = images.test.__getitems__([0, 1]).label
    assert label is not None
    assert label.tolist() == [1, 2]
    coloured = build({"images": np.zeros((4, 5, 6, 3), dtype=np.uint8)}, "npz", samples="images")
    assert coloured.shape == (3, 5, 6)


X = np.ones((12, 2), dtype=np.float32)


@pytest.mark.parametrize(
    ("arrays", "arguments", "what"),
    [
        ({"images": X}, {}, "there is no array 'x_train'"),
        ({"x_train": X.astype(int)}, {}, "samples cannot be of type int64"),
        ({"x_train": X.astype(np.float16)}, {}, "samples cannot be of type float16"),
        ({"x_train": X.astype(complex)}, {}, "samples cannot be of type complex128"),
        ({"x_train": np.array([[1.0, 2.0], [1.0, np.nan]])}, {}, "row 1 holds nan at [1]"),
        ({"x_train": X * 2}, {"range": [0, 1]}, "row 0 holds 2.0 at [0], outside of the range"),
        ({"x_train": X[:, 0]}, {}, "samples cannot have the shape [12]"),
        ({"x_train": X, "y_train": np.zeros(5, int)}, {}, "labels of shape [5] for 12 samples"),
        ({"x_train": X, "y_train": np.full(12, -1)}, {}, "row 0 has no class: its label is negative (-1)"),
        (
            {"x_train": X, "y_train": np.zeros(12, int), "x_test": X},
            {},
            "only one of the training and the test samples",
        ),
        ({"x_train": X, "x_test": X[:, :1]}, {}, "samples of shape [2] to train on, and of [1] to test on"),
        ({"x_train": np.array([[object()]] * 4)}, {}, "a.npz cannot be read: Object arrays"),
    ],
)
def test_arrays_that_have_no_one_meaning_are_refused(
    arrays: dict[str, Any], arguments: dict[str, Any], what: str, build: Callable[..., Dataset]
) -> None:
    with pytest.raises(BadInput) as caught:
        build(arrays, "npz", **arguments)
    assert caught.value.what.startswith(what)
    assert "a.npz" in str(caught.value.where)


@pytest.mark.parametrize("name", ["npz", "table"])
def test_a_file_that_is_missing_or_damaged_is_refused(name: str, tmp_path: Path) -> None:
    for content in (None, b"PK\x03\x04 no more"):
        path = tmp_path / ("a.npz" if name == "npz" else "a.parquet")
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(BadInput):
            idemlab.installed().check("dataset", {"name": name, "path": str(path)}, "here").build()
