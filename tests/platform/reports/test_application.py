"""Applying a trained operator to a folder: right pixels under right names, and nothing written unless all is well."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from idemlab import BadInput, Failure, apply, resolve
from idemlab.objective.parts import build_operator
from idemlab.runs.weights import write_weights

Pixels = NDArray[np.uint8]


def make_run(folder: Path, shape: tuple[int, ...], range: tuple[float, float] | None, factor: float = 0.5) -> Path:
    """A run whose operator is x -> factor x."""
    experiment = resolve(
        {
            "dataset": {"name": "gaussian", "shape": list(shape)},
            "model": {"name": "linear", "init": "identity", "scale": 0.0},
            "training": {"steps": 1},
        }
    )
    folder.mkdir(parents=True)
    (folder / "experiment.toml").write_text(experiment.to_toml())
    operator = build_operator(experiment, shape)
    with torch.no_grad():
        for parameter in operator.parameters():
            parameter.mul_(factor)
    write_weights(folder / "operator.safetensors", operator, {"sample": json.dumps({"shape": shape, "range": range})})
    return folder


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    """Grey images, 4 pixels high and 6 wide, -1 black and 1 white; f halves them, towards middle grey."""
    return make_run(tmp_path / "grey", (1, 4, 6), (-1.0, 1.0))


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def picture(path: Path, pixels: Any = None, mode: str | None = None, **options: Any) -> Pixels:
    """Write an image (a ramp, if no pixels are given) and return its pixels."""
    values = (
        np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6) if pixels is None else np.asarray(pixels, dtype=np.uint8)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    (image.convert(mode) if mode else image).save(path, **options)
    return values


def read(path: Path) -> NDArray[Any]:
    with Image.open(path) as image:
        return np.asarray(image).copy()


def halved(pixels: Pixels, times: int = 1) -> NDArray[Any]:
    return 127.5 + (pixels.astype(float) - 127.5) / 2**times


def untouched(folder: Path) -> None:
    """Nothing was written, not even in part."""
    assert {path.name for path in folder.iterdir()} <= {"grey", "in", "other"}


# -- what comes out -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 2, 5])
def test_images_are_projected_as_often_as_asked(grey: Path, inputs: Path, tmp_path: Path, times: int) -> None:
    pixels = picture(inputs / "ramp.png")
    (written,) = apply(grey, inputs, tmp_path / "out", times=times)
    assert written == tmp_path / "out" / "ramp.png"
    assert np.abs(read(written) - halved(pixels, times)).max() <= 0.5 + 1e-4


def test_names_stay_and_all_formats_are_read(grey: Path, inputs: Path, tmp_path: Path) -> None:
    for name in ("b.bmp", "a/c.PGM", "a/b/d.gif", "e.jpg", "f.tiff", "g.webp"):
        picture(inputs / name)
    written = apply(str(grey), str(inputs), str(tmp_path / "deep" / "out"))
    names = [path.relative_to(tmp_path / "deep" / "out").as_posix() for path in written]
    assert names == ["b.png", "e.png", "f.png", "g.png", "a/c.png", "a/b/d.png"]
    for path in written:
        assert read(path).shape == (4, 6)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


def test_more_images_than_one_batch(grey: Path, inputs: Path, tmp_path: Path) -> None:
    for i in range(70):
        picture(inputs / f"{i:02d}.png", np.full((4, 6), i))
    written = apply(grey, inputs, tmp_path / "out")
    assert [int(read(path)[0, 0]) for path in written] == [round(127.5 + (i - 127.5) / 2 + 1e-9) for i in range(70)]


def test_values_beyond_the_range_are_cut(tmp_path: Path, inputs: Path) -> None:
    run = make_run(tmp_path / "grey", (1, 4, 6), None, factor=3.0)  # no range: 0 is black, 1 is white
    pixels = picture(inputs / "a.png")
    (written,) = apply(run, inputs, tmp_path / "out")
    assert read(written).tolist() == np.minimum(pixels.astype(int) * 3, 255).tolist()


def test_an_empty_output_folder_may_exist(grey: Path, inputs: Path, tmp_path: Path) -> None:
    picture(inputs / "a.png")
    (tmp_path / "out").mkdir()
    os.symlink(tmp_path / "out", tmp_path / "link")
    (written,) = apply(grey, inputs, tmp_path / "link")
    assert written.is_file()
    assert (tmp_path / "out" / "a.png").is_file()


def test_the_output_folder_has_ordinary_rights(grey: Path, inputs: Path, tmp_path: Path) -> None:
    picture(inputs / "a.png")
    (tmp_path / "ordinary").mkdir()
    apply(grey, inputs, tmp_path / "out")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


# -- conversions --------------------------------------------------------------------------------------------------------


def test_colour_becomes_grey_and_grey_colour(tmp_path: Path, inputs: Path) -> None:
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


def test_other_sizes_are_resized_with_a_message(grey: Path, inputs: Path, tmp_path: Path) -> None:
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


def test_a_letterboxed_digit_keeps_its_shape(tmp_path: Path, inputs: Path) -> None:
    """84 x 28 with a square in its middle: squashed to a square the middle would be a bar, a third as wide."""
    wide = np.zeros((28, 84))
    wide[4:24, 32:52] = 255
    picture(inputs / "wide.png", wide)
    run = make_run(tmp_path / "grey", (1, 28, 28), (0.0, 1.0), factor=1.0)
    (written,) = apply(run, inputs, tmp_path / "out")
    assert read(written).tolist() == wide[:, 28:56].tolist()


@pytest.mark.parametrize("name", ["deep.png", "deep.pgm"])
def test_sixteen_bits_are_scaled(tmp_path: Path, inputs: Path, name: str) -> None:
    run = make_run(tmp_path / "grey", (1, 4, 6), (0.0, 1.0), factor=1.0)
    pixels = np.arange(24, dtype=np.uint16).reshape(4, 6) * 2570
    Image.fromarray(pixels).save(inputs / name)
    (written,) = apply(run, inputs, tmp_path / "out")
    assert read(written).tolist() == (pixels // 257).tolist()


def test_transparency_is_white(tmp_path: Path, inputs: Path) -> None:
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


def test_photographs_are_turned_upright(tmp_path: Path, inputs: Path) -> None:
    run = make_run(tmp_path / "grey", (1, 4, 6), (0.0, 1.0), factor=1.0)
    upright = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to view
    picture(inputs / "a.png", np.rot90(upright), exif=exif)
    assert read(apply(run, inputs, tmp_path / "out")[0]).tolist() == upright.tolist()


# -- arrays -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "bool"])
def test_arrays_for_operators_on_something_else(tmp_path: Path, inputs: Path, dtype: str) -> None:
    run = make_run(tmp_path / "grey", (3, 2), None)
    values = np.array([[0, 1], [1, 0], [1, 1]], dtype=dtype)
    (inputs / "a").mkdir()
    np.save(inputs / "a" / "x.npy", values)
    (written,) = apply(run, inputs, tmp_path / "out")
    assert written == tmp_path / "out" / "a" / "x.npy"
    result = np.load(written)
    assert result.dtype == np.float32
    assert result.tolist() == (values / 2).tolist()


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
def test_bad_arrays_are_skipped_and_alone_refused(tmp_path: Path, inputs: Path, fault: str) -> None:
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
    untouched(tmp_path)


# -- bad images ---------------------------------------------------------------------------------------------------------


def cut_short(path: Path) -> None:
    picture(path, np.random.default_rng(0).integers(0, 256, (40, 40)))
    path.write_bytes(path.read_bytes()[:900])


BAD_IMAGES: dict[str, Callable[[Path], None]] = {
    "no image": lambda path: path.write_text("no image"),
    "empty": lambda path: path.write_bytes(b""),
    "cut short": cut_short,
    "of floats": lambda path: Image.fromarray(np.full((4, 6), 2, dtype=np.float32)).save(path, format="TIFF"),
    "of 32 bits": lambda path: Image.fromarray(np.full((4, 6), 200, dtype=np.int32)).save(path, format="TIFF"),
}


@pytest.mark.parametrize("fault", list(BAD_IMAGES))
def test_bad_images_are_skipped_and_alone_refused(grey: Path, inputs: Path, tmp_path: Path, fault: str) -> None:
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
    untouched(tmp_path)


@pytest.mark.parametrize("limit", [15, 10])  # Pillow warns above its limit and raises above twice of it
def test_decompression_bombs_are_refused(
    grey: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    picture(inputs / "a.png")
    with pytest.raises(BadInput, match="decompression bomb"):
        apply(grey, inputs, tmp_path / "out")
    untouched(tmp_path)


# -- which files --------------------------------------------------------------------------------------------------------


def test_all_that_is_left_out_is_told(grey: Path, inputs: Path, tmp_path: Path) -> None:
    picture(inputs / "a.png")
    picture(inputs / "folder.png" / "b.png")
    for name in ("notes.txt", ".hidden.png", *(f"{number}.csv" for number in range(9)), "sub/c.npy"):
        (inputs / name).parent.mkdir(exist_ok=True)
        (inputs / name).touch()
    (inputs / ".cache").mkdir()
    picture(inputs / ".cache" / "b.png")
    os.mkfifo(inputs / "pipe.png")
    os.symlink("gone.png", inputs / "dangling.png")
    os.symlink("gone.txt", inputs / "sub" / "dangling")
    os.symlink("round.png", inputs / "round.png")
    os.symlink("sub", inputs / "linked")
    told: list[str] = []
    done = apply(grey, inputs, tmp_path / "one", message=told.append)
    assert [path.relative_to(tmp_path / "one").as_posix() for path in done] == ["a.png", "folder.png/b.png"]
    assert sorted(told) == [
        "left out, folders that are named like images; the files in them are read: 'folder.png'",
        "left out, hidden: '.cache', '.hidden.png'",
        "left out, links that lead nowhere: 'dangling.png', 'round.png', 'sub/dangling'",
        "left out, links to folders, which are not followed: 'linked'",
        "left out, neither files nor folders: 'pipe.png'",
        "left out, not images by their endings: '0.csv', '1.csv', '2.csv', '3.csv', '4.csv' and 6 more",
    ]
    listed = {path.relative_to(inputs).as_posix() for paths in done.left_out.values() for path in paths}
    assert {"8.csv", "notes.txt", "sub/c.npy"} <= listed, "in full for programs"


def test_all_is_told_where_nothing_is_read(tmp_path: Path, inputs: Path) -> None:
    run = make_run(tmp_path / "grey", (3, 2), None)
    (inputs / "x.npy").mkdir()
    os.symlink("gone", inputs / "y.npy")
    told: list[str] = []
    with pytest.raises(BadInput, match="there are no arrays"):
        apply(run, inputs, tmp_path / "out", message=told.append)
    assert told == [
        "left out, folders that are named like arrays; the files in them are read: 'x.npy'",
        "left out, links that lead nowhere: 'y.npy'",
    ]


@pytest.mark.parametrize("name", [None, "notes.txt", "a.npy"])
def test_nothing_to_read(grey: Path, inputs: Path, tmp_path: Path, name: str | None) -> None:
    if name:
        (inputs / name).touch()
    with pytest.raises(BadInput, match="there are no images"):
        apply(grey, inputs, tmp_path / "out")
    untouched(tmp_path)


def test_arrays_are_asked_for_where_they_are_needed(tmp_path: Path, inputs: Path) -> None:
    run = make_run(tmp_path / "grey", (3, 2), None)
    picture(inputs / "a.png")
    with pytest.raises(BadInput, match="there are no arrays"):
        apply(run, inputs, tmp_path / "out")


def test_input_folders(grey: Path, inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        apply(grey, tmp_path / "nothing", tmp_path / "out")
    picture(inputs / "a.png")
    with pytest.raises(BadInput, match="is not a folder"):
        apply(grey, inputs / "a.png", tmp_path / "out")


@pytest.mark.parametrize("out", ["in", "in/out", "in/deep/out", "other/../in"])
def test_outputs_among_the_inputs(grey: Path, inputs: Path, tmp_path: Path, out: str) -> None:
    picture(inputs / "a.png")
    (tmp_path / "other").mkdir()
    with pytest.raises(BadInput, match="is inside the input folder"):
        apply(grey, inputs, tmp_path / out)
    assert [path.name for path in inputs.iterdir()] == ["a.png"]


def test_outputs_reached_through_a_link_into_the_inputs(grey: Path, inputs: Path, tmp_path: Path) -> None:
    picture(inputs / "a.png")
    os.symlink(inputs, tmp_path / "other")
    with pytest.raises(BadInput, match="is inside the input folder"):
        apply(grey, inputs, tmp_path / "other" / "out")


def test_outputs_are_never_overwritten(grey: Path, inputs: Path, tmp_path: Path) -> None:
    picture(inputs / "a.png")
    out = tmp_path / "other"
    out.mkdir()
    (out / "kept.txt").write_text("kept")
    with pytest.raises(BadInput, match="is not empty"):
        apply(grey, inputs, out)
    with pytest.raises(BadInput, match="is a file"):
        apply(grey, inputs, out / "kept.txt")
    assert [path.name for path in out.iterdir()] == ["kept.txt"]
    untouched(tmp_path)


@pytest.mark.parametrize("link", ["a.png", "a.txt", "folder"])
def test_links_out_of_the_folder_are_refused(grey: Path, inputs: Path, tmp_path: Path, link: str) -> None:
    other = tmp_path / "other"
    picture(other / "secret.png")
    os.symlink(other if link == "folder" else other / "secret.png", inputs / link)
    picture(inputs / "b.png")
    with pytest.raises(BadInput, match=f"'{link}' is a link that leads out"):
        apply(grey, inputs, tmp_path / "out")
    untouched(tmp_path)


def test_links_within_the_folder_are_followed_once(grey: Path, inputs: Path, tmp_path: Path) -> None:
    picture(inputs / "a" / "x.png")
    os.symlink("a/x.png", inputs / "y.png")
    os.symlink(".", inputs / "loop")
    written = apply(grey, inputs, tmp_path / "out")
    assert [path.relative_to(tmp_path / "out").as_posix() for path in written] == ["y.png", "a/x.png"]
    assert not any(path.is_symlink() for path in written)


def test_two_inputs_of_one_name(grey: Path, inputs: Path, tmp_path: Path) -> None:
    picture(inputs / "a.png")
    picture(inputs / "A.bmp")
    clash = "'A.bmp' and 'a.png' would both be written as 'A.png'; rename them"
    with pytest.raises(BadInput, match=f"none of the 2 files can be read; the first: {clash}"):
        apply(grey, inputs, tmp_path / "out")
    untouched(tmp_path)
    picture(inputs / "b.png")
    done = apply(grey, inputs, tmp_path / "out")
    assert [path.name for path in done] == ["b.png"]
    assert done.skipped == {inputs / "A.bmp": clash, inputs / "a.png": clash}


def test_folders_that_cannot_be_read(grey: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(inputs / "a.png")
    (inputs / "closed").mkdir()
    scan = os.scandir

    def refusing(path: Any) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(BadInput, match="Permission denied") as caught:
        apply(grey, inputs, tmp_path / "out")
    assert caught.value.where == str(inputs / "closed")


# -- what else can go wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [0, -1])
def test_times(grey: Path, inputs: Path, tmp_path: Path, times: int) -> None:
    picture(inputs / "a.png")
    with pytest.raises(BadInput, match=f"cannot be applied {times} times"):
        apply(grey, inputs, tmp_path / "out", times=times)


def test_a_run_without_weights(grey: Path, inputs: Path, tmp_path: Path) -> None:
    picture(inputs / "a.png")
    (grey / "operator.safetensors").unlink()
    with pytest.raises(BadInput, match="no trained operator yet"):
        apply(grey, inputs, tmp_path / "out")
    with pytest.raises(BadInput, match="holds no run"):
        apply(tmp_path / "nothing", inputs, tmp_path / "out")


def test_an_operator_that_blows_up_leaves_nothing(tmp_path: Path, inputs: Path) -> None:
    run = make_run(tmp_path / "grey", (1, 4, 6), (-1.0, 1.0), factor=1e30)
    picture(inputs / "a.png")
    with pytest.raises(Failure, match="not finite") as caught:
        apply(run, inputs, tmp_path / "out", times=2)
    assert caught.value.where == str(inputs / "a.png")
    untouched(tmp_path)


def test_an_output_folder_that_cannot_be_written(grey: Path, inputs: Path, tmp_path: Path) -> None:
    picture(inputs / "a.png")
    (tmp_path / "other").touch()
    with pytest.raises(Failure, match="cannot be written"):
        apply(grey, inputs, tmp_path / "other" / "out")
    untouched(tmp_path)


def test_a_full_disk_leaves_nothing(grey: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    untouched(tmp_path)
