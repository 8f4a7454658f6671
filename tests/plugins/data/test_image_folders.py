"""Images in folders: decoding, the limits of what is read, CelebA."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from PIL import Image

from idemlab import BadInput, Failure, TensorRows
from idemlab_data import images
from idemlab_data.celeba import celeba
from idemlab_data.folders import image_files
from idemlab_data.images import FolderImages, fixed_share, in_memory


def picture(path: Path, colour=(10, 20, 30), size=(10, 12)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB" if isinstance(colour, tuple) else "L", size, colour).save(path)
    return path


def test_files_are_found_below_the_folder_by_name(tmp_path):
    for name in ("b/2.png", "a.JPG", "b/1.pgm", "c/d/e.webp"):
        picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "._a.JPG").write_bytes(b"hidden")
    names = [path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path)]
    assert names == ["a.JPG", "b/1.pgm", "b/2.png", "c/d/e.webp"]


def test_links_that_lead_out_of_the_folder_are_ignored(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    picture(root / "mine.png")
    picture(outside / "secret.png")
    (root / "link.png").symlink_to(outside / "secret.png")
    (root / "folder").symlink_to(outside)
    (root / "inner.png").symlink_to(root / "mine.png")
    assert [path.name for path in image_files(root)] == ["inner.png", "mine.png"]


def test_the_folder_itself_may_be_a_link(tmp_path):
    picture(tmp_path / "real" / "1.png")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert len(image_files(tmp_path / "link")) == 1


def test_a_missing_or_empty_folder_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match="there is no folder"):
        image_files(tmp_path / "absent")
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(BadInput, match=f"no images in {tmp_path}"):
        image_files(tmp_path)


def test_small_sets_are_kept_in_memory_large_ones_decoded_when_asked_for(tmp_path, monkeypatch):
    paths = [picture(tmp_path / f"{k}.png", (k, k, k)) for k in range(4)]
    lazy = FolderImages(paths, 3, 8, labels=torch.arange(4))
    kept = in_memory(lazy)
    assert isinstance(kept, TensorRows)
    monkeypatch.setattr(images, "IN_MEMORY_BYTES", 4 * 3 * 8 * 8 - 1)
    assert in_memory(lazy) is lazy
    a, b = lazy.__getitems__([3, 1]), kept.__getitems__([3, 1])
    assert torch.equal(a.input, b.input)
    assert torch.equal(a.target, b.target)
    assert a.label.tolist() == b.label.tolist() == [3, 1]
    assert a.input[:, 0, 0, 0].tolist() == [3, 1]


def test_lazy_sets_can_be_sent_to_worker_processes(tmp_path):
    lazy = FolderImages([picture(tmp_path / f"{k}.png", (k, k, k)) for k in range(4)], 3, 8, labels=torch.arange(4))
    sent = pickle.loads(pickle.dumps(lazy))
    assert torch.equal(sent.__getitems__([2]).input, lazy.__getitems__([2]).input)
    assert sent.__getitems__([2]).label.tolist() == [2]


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
def test_a_damaged_image_is_bad_input_that_names_it(tmp_path, damage):
    for k in range(3):
        picture(tmp_path / f"{k}.jpg", (k, 0, 0), size=(64, 64))
    victim = tmp_path / "1.jpg"
    content = victim.read_bytes()
    victim.write_bytes({"truncated": content[: len(content) // 2], "garbage": b"x" * 500, "empty": b""}[damage])
    with pytest.raises(BadInput, match="cannot be read as an image") as caught:
        celeba(str(tmp_path), 8)
    assert caught.value.where == str(victim)
    assert caught.value.next_step == "replace or remove the file"


def test_images_of_several_sizes_need_a_size(tmp_path):
    paths = [picture(tmp_path / "0.png"), picture(tmp_path / "1.png", size=(7, 7))]
    with pytest.raises(BadInput, match=r"1\.png has the shape \(1, 7, 7\), the first one \(1, 12, 10\)") as caught:
        in_memory(FolderImages(paths, 1, None))
    assert caught.value.next_step == "set 'size'"
    assert in_memory(FolderImages(paths, 1, 8)).input.shape == (2, 1, 8, 8)


@pytest.mark.parametrize(
    ("count", "test"),
    [(3, [1, 2]), (9, [4, 8]), (12, [6, 11]), (19, [9, 18]), (20, [9, 19]), (30, [9, 19, 29])],
    ids=str,
)
def test_the_fixed_share_is_every_tenth_and_at_least_two(count, test):
    first, second = fixed_share(count)
    assert second == test
    assert sorted(first + second) == list(range(count))


@pytest.mark.parametrize("count", [1, 2])
def test_a_certificate_needs_two_images_beside_those_to_train_on(count):
    with pytest.raises(BadInput, match=f"has {count} image"):
        fixed_share(count)


def test_celeba_holds_out_the_last_tenth_by_name(tmp_path):
    for k in range(20):
        picture(tmp_path / "img_align_celeba" / f"{k:06d}.png", (k, 0, 0), size=(178, 218))
    data = celeba(str(tmp_path), 16)
    assert data.shape == (3, 16, 16)
    assert data.train.input[:, 0, 0, 0].tolist() == list(range(18))
    assert data.test.input[:, 0, 0, 0].tolist() == [18, 19]


def test_celeba_in_tilde_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for k in range(2):
        picture(tmp_path / "faces" / f"{k}.png")
    data = celeba("~/faces", 8)
    assert (len(data.train), len(data.test)) == (1, 1)


def test_celeba_needs_two_images(tmp_path):
    picture(tmp_path / "1.png")
    with pytest.raises(BadInput, match="one image"):
        celeba(str(tmp_path), 8)


def test_celeba_without_folder_and_network_names_the_alternatives(monkeypatch):
    def unreachable(name, config):
        assert name == "flwrlabs/celeba"
        raise ConnectionError("no route to host")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    with pytest.raises(Failure, match="no route to host") as caught:
        celeba(None, 64)
    assert "faces" in caught.value.next_step
    assert "root" in caught.value.next_step


@pytest.mark.skipif(os.name != "posix", reason="permissions")
def test_reading_errors_of_the_platform_are_reported_too(tmp_path):
    (tmp_path / "1.png").mkdir()
    with pytest.raises(BadInput, match=r"Is a directory(.|\n)*1\.png"):
        FolderImages([tmp_path / "1.png"], 3, None)
