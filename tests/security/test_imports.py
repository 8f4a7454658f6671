"""Entry points of installed distributions, and nothing else, make the platform import code.

A name in a file is a name in the catalog: it is never looked for among modules.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from idemlab import BadInput, Sweep, installed, resolve, train
from idemlab.cli import app
from idemlab_data.torchvision_sets import torchvision_dataset

Attempts = Callable[[], list[str]]

NAMES = [
    "stranger_code",
    "stranger_code:run",
    "stranger_code.run",
    "idemlab:stranger_code.run",
    "../site/stranger_code.py",
    "os:system",
    "os.system",
    "idemlab.cli",
    "idemlab_models.plugin",
    "builtins.eval",
    "__import__",
    "__class__",
    "",
]
PLACES = ["dataset", "model", "enforcer", "source", "corruption", "inputs", "metric", "optimizer", "dtype", "trackers"]


def put(table: dict[str, Any], place: str, name: str) -> dict[str, Any]:
    """A name at one of the places of an experiment where names stand."""
    if place in ("dataset", "model", "enforcer", "optimizer"):
        table[place] = {"name": name}
    elif place == "source":
        table["source"] = [{"name": name}]
    elif place == "corruption":
        table["reconstruction"] = {"input": name}
    elif place == "inputs":
        table["evaluation"]["inputs"] = {"noise": {"name": name}}
    elif place == "metric":
        table["evaluation"]["metrics"] = [name]
    else:
        table["training"][place] = [name] if place == "trackers" else name
    return table


@pytest.mark.parametrize("place", PLACES)
def test_names_of_modules_are_unknown_names(
    place: str, tiny: dict[str, Any], stranger: Attempts, tmp_path: Path
) -> None:
    for name in NAMES:
        with pytest.raises(BadInput):
            train(put(tiny, place, name), tmp_path / "run")
    assert stranger() == []
    assert not (tmp_path / "run" / "operator.safetensors").exists()


@pytest.mark.parametrize("key", ["base", "factory", "module", "plugins", "import", "__class__"])
def test_no_key_asks_for_code(key: str, tiny: dict[str, Any], stranger: Attempts) -> None:
    for name in NAMES[:6]:
        with pytest.raises(BadInput):
            resolve(tiny | {key: name})
    with pytest.raises(BadInput):
        resolve(tiny | {"model": tiny["model"] | {key: "stranger_code:run"}})
    assert stranger() == []


def test_no_argument_of_text_is_taken_for_code(tiny: dict[str, Any], stranger: Attempts) -> None:
    """Every argument of every named thing, given the name of code: refused, or kept as text, never imported."""
    from idemlab.catalog.catalog import schema

    tried = 0
    for kind in ("dataset", "model", "enforcer", "source", "metric"):
        for entry in installed().entries(kind):
            for parameter in schema.parameters(entry.spec.factory, skip=entry.spec.passed):
                for text in ("stranger_code:run", "stranger_code.run"):
                    tried += 1
                    try:
                        installed().check(kind, {"name": entry.spec.name, parameter.name: text}, "here")
                    except BadInput:
                        continue
    assert tried > 100
    assert stranger() == []


@pytest.mark.parametrize(
    "name", ["utils.os", "os", "folder", "__builtins__", "download_url", "VisionDataset", "stranger_code"]
)
def test_data_sets_of_torchvision_are_its_public_classes(name: str, stranger: Attempts) -> None:
    with pytest.raises(BadInput, match="torchvision has no data set"):
        torchvision_dataset(name, "data", None, 3, False)
    assert stranger() == []


@pytest.mark.long
def test_a_file_of_a_stranger_runs_and_imports_nothing(
    tiny: dict[str, Any], stranger: Attempts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where text is free it may be the name of code; beside the file lies code of all the names that could be looked for."""
    folder = tmp_path / "given"
    folder.mkdir()
    for name in ("stranger_code", "plugin", "conftest", "sitecustomize", "idemlab_stranger", "tiny"):
        (folder / f"{name}.py").write_text("raise SystemExit('it ran')\n")
    (folder / "idemlab_stranger-1.0.dist-info").mkdir()
    (folder / "idemlab_stranger-1.0.dist-info" / "entry_points.txt").write_text("[idemlab]\nx = idemlab_stranger\n")
    tiny["summary"] = "stranger_code:run"
    tiny["evaluation"]["inputs"] = {"stranger_code.run": "gaussian"}
    (folder / "tiny.toml").write_text(tomli_w.dumps(tiny))
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as ended:
        app(["run", "tiny.toml", "--out", str(tmp_path / "out")])
    assert ended.value.code == 0
    with pytest.raises(SystemExit) as ended:
        app(["run", str(tmp_path / "out" / "experiment.toml"), "--out", str(tmp_path / "again")])
    assert ended.value.code == 0
    assert stranger() == []


@pytest.mark.parametrize("command", ["run", "show", "check", "study", "sweep"])
def test_commands_take_no_names_of_modules(
    command: str, stranger: Attempts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in NAMES[:4]:
        arguments = [command, name] + (["--out", "out"] if command in ("run", "study", "sweep") else [])
        with pytest.raises(SystemExit) as ended:
            app(arguments)
        assert ended.value.code == 2
    assert stranger() == []


def test_values_of_a_sweep_are_names_too(tiny: dict[str, Any], stranger: Attempts, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(tomli_w.dumps(tiny))
    plan = Sweep(experiment=str(tmp_path / "tiny.toml"), over={"enforcer.name": ["gradient", "stranger_code:run"]})
    with pytest.raises(BadInput, match="there is no enforcer 'stranger_code:run'"):
        plan.resolve(plan.settings()[1])
    assert stranger() == []
