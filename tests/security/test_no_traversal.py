"""Nothing is read or written outside of the folders that were named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from idemlab import BadInput, apply, resolve
from idemlab.objective.parts import build_operator
from idemlab.runs.weights import write_weights
from idemlab.sweeps.ledger import folder_of
from idemlab_data.folders import image_files
from idemlab_data.idx import find_idx
from idemlab_metrics import cache


@pytest.fixture
def run(tiny: dict[str, Any], tmp_path: Path) -> Path:
    """A run whose operator takes grey images of 4 x 4 pixels."""
    folder = tmp_path / "run"
    folder.mkdir()
    experiment = resolve(tiny)
    (folder / "experiment.toml").write_text(experiment.to_toml())
    sample = {"sample": json.dumps({"shape": (1, 4, 4), "range": (0.0, 1.0)})}
    write_weights(folder / "operator.safetensors", build_operator(experiment, (1, 4, 4)), sample)
    return folder


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), 7).save(path, format="PNG")
    return path


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


# -- apply ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a..png", "a\\..\\..\\evil.png", "C:\\evil.png", "~root.png", "$HOME.png", "-o.png"])
def test_names_that_mean_something_elsewhere_are_names_here(run: Path, tmp_path: Path, name: str) -> None:
    picture(tmp_path / "in" / name)
    before = everything(tmp_path)
    (written,) = apply(run, tmp_path / "in", tmp_path / "out")
    assert everything(tmp_path) - before == {"out", f"out/{written.name}"}


@pytest.mark.parametrize("target", ["../secret.png", "{absolute}/secret.png", "deep/../../secret.png"])
def test_links_out_of_the_inputs_are_refused(run: Path, tmp_path: Path, target: str) -> None:
    picture(tmp_path / "secret.png")
    picture(tmp_path / "in" / "deep" / "b.png")
    os.symlink(target.format(absolute=tmp_path), tmp_path / "in" / "a.png")
    before = everything(tmp_path)
    with pytest.raises(BadInput, match=r"'a\.png' is a link that leads out"):
        apply(run, tmp_path / "in", tmp_path / "out")
    assert everything(tmp_path) == before


def test_a_folder_beside_the_inputs_whose_name_begins_alike_is_outside(run: Path, tmp_path: Path) -> None:
    picture(tmp_path / "in-secret" / "x.png")
    picture(tmp_path / "in" / "b.png")
    os.symlink(tmp_path / "in-secret" / "x.png", tmp_path / "in" / "a.png")
    with pytest.raises(BadInput, match="leads out"):
        apply(run, tmp_path / "in", tmp_path / "out")


def test_a_chain_of_links_is_followed_to_its_end(run: Path, tmp_path: Path) -> None:
    secret = picture(tmp_path / "secret.png")
    (tmp_path / "in").mkdir()
    os.symlink(secret, tmp_path / "in" / "second.png")
    os.symlink("second.png", tmp_path / "in" / "first.png")
    with pytest.raises(BadInput, match="leads out"):
        apply(run, tmp_path / "in", tmp_path / "out")


# -- data -----------------------------------------------------------------------------------------------------------------


def test_image_folders_never_read_outside(tmp_path: Path) -> None:
    picture(tmp_path / "root-secret" / "x.png")
    own = picture(tmp_path / "root" / "own.png")
    os.symlink("../root-secret/x.png", tmp_path / "root" / "relative.png")
    os.symlink(tmp_path / "root-secret" / "x.png", tmp_path / "root" / "absolute.png")
    os.symlink("relative.png", tmp_path / "root" / "chain.png")
    os.symlink(tmp_path / "root-secret", tmp_path / "root" / "folder")
    assert image_files(tmp_path / "root") == [own]


def test_idx_files_are_never_read_outside(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root-secret").mkdir()
    for stem in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / "root-secret" / f"{stem}-ubyte").write_bytes(b"secret")
        os.symlink(f"../root-secret/{stem}-ubyte", tmp_path / "root" / f"{stem}-ubyte")
    assert find_idx(tmp_path / "root", tmp_path / "root") is None
    assert find_idx(tmp_path / "root-secret", tmp_path / "root-secret") is not None


# -- the cache of extractors ----------------------------------------------------------------------------------------------

OUTSIDE = ["../evil", "../../evil", "a/../../evil", "a/b", "..", ".", "", "{absolute}/evil"]


def test_the_cache_keeps_nothing_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDEMLAB_CACHE", str(tmp_path / "x" / "cache"))
    for name in OUTSIDE:
        with pytest.raises(ValueError, match="is not a valid name"):
            cache.keep(name.format(absolute=tmp_path), torch.nn.Linear(1, 1), {})
    assert everything(tmp_path) == set()


@pytest.mark.parametrize("name", OUTSIDE)
def test_the_cache_reads_nothing_outside(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDEMLAB_CACHE", str(tmp_path / "x" / "cache"))
    name = name.format(absolute=tmp_path)
    planted = tmp_path / "x" / "cache" / "extractors" / name
    (tmp_path / "x" / "cache" / "extractors" / "a").mkdir(parents=True)
    planted.mkdir(parents=True, exist_ok=True)
    save_file({"weight": torch.zeros(1)}, planted / "weights.safetensors")
    (planted / "card.json").write_text(json.dumps({"sha256": cache.sha256(planted / "weights.safetensors")}))
    with pytest.raises(ValueError, match="is not a valid name"):
        cache.kept(name)


# -- names in files that become names of files ----------------------------------------------------------------------------


def test_evaluation_inputs_cannot_be_called_so(tiny: dict[str, Any]) -> None:
    """Pictures of the report are called after them."""
    for name in ("/../../../evil", "../evil", "a/b", "a\\b", "..", ".hidden", "", " ", "a\nb", "<script>"):
        tiny["evaluation"]["inputs"] = {name: "gaussian"}
        with pytest.raises(BadInput, match="cannot be the name of evaluation inputs"):
            resolve(tiny)


def test_evaluation_inputs_can_be_called_so(tiny: dict[str, Any]) -> None:
    for name in ("noise", "noise 0.5", "x-1", "_a", "größer", "a+b", "a..b"):
        tiny["evaluation"]["inputs"] = {name: "gaussian"}
        assert list(resolve(tiny).inputs) == [name]


def test_trials_of_a_stranger_s_sweep_stay_in_its_folder() -> None:
    """A sweep's storage says in which folder an interrupted trial goes on."""
    for folder in ("../../evil", "/evil", "../evil", "a/b/evil", "evil"):
        trial = optuna.trial.create_trial(value=0.0, user_attrs={"folder": folder})
        assert folder_of(trial) == Path("trials", "evil"), folder
