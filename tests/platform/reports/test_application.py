"""What applying a trained operator to a folder writes: the right pixels under the right names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from idemlab import apply

Pixels = NDArray[np.uint8]
MakeRun = Callable[..., Path]
Picture = Callable[..., Pixels]


def read(path: Path) -> NDArray[Any]:
    with Image.open(path) as image:
        return np.asarray(image).copy()


def halved(pixels: Pixels, times: int = 1) -> NDArray[Any]:
    return 127.5 + (pixels.astype(float) - 127.5) / 2**times


# -- what comes out -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 2, np.int64(5)])
def test_images_are_projected_as_often_as_asked(
    grey: Path, inputs: Path, tmp_path: Path, times: int, picture: Picture
) -> None:
    pixels = picture(inputs / "ramp.png")
    (written,) = apply(grey, inputs, tmp_path / "out", times=times)
    assert written == tmp_path / "out" / "ramp.png"
    assert np.abs(read(written) - halved(pixels, times)).max() <= 0.5 + 1e-4


def test_names_stay_and_all_formats_are_read(grey: Path, inputs: Path, tmp_path: Path, picture: Picture) -> None:
    for name in ("b.bmp", "a/c.PGM", "a/b/d.gif", "e.jpg", "f.tiff", "g.webp"):
        picture(inputs / name)
    written = apply(str(grey), str(inputs), str(tmp_path / "deep" / "out"))
    names = [path.relative_to(tmp_path / "deep" / "out").as_posix() for path in written]
    assert names == ["b.png", "e.png", "f.png", "g.png", "a/c.png", "a/b/d.png"]
    for path in written:
        assert read(path).shape == (4, 6)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


def test_more_images_than_one_batch(grey: Path, inputs: Path, tmp_path: Path, picture: Picture) -> None:
    for i in range(70):
        picture(inputs / f"{i:02d}.png", np.full((4, 6), i))
    written = apply(grey, inputs, tmp_path / "out")
    assert [int(read(path)[0, 0]) for path in written] == [round(127.5 + (i - 127.5) / 2 + 1e-9) for i in range(70)]


def test_values_beyond_the_range_are_cut(tmp_path: Path, inputs: Path, make_run: MakeRun, picture: Picture) -> None:
    run = make_run(tmp_path / "grey", (1, 4, 6), None, factor=3.0)  # no range: 0 is black, 1 is white
    pixels = picture(inputs / "a.png")
    (written,) = apply(run, inputs, tmp_path / "out")
    assert read(written).tolist() == np.minimum(pixels.astype(int) * 3, 255).tolist()


def test_an_empty_output_folder_may_exist(grey: Path, inputs: Path, tmp_path: Path, picture: Picture) -> None:
    picture(inputs / "a.png")
    (tmp_path / "out").mkdir()
    os.symlink(tmp_path / "out", tmp_path / "link")
    (written,) = apply(grey, inputs, tmp_path / "link")
    assert written.is_file()
    assert (tmp_path / "out" / "a.png").is_file()


def test_the_output_folder_has_ordinary_rights(grey: Path, inputs: Path, tmp_path: Path, picture: Picture) -> None:
    picture(inputs / "a.png")
    (tmp_path / "ordinary").mkdir()
    apply(grey, inputs, tmp_path / "out")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


# -- conversions --------------------------------------------------------------------------------------------------------


def test_colour_becomes_grey_and_grey_colour(tmp_path: Path, inputs: Path, make_run: MakeRun, picture: Picture) -> None:
    colours = np.zeros((4, 6, 3))
    colours[..., 0] = 200
    picture(inputs / "red.png", colours)
    run = make_run(tmp_path / "grey", (1, 4, 6), (0.0, 1.0), factor=1.0)
    assert read(apply(run, inputs, tmp_path / "out")[0]).tolist() == np.full((4, 6), round(200 * 0.299)).tolist()
    run = make_run(tmp_path / "colour", (3, 4, 6), (0.0, 1.0), factor=1.0)
    assert read(apply(run, inputs, tmp_path / "out3")[0]).tolist() == colours.tolist()
    (inputs / "red.png").unlink()
    ramp = picture(inputs / "ramp.png")
    assert read(apply(run, inputs, tmp_path / "out4")[0]).tolist() == np.repeat(ramp[..., None], 3, axis=2).tolist()


def test_other_sizes_are_resized_with_a_message(grey: Path, inputs: Path, tmp_path: Path, picture: Picture) -> None:
    picture(inputs / "right.png")
    told: list[str] = []
    apply(grey, inputs, tmp_path / "right", message=told.append)
    assert told == []
    picture(inputs / "wide.png", np.full((10, 30), 90))
    written = apply(grey, inputs, tmp_path / "one", message=told.append)
    assert told == [
        "resized 'wide.png' from 30 x 10 to the operator's 6 x 4 pixels",
        "'wide.png': cropped to the centre",
    ]
    assert np.abs(read(written[1]) - halved(np.full((4, 6), 90, dtype=np.uint8))).max() <= 0.5 + 1e-4
    picture(inputs / "z.png", np.full((8, 8), 90))
    apply(grey, inputs, tmp_path / "two", message=told.append)
    assert told[2:] == [
        "resized 2 files ('wide.png' and others) from 30 x 10 to the operator's 6 x 4 pixels",
        "2 files ('wide.png' and others): cropped to the centre",
    ]


def test_a_letterboxed_digit_keeps_its_shape(tmp_path: Path, inputs: Path, make_run: MakeRun, picture: Picture) -> None:
    """84 x 28 with a square in its middle: squashed to a square the middle would be a bar, a third as wide."""
    wide = np.zeros((28, 84))
    wide[4:24, 32:52] = 255
    picture(inputs / "wide.png", wide)
    run = make_run(tmp_path / "grey", (1, 28, 28), (0.0, 1.0), factor=1.0)
    (written,) = apply(run, inputs, tmp_path / "out")
    assert read(written).tolist() == wide[:, 28:56].tolist()


@pytest.mark.parametrize("name", ["deep.png", "deep.pgm"])
def test_sixteen_bits_are_scaled(tmp_path: Path, inputs: Path, name: str, make_run: MakeRun) -> None:
    run = make_run(tmp_path / "grey", (1, 4, 6), (0.0, 1.0), factor=1.0)
    pixels = np.arange(24, dtype=np.uint16).reshape(4, 6) * 2570
    Image.fromarray(pixels).save(inputs / name)
    (written,) = apply(run, inputs, tmp_path / "out")
    assert read(written).tolist() == (pixels // 257).tolist()


def test_transparency_is_white(tmp_path: Path, inputs: Path, make_run: MakeRun, picture: Picture) -> None:
    run = make_run(tmp_path / "grey", (1, 4, 6), (0.0, 1.0), factor=1.0)
    colours = np.zeros((4, 6, 4))
    colours[:2, :, 3] = 255  # black above, transparent below
    picture(inputs / "a.png", colours)
    palette = Image.fromarray(np.repeat([0, 1], 12).reshape(4, 6).astype(np.uint8), "P")
    palette.putpalette([10, 10, 10, 0, 0, 0])
    palette.save(inputs / "b.png", transparency=1)
    told: list[str] = []
    first, second = apply(run, inputs, tmp_path / "out", message=told.append)
    assert told == ["2 files ('a.png' and others): transparent parts became white"]
    assert read(first)[:, 0].tolist() == [0, 0, 255, 255]
    assert read(second)[:, 0].tolist() == [10, 10, 255, 255]


def test_photographs_are_turned_upright(tmp_path: Path, inputs: Path, make_run: MakeRun, picture: Picture) -> None:
    run = make_run(tmp_path / "grey", (1, 4, 6), (0.0, 1.0), factor=1.0)
    upright = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to view
    picture(inputs / "a.png", np.rot90(upright), exif=exif)
    assert read(apply(run, inputs, tmp_path / "out")[0]).tolist() == upright.tolist()


# -- arrays -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "bool"])
def test_arrays_for_operators_on_something_else(tmp_path: Path, inputs: Path, dtype: str, make_run: MakeRun) -> None:
    run = make_run(tmp_path / "grey", (3, 2), None)
    values = np.array([[0, 1], [1, 0], [1, 1]], dtype=dtype)
    (inputs / "a").mkdir()
    np.save(inputs / "a" / "x.npy", values)
    (written,) = apply(run, inputs, tmp_path / "out")
    assert written == tmp_path / "out" / "a" / "x.npy"
    result = np.load(written)
    assert result.dtype == np.float32
    assert result.tolist() == (values / 2).tolist()
