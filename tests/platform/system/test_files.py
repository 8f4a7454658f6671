"""What is no path is refused, wherever a caller gives one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import idemlab
from idemlab import BadInput
from idemlab.system.files import as_path, folder_for

ALIKE: dict[str, Callable[[Any], object]] = {
    "train": lambda path: idemlab.train({"model": "mlp", "dataset": "torus", "training": {"steps": 1}}, path),
    "load": idemlab.load,
    "write_report": idemlab.write_report,
    "board": idemlab.board,
    "open_sweep": idemlab.open_sweep,
    "sweep_status": idemlab.sweep_status,
    "resolve": idemlab.resolve,
    "profile": idemlab.profile,
    "run_league": lambda path: idemlab.run_league(["none", "gradient"], path),
    "run_study": lambda path: idemlab.run_study("rank", path),
    "run_sweep": lambda path: idemlab.run_sweep(idemlab.Sweep(experiment="mlp-cubic", seeds=2), path),
}


@pytest.mark.parametrize("name", ALIKE)
def test_another_type_is_refused_by_every_call(name: str) -> None:
    for wrong in (None, 3, b"x", ["x"]):
        with pytest.raises(BadInput, match=r"cannot be an? "):
            ALIKE[name](wrong)


def test_what_is_no_path_here_is_refused(tmp_path: Path) -> None:
    for wrong in ("a" * 5000, "a\0b"):
        with pytest.raises(BadInput, match="is no path: "):
            as_path(wrong, "out")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert folder_for(as_path(str(tmp_path / "new" / "newer"), "out"), "the run") == tmp_path
    for name, problem in (("file", "is a file"), ("file/x", "is a file"), ("link", "is a link that leads nowhere")):
        with pytest.raises(BadInput, match=problem):
            folder_for(tmp_path / name, "the run")


def test_other_kinds_of_paths_are_taken(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text('model = "mlp"\ndataset = "torus"\n[training]\nsteps = 1\n', encoding="utf-8")
    (entry,) = os.scandir(tmp_path)
    assert as_path(entry, "out") == tmp_path / "tiny.toml"
    assert idemlab.resolve(entry).name == idemlab.resolve(tmp_path / "tiny.toml").name  # type: ignore[arg-type]


def test_overrides_may_be_an_iterator() -> None:
    overrides = (f"training.{key}={value}" for key, value in {"steps": 7, "seed": 3}.items())
    training = idemlab.resolve("mlp-cubic", overrides).training  # type: ignore[arg-type]
    assert (training.steps, training.seed) == (7, 3)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadInput, match="cannot be moved to the device 'nope'"):
        idemlab.load("digits-projector", device="nope")


def test_what_is_no_sweep_and_no_override_is_refused() -> None:
    with pytest.raises(BadInput, match="a sweep cannot be a str"):
        idemlab.run_sweep("mlp-cubic", "out")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="the name of a study cannot be an int"):
        idemlab.run_study(3, "out")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="an override cannot be an int"):
        idemlab.resolve("mlp-cubic", [3])  # type: ignore[list-item]
