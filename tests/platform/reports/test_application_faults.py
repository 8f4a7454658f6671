"""What stops an operator from being applied: bad files, bad arguments, bad runs and full disks."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from idemlab import BadInput, Failure, apply

MakeRun = Callable[..., Path]
Picture = Callable[..., NDArray[np.uint8]]
Untouched = Callable[[], None]


# -- bad arrays ---------------------------------------------------------------------------------------------------------

BAD_ARRAYS: dict[str, Callable[[Path], None]] = {
    "of another shape": lambda path: np.save(path, np.zeros((2, 3))),
    "of texts": lambda path: np.save(path, np.full((3, 2), "a")),
    "of complex numbers": lambda path: np.save(path, np.zeros((3, 2), dtype=complex)),
    "not finite": lambda path: np.save(path, np.full((3, 2), np.nan)),
    "pickled": lambda path: np.save(path, np.full((3, 2), None), allow_pickle=True),
    "cut short": lambda path: path.write_bytes(b"\x93NUMPY\x01\x00v"),
    "empty": lambda path: path.write_bytes(b""),
    "an archive": lambda path: _archive(path),
    "broken archive": lambda path: path.write_bytes(b"PK\x03\x04"),
    "something else": lambda path: path.write_bytes(b"xx"),
}


def _archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, x=np.zeros((3, 2)))


@pytest.mark.parametrize("fault", list(BAD_ARRAYS))
def test_bad_arrays_are_skipped_and_alone_refused(
    tmp_path: Path, inputs: Path, fault: str, make_run: MakeRun, untouched: Untouched
) -> None:
    run = make_run(tmp_path / "grey", (3, 2), None)
    np.save(inputs / "a.npy", np.zeros((3, 2)))
    BAD_ARRAYS[fault](inputs / "b.npy")
    done = apply(run, inputs, tmp_path / "rest")
    assert ([path.name for path in done], list(done.skipped)) == (["a.npy"], [inputs / "b.npy"])
    shutil.rmtree(tmp_path / "rest")
    (inputs / "a.npy").unlink()
    with pytest.raises(BadInput) as caught:
        apply(run, inputs, tmp_path / "out")
    assert caught.value.where == str(inputs / "b.npy")
    assert "allow_pickle=`" not in str(caught.value)
    untouched()


# -- bad images ---------------------------------------------------------------------------------------------------------


def cut_short(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:900])


BAD_IMAGES: dict[str, Callable[[Path], None]] = {
    "no image": lambda path: path.write_text("no image"),
    "empty": lambda path: path.write_bytes(b""),
    "cut short": cut_short,
    "of floats": lambda path: Image.fromarray(np.full((4, 6), 2, dtype=np.float32)).save(path, format="TIFF"),
    "of 32 bits": lambda path: Image.fromarray(np.full((4, 6), 200, dtype=np.int32)).save(path, format="TIFF"),
}


@pytest.mark.parametrize("fault", list(BAD_IMAGES))
def test_bad_images_are_skipped_and_alone_refused(
    grey: Path, inputs: Path, tmp_path: Path, fault: str, picture: Picture, untouched: Untouched
) -> None:
    picture(inputs / "a.png")
    BAD_IMAGES[fault](inputs / "b.png")
    done = apply(grey, inputs, tmp_path / "rest")
    assert ([path.name for path in done], list(done.skipped)) == (["a.png"], [inputs / "b.png"])
    assert "cannot be read as an image" in done.skipped[inputs / "b.png"]
    shutil.rmtree(tmp_path / "rest")
    (inputs / "a.png").unlink()
    with pytest.raises(BadInput, match="cannot be read as an image") as caught:
        apply(grey, inputs, tmp_path / "out")
    assert caught.value.where == str(inputs / "b.png")
    assert caught.value.next_step == "replace or remove the file"
    untouched()


@pytest.mark.parametrize("limit", [15, 10])  # Pillow warns above its limit and raises above twice of it
def test_decompression_bombs_are_refused(
    grey: Path,
    inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: int,
    picture: Picture,
    untouched: Untouched,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    picture(inputs / "a.png")
    with pytest.raises(BadInput, match="decompression bomb"):
        apply(grey, inputs, tmp_path / "out")
    untouched()


# -- what else can go wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [0, -1, 1.5, 10**20])
def test_times(grey: Path, inputs: Path, tmp_path: Path, times: Any, picture: Picture) -> None:
    picture(inputs / "a.png")
    with pytest.raises(BadInput, match=f"cannot be applied {times} times"):
        apply(grey, inputs, tmp_path / "out", times=times)


def test_a_run_without_weights(grey: Path, inputs: Path, tmp_path: Path, picture: Picture) -> None:
    picture(inputs / "a.png")
    (grey / "operator.safetensors").unlink()
    with pytest.raises(BadInput, match="no trained operator yet"):
        apply(grey, inputs, tmp_path / "out")
    with pytest.raises(BadInput, match="holds no run"):
        apply(tmp_path / "nothing", inputs, tmp_path / "out")


def test_an_operator_that_blows_up_leaves_nothing(
    tmp_path: Path, inputs: Path, make_run: MakeRun, picture: Picture, untouched: Untouched
) -> None:
    run = make_run(tmp_path / "grey", (1, 4, 6), (-1.0, 1.0), factor=1e30)
    picture(inputs / "a.png")
    with pytest.raises(Failure, match="not finite") as caught:
        apply(run, inputs, tmp_path / "out", times=2)
    assert caught.value.where == str(inputs / "a.png")
    untouched()


def test_an_output_folder_that_cannot_be_written(
    grey: Path, inputs: Path, tmp_path: Path, picture: Picture, untouched: Untouched
) -> None:
    picture(inputs / "a.png")
    (tmp_path / "other").touch()
    with pytest.raises(Failure, match="cannot be written"):
        apply(grey, inputs, tmp_path / "other" / "out")
    untouched()


def test_a_full_disk_leaves_nothing(
    grey: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Picture, untouched: Untouched
) -> None:
    picture(inputs / "a.png")
    picture(inputs / "b.png")
    save = Image.Image.save

    def filling(image: Image.Image, path: Path) -> None:
        if path.name == "b.png":
            raise OSError(28, "No space left on device")
        save(image, path)

    monkeypatch.setattr(Image.Image, "save", filling)
    with pytest.raises(Failure, match="No space left"):
        apply(grey, inputs, tmp_path / "out")
    untouched()
