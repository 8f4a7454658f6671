"""torchvision's data sets, and the door through which torchvision is imported."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest
import torch
from PIL import Image

import idemlab_data
from idemlab import BadInput, Failure, TensorRows
from idemlab_data import images, vision
from idemlab_data.torchvision_sets import TorchvisionImages, torchvision_dataset


def colour(value: int) -> Image.Image:
    return Image.new("RGB", (9, 9), (value, 0, 0))


def test_only_one_module_imports_torchvision():
    importers = set()
    for path in Path(idemlab_data.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            if any(name.split(".")[0] == "torchvision" for name in named):
                importers.add(path.name)
    assert importers == set()  # vision.py asks importlib, nobody else asks at all


def test_torchvision_can_be_imported_here():
    assert vision.torchvision_datasets().__name__ == "torchvision.datasets"


def test_missing_operators_are_declared_and_the_import_tried_again(monkeypatch):
    answers = [RuntimeError("operator torchvision::nms does not exist"), "the module"]
    declared = []

    class Library:
        def __init__(self, namespace, kind):
            declared.append((namespace, kind))

        def define(self, schema):
            declared.append(schema)

    def answer(name):
        assert name == "torchvision.datasets"
        first = answers.pop(0)
        if isinstance(first, Exception):
            raise first
        return first

    monkeypatch.setattr(importlib, "import_module", answer)
    monkeypatch.setattr(torch.library, "Library", Library)
    monkeypatch.setattr(vision, "_libraries", [])
    assert vision.torchvision_datasets() == "the module"
    assert declared == [
        ("torchvision", "FRAGMENT"),
        "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    ]
    assert len(vision._libraries) == 1


def test_other_errors_of_torchvision_are_not_hidden(monkeypatch):
    def broken(name):
        raise RuntimeError("something else")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(RuntimeError, match="something else"):
        vision.torchvision_datasets()


def test_a_set_without_files_and_splits_is_shared_out():
    """FakeData makes random images, fixed by their index."""
    with pytest.MonkeyPatch.context() as patch:
        fake = vision.torchvision_datasets().FakeData
        patch.setattr(fake.__init__, "__defaults__", (20, (3, 9, 9), 10, None, None, 0))
        data = torchvision_dataset("FakeData", "data", None, 3, False)
    assert data.shape == (3, 9, 9)
    assert (len(data.train), len(data.test)) == (18, 2)
    assert data.classes is None
    assert data.train.input.float().std() > 50


@pytest.fixture
def made(monkeypatch):
    """Registers a class as if torchvision had it."""

    def register(maker: type) -> None:
        module = vision.torchvision_datasets()
        monkeypatch.setattr(module, maker.__name__, maker, raising=False)
        monkeypatch.setattr(module, "__all__", (*module.__all__, maker.__name__))

    return register


class Rows:
    """What the classes below have in common: image k is red to the degree k."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int):
        return colour(index), index % 3


def test_train_and_test_by_flag(made, tmp_path):
    class Flagged(Rows):
        def __init__(self, root: str, train: bool = True, download: bool = False):
            assert (root, download) == (str(tmp_path), False)
            super().__init__(4 if train else 2)
            self.targets = [0, 1, 2, 3][: self.count]

    made(Flagged)
    data = torchvision_dataset("Flagged", str(tmp_path), 8, 3, False)
    assert data.shape == (3, 8, 8)
    assert isinstance(data.train, TensorRows)
    assert data.train.label.tolist() == [0, 1, 2, 3]
    assert data.train.input[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert len(data.test) == 2
    assert data.classes == 4


@pytest.mark.parametrize("second", ["test", "val"])
def test_train_and_test_by_split(made, second):
    class Splitting(Rows):
        def __init__(self, root: str, split: str = "train"):
            if split not in ("train", second):
                raise ValueError(f"Unknown split {split}")
            super().__init__(5 if split == "train" else 3)
            self.labels = torch.arange(self.count).numpy()

    made(Splitting)
    data = torchvision_dataset("Splitting", "data", None, 1, False)
    assert data.shape == (1, 9, 9)
    assert (len(data.train), len(data.test)) == (5, 3)
    assert data.test.label.tolist() == [0, 1, 2]


def test_without_a_second_split_it_is_bad_input(made):
    class Lonely(Rows):
        def __init__(self, root: str, split: str = "train"):
            if split != "train":
                raise ValueError(f"Unknown split {split}")
            super().__init__(3)

    made(Lonely)
    with pytest.raises(BadInput, match="Unknown split val"):
        torchvision_dataset("Lonely", "data", None, 3, False)


def test_emnist_is_asked_for_a_partition_and_a_flag(made):
    asked = []

    class EMNIST(Rows):
        def __init__(self, root: str, split: str, **kwargs):
            asked.append((split, kwargs))
            super().__init__(2)

    made(EMNIST)
    torchvision_dataset("EMNIST", "data", None, 1, True)
    assert asked == [("balanced", {"download": True, "train": flag}) for flag in (True, False)]


@pytest.mark.parametrize(
    "targets",
    [[{"box": 1}] * 4, torch.ones(4, 40).long(), torch.full((4,), 0.5), [0, 1, -1, 0], [1]],
    ids=["boxes", "attributes", "fractions", "negative", "of-another-number"],
)
def test_labels_that_are_no_classes_are_left_out(made, targets):
    class Attributed(Rows):
        def __init__(self, root: str):
            super().__init__(4)
            self.targets = targets

        def __getitem__(self, index: int):
            return colour(index)

    made(Attributed)
    data = torchvision_dataset("Attributed", "data", None, 3, False)
    assert data.classes is None
    assert data.train.label is None
    assert data.description[1].startswith("no classes: ")


@pytest.mark.parametrize(
    ("targets", "classes", "labels"),
    [(["b", "a", "a", "b"], 2, [1, 0]), ([1, 26, 2, 2], 3, [0, 2])],
    ids=["texts", "from-one"],
)
def test_texts_and_numbers_become_the_classes_that_occur(made, targets, classes, labels):
    class Named(Rows):
        def __init__(self, root: str):
            super().__init__(4)
            self.targets = targets

    made(Named)
    data = torchvision_dataset("Named", "data", None, 3, False)
    assert data.classes == classes
    assert data.train.label.tolist() == labels


def test_large_sets_are_decoded_when_asked_for(made, monkeypatch):
    class Plain(Rows):
        def __init__(self, root: str):
            super().__init__(10)
            self.targets = list(range(10))

    made(Plain)
    monkeypatch.setattr(images, "IN_MEMORY_BYTES", 0)
    data = torchvision_dataset("Plain", "data", None, 3, False)
    assert isinstance(data.train, TorchvisionImages)
    batch = data.test.__getitems__([1])
    assert batch.input[0, 0, 0, 0] == 9
    assert batch.label.tolist() == [9]


def test_an_unknown_name_is_bad_input():
    with pytest.raises(BadInput, match="no data set 'CIFAR11'") as caught:
        torchvision_dataset("CIFAR11", "data", None, 3, False)
    assert caught.value.nearest in ("CIFAR10", "CIFAR100")
    assert "VisionDataset" not in caught.value.choices


def test_a_set_that_is_not_on_disk_is_bad_input_that_says_how_to_fetch_it(tmp_path):
    with pytest.raises(BadInput, match=str(tmp_path)) as caught:
        torchvision_dataset("CIFAR10", str(tmp_path), None, 3, False)
    assert "download = true" in caught.value.next_step


def test_a_download_that_fails_is_a_failure(made, tmp_path):
    class Remote(Rows):
        def __init__(self, root: str, train: bool = True, download: bool = False):
            raise OSError("no route to host")

    made(Remote)
    with pytest.raises(Failure, match="no route to host") as caught:
        torchvision_dataset("Remote", str(tmp_path), None, 3, True)
    assert "digits" in caught.value.next_step


def test_a_set_that_needs_more_arguments_is_bad_input():
    with pytest.raises(BadInput, match="annFile"):
        torchvision_dataset("CocoCaptions", "data", None, 3, False)


def test_a_set_that_needs_a_package_passes_its_error_on(made):
    class Packaged(Rows):
        def __init__(self, root: str):
            raise ModuleNotFoundError("No module named 'h5py'", name="h5py")

    made(Packaged)
    with pytest.raises(ModuleNotFoundError, match="h5py"):
        torchvision_dataset("Packaged", "data", None, 3, False)


@pytest.mark.parametrize(
    ("row", "message"),
    [((torch.zeros(3), 0), "gives Tensor, not images"), (OSError("damaged"), "0 of torchvision's Odd")],
)
def test_rows_that_are_no_images_are_bad_input(made, row, message):
    class Odd(Rows):
        def __init__(self, root: str):
            super().__init__(4)

        def __getitem__(self, index: int):
            if isinstance(row, Exception):
                raise row
            return row

    made(Odd)
    with pytest.raises(BadInput, match=message):
        torchvision_dataset("Odd", "data", None, 3, False)


def test_home_is_expanded(made, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    roots = []

    class Homely(Rows):
        def __init__(self, root: str):
            roots.append(root)
            super().__init__(3)

    made(Homely)
    torchvision_dataset("Homely", "~/sets", None, 3, False)
    assert roots == [str(tmp_path / "sets")]
