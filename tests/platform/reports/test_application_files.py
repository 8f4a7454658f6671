"""Which files of a folder an operator is applied to, what is left out, and where the outputs may go."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from idemlab import BadInput, apply

MakeRun = Callable[..., Path]
Picture = Callable[..., NDArray[np.uint8]]
Untouched = Callable[[], None]


# -- what is read -------------------------------------------------------------------------------------------------------


def test_all_that_is_left_out_is_told(grey: Path, inputs: Path, tmp_path: Path, picture: Picture) -> None:
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


def test_all_is_told_where_nothing_is_read(tmp_path: Path, inputs: Path, make_run: MakeRun) -> None:
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
def test_nothing_to_read(grey: Path, inputs: Path, tmp_path: Path, name: str | None, untouched: Untouched) -> None:
    if name:
        (inputs / name).touch()
    with pytest.raises(BadInput, match="there are no images"):
        apply(grey, inputs, tmp_path / "out")
    untouched()


def test_arrays_are_asked_for_where_they_are_needed(
    tmp_path: Path, inputs: Path, make_run: MakeRun, picture: Picture
) -> None:
    run = make_run(tmp_path / "grey", (3, 2), None)
    picture(inputs / "a.png")
    with pytest.raises(BadInput, match="there are no arrays"):
        apply(run, inputs, tmp_path / "out")


def test_input_folders(grey: Path, inputs: Path, tmp_path: Path, picture: Picture) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        apply(grey, tmp_path / "nothing", tmp_path / "out")
    picture(inputs / "a.png")
    with pytest.raises(BadInput, match="is not a folder"):
        apply(grey, inputs / "a.png", tmp_path / "out")


def test_folders_that_cannot_be_read(
    grey: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Picture
) -> None:
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


# -- where the outputs go -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("out", ["in", "in/out", "in/deep/out", "other/../in"])
def test_outputs_among_the_inputs(grey: Path, inputs: Path, tmp_path: Path, out: str, picture: Picture) -> None:
    picture(inputs / "a.png")
    (tmp_path / "other").mkdir()
    with pytest.raises(BadInput, match="is inside the input folder"):
        apply(grey, inputs, tmp_path / out)
    assert [path.name for path in inputs.iterdir()] == ["a.png"]


def test_outputs_reached_through_a_link_into_the_inputs(
    grey: Path, inputs: Path, tmp_path: Path, picture: Picture
) -> None:
    picture(inputs / "a.png")
    os.symlink(inputs, tmp_path / "other")
    with pytest.raises(BadInput, match="is inside the input folder"):
        apply(grey, inputs, tmp_path / "other" / "out")


def test_outputs_are_never_overwritten(
    grey: Path, inputs: Path, tmp_path: Path, picture: Picture, untouched: Untouched
) -> None:
    picture(inputs / "a.png")
    out = tmp_path / "other"
    out.mkdir()
    (out / "kept.txt").write_text("kept")
    with pytest.raises(BadInput, match="is not empty"):
        apply(grey, inputs, out)
    with pytest.raises(BadInput, match="is a file"):
        apply(grey, inputs, out / "kept.txt")
    assert [path.name for path in out.iterdir()] == ["kept.txt"]
    untouched()


def test_two_inputs_of_one_name(
    grey: Path, inputs: Path, tmp_path: Path, picture: Picture, untouched: Untouched
) -> None:
    picture(inputs / "a.png")
    picture(inputs / "A.bmp")
    clash = "'A.bmp' and 'a.png' would both be written as 'A.png'; rename them"
    with pytest.raises(BadInput, match=f"none of the 2 files can be read; the first: {clash}"):
        apply(grey, inputs, tmp_path / "out")
    untouched()
    picture(inputs / "b.png")
    done = apply(grey, inputs, tmp_path / "out")
    assert [path.name for path in done] == ["b.png"]
    assert done.skipped == {inputs / "A.bmp": clash, inputs / "a.png": clash}


# -- links --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["a.png", "a.txt", "folder"])
def test_links_out_of_the_folder_are_refused(
    grey: Path, inputs: Path, tmp_path: Path, link: str, picture: Picture, untouched: Untouched
) -> None:
    other = tmp_path / "other"
    picture(other / "secret.png")
    os.symlink(other if link == "folder" else other / "secret.png", inputs / link)
    picture(inputs / "b.png")
    with pytest.raises(BadInput, match=f"'{link}' is a link that leads out"):
        apply(grey, inputs, tmp_path / "out")
    untouched()


def test_links_within_the_folder_are_followed_once(grey: Path, inputs: Path, tmp_path: Path, picture: Picture) -> None:
    picture(inputs / "a" / "x.png")
    os.symlink("a/x.png", inputs / "y.png")
    os.symlink(".", inputs / "loop")
    written = apply(grey, inputs, tmp_path / "out")
    assert [path.relative_to(tmp_path / "out").as_posix() for path in written] == ["y.png", "a/x.png"]
    assert not any(path.is_symlink() for path in written)
