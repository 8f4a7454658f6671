"""A dataset from tensors, arrays and map-style sets: read as it is, or refused in one screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

from idemlab import BadInput, Batch, Dataset, TensorRows
from idemlab.objective.given_data import Items, as_dataset, data_facts

X, Y = torch.arange(40.0).reshape(10, 4), torch.arange(10) % 3


class Listed:
    """A map-style set of any items."""

    def __init__(self, *items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


class Drawn(Listed):
    """Items that differ each time they are read, as augmented images do."""

    def __getitem__(self, index: int) -> Tensor:
        return torch.rand(4)


class Long(Listed):
    """Says another length than it has."""

    def __init__(self, length: Any) -> None:
        super().__init__(*X)
        self.length = length

    def __len__(self) -> int:
        return self.length  # type: ignore[no-any-return]


class Endless(IterableDataset[Tensor]):
    def __iter__(self) -> Any:
        return iter(X)


def reversed_array() -> Any:
    return X.numpy()[::-1]


def read_only() -> Any:
    array = X.numpy().copy()
    array.flags.writeable = False
    return array


GOOD: list[tuple[str, Any, bool]] = [
    ("tensor", X, False),
    ("array", X.numpy(), False),
    ("array backwards", reversed_array(), False),
    ("array that is read only", read_only(), False),
    ("tensor with gradient", X.clone().requires_grad_(), False),
    ("tensor and labels", (X, Y), True),
    ("arrays", [X.numpy(), Y.numpy()], True),
    ("TensorRows", TensorRows(X, label=Y), True),
    ("TensorDataset", TensorDataset(X), False),
    ("TensorDataset with labels", TensorDataset(X, Y), True),
    ("Subset", Subset(TensorDataset(X, Y), [4, 5, 6]), True),
    ("items", Listed(*X), False),
    ("items of arrays", Listed(*X.numpy()), False),
    ("pairs", Listed(*((x, int(y)) for x, y in zip(X, Y, strict=True))), True),
    ("pairs of tensors", Listed(*zip(X, Y, strict=True)), True),
    ("pairs of arrays", Listed(*zip(X.numpy(), Y.numpy(), strict=True)), True),
]


@pytest.mark.parametrize(("given", "labelled"), [case[1:] for case in GOOD], ids=[case[0] for case in GOOD])
def test_what_holds_samples_can_be_trained_on(given: Any, labelled: bool) -> None:
    dataset = as_dataset((given, given))
    assert dataset.shape == (4,)
    batch = dataset.train.__getitems__([1, 2])
    assert isinstance(batch, Batch)
    expected = X[[8, 7]] if isinstance(given, np.ndarray) and given.strides[0] < 0 else X[[1, 2]]
    expected = X[[5, 6]] if isinstance(given, Subset) else expected
    assert torch.equal(batch.input, expected)
    assert not batch.input.requires_grad
    assert batch.target is batch.input
    assert (batch.label is not None) is labelled
    if batch.label is not None and not isinstance(given, Subset):
        assert batch.label.dtype == torch.int64
        assert torch.equal(batch.label, Y[[1, 2]])
    assert dataset.classes == (3 if labelled and isinstance(dataset.train, TensorRows) else None)


def test_tensors_are_not_copied_and_images_have_a_range() -> None:
    dataset = as_dataset((X, X))
    assert isinstance(dataset.train, TensorRows)
    assert dataset.train.input.data_ptr() == X.data_ptr()
    assert dataset.range is None
    images = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    assert as_dataset((images, images)).range == (0.0, 1.0)
    own = Dataset.of_tensors(X, X)
    assert as_dataset(own) is own


NAN = X.clone()
NAN[7, 2] = torch.nan
INT, TEXT = X.long(), np.array([["a"], ["b"]])

BAD: list[tuple[Any, str]] = [
    (X, "a dataset cannot be made of a Tensor"),
    ((X,), "a dataset cannot be made of 1 parts"),
    ((X, X, X), "a dataset cannot be made of 3 parts"),
    ((X, None), "test is a NoneType"),
    ((X, "mnist"), "test is a str"),
    ((X, [1.0, 2.0]), "test is a list"),
    ((X, X[:0]), "test is empty"),
    ((X[:0], X), "train is empty"),
    ((Listed(), X), "train is empty"),
    ((X[:, 0], X), r"train has the shape \[10\], so that its samples have none"),
    ((X, X[:, :3]), r"train has samples of shape \[4\], and test has samples of shape \[3\]"),
    ((X, X.double()), "train has samples of type float32, and test has samples of type float64"),
    ((X, X.to(torch.uint8)), "train has samples of type float32, and test has samples of type uint8"),
    ((INT, INT), "train has samples of type int64"),
    ((X > 3, X > 3), "train has samples of type bool"),
    ((X.to(torch.complex64), X), "train has samples of type complex64"),
    ((X, TEXT), "test is an array of type <U1"),
    ((X.to_sparse(), X), r"train is a sparse tensor[^$]*give train.to_dense\(\)"),
    (((X, ["a"] * 10), (X, Y)), "the labels of train are an array of type <U1[^$]*one class number for each sample"),
    ((X.to("meta"), X), "train lies on the device meta"),
    ((X, NAN), "test has 1 of 10 samples with values that are not finite; the first is number 7"),
    ((X / 0.0, X), "train has 10 of 10 samples with values that are not finite; the first is number 0"),
    ((Listed(*NAN), X), "train has 1 of 10 samples .* number 7"),
    (((X, Y[:9]), (X, Y)), "train: label has 9 rows, input has 10"),
    (((X, Y), X), "only one of train and test has labels"),
    (((X, Y.float()), (X, Y)), "the labels of train have the shape .* and the type float32"),
    (((X, Y - 1), (X, Y)), "and some are negative"),
    (((X, X), (X, X)), r"the labels of train have the shape \[10, 4\]"),
    ((TensorDataset(X, Y, Y), X), "an item is 3 parts"),
    ((Endless(), X), "train is an iterable data set"),
    ((DataLoader(TensorDataset(X)), X), "train is a DataLoader"),
    ((Listed(X[0], X[1, :3]), X), "the items of train cannot be read as a batch: RuntimeError"),
    ((Listed({"image": X[0]}), X), "an item is a dict"),
    ((Listed((X[0], 0.5)), X), "the label 0.5 is not a class number"),
    ((Listed((X[0], X[0])), X), r"the label of shape \[4\] is not a class number"),
    ((Listed((X[0], 1), X[0]), X), "some items have a label and others have none"),
    ((Listed(torch.tensor(1.0), torch.tensor(2.0)), X), "train gives samples without a shape"),
    ((X, Dataset.of_tensors(X, X)), "test is a Dataset"),
    ((Long(99), X), "the items of train cannot be read as a batch: IndexError"),
    ((Long(-1), X), r"train, a Long, has no length: __len__\(\) should return >= 0"),
    ((X, Long(9.5)), "test, a Long, has no length: 'float' object cannot be interpreted as an integer"),
    (Dataset.of_tensors(NAN, X), "train has 1 of 10 samples"),
]


@pytest.mark.parametrize(("given", "message"), BAD, ids=[message[:60] for _, message in BAD])
def test_what_cannot_be_trained_on_is_refused_in_one_screen(given: Any, message: str) -> None:
    with np.errstate(all="ignore"), pytest.raises(BadInput, match=message) as caught:
        as_dataset(given)
    assert len(str(caught.value).splitlines()) <= 5


def test_items_of_one_part_and_numbers_in_another_byte_order_are_read() -> None:
    one = as_dataset((Subset(TensorDataset(X), range(6)), X)).train.__getitems__([0, 5])
    assert torch.equal(one.target, X[[0, 5]])
    swapped = X.numpy().astype(">f4")
    assert torch.equal(as_dataset((swapped, X)).train.__getitems__([0, 5]).target, X[[0, 5]])


def test_a_dataset_is_known_by_its_values() -> None:
    facts = data_facts(as_dataset((X, X)))
    assert facts | {"hash": ""} == {"train": 10, "test": 10, "shape": [4], "dtype": "float32", "hash": ""}
    same: list[Callable[[], Any]] = [lambda: X.clone(), lambda: X.numpy().copy(), lambda: TensorDataset(X)]
    assert {data_facts(as_dataset((make(), make())))["hash"] for make in same} == {facts["hash"]}
    changed = X.clone()
    changed[9, 3] += 1
    assert data_facts(as_dataset((X, changed)))["hash"] != facts["hash"]
    one, other = (data_facts(as_dataset((Listed(*each), X)))["hash"] for each in (X, changed))
    assert one != other
    assert data_facts(as_dataset((Drawn(*X), X)))["hash"] == "drawn anew each time"


def test_a_set_that_its_readers_cannot_be_sent_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where workers are not forked (macOS, Windows, newer Pythons), they get the set through pickle."""
    hidden = Listed(*X, lambda: None)
    hidden.items = tuple(X)
    hidden.transform = lambda x: x  # type: ignore[attr-defined]
    assert isinstance(as_dataset((hidden, X)).train, Items)
    monkeypatch.setattr("idemlab.objective.given_data.get_start_method", lambda: "spawn")
    with pytest.raises(BadInput, match="train cannot be sent to the processes that read it"):
        as_dataset((hidden, X))
    assert as_dataset((Listed(*X), X)).shape == (4,)
