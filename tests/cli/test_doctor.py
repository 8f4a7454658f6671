"""`doctor`: what it finds, and its exit code."""

from __future__ import annotations

import json
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from PIL import Image

from idemlab import doctor
from idemlab.catalog.catalog import Catalog
from idemlab.doctor import Finding, examine


@pytest.fixture
def nothing_installed() -> Catalog:
    return Catalog([])


def found(findings: list[Finding], subject: str) -> Finding:
    (finding,) = [finding for finding in findings if finding.subject == subject]
    return finding


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.long)])
def test_this_machine_can_run_idemlab(here, monkeypatch, whole):
    if not whole:  # start no process for torchvision or for a plugin
        monkeypatch.setattr(doctor, "_torchvision", list)
        monkeypatch.setattr(doctor, "_imports_torch", lambda entry: False)
    findings = examine()
    assert {finding.state for finding in findings} <= {"fine", "note"}
    for subject in ("Python", "module 'platform'", "packages", "torch", "Accelerate", "plugins", "folder for runs"):
        assert found(findings, subject).state == "fine"
    assert sys.version.split()[0] in found(findings, "Python").text
    assert "idemlab:enforcers" in found(findings, "plugins").text
    assert "trains on cpu" in found(findings, "Accelerate").text


@pytest.mark.parametrize("name", ["platform.py", "platform/__init__.py"])
def test_a_module_that_hides_the_standard_librarys_is_found(here, name):
    (here / name).parent.mkdir(exist_ok=True)
    (here / name).write_text("")
    finding = doctor._shadowing()
    assert finding.state == "broken"
    assert name in finding.text


def test_a_folder_called_platform_hides_nothing(here):
    (here / "platform").mkdir()
    assert doctor._shadowing().state == "fine"


def test_packages_that_are_missing_or_too_old(monkeypatch):
    versions = {"numpy": "1.0", "torch": "2.9.0+cpu"}
    needed = [Requirement("numpy>=1.26"), Requirement("torch>=2.9"), Requirement("no-such-package>=3")]
    monkeypatch.setattr(doctor, "_requirements", lambda extra="": needed)
    monkeypatch.setattr(doctor, "installed_version", versions.get)
    numpy, missing, fine = doctor._packages()
    assert (numpy.state, numpy.fix) == ("broken", "pip install 'numpy>=1.26'")
    assert "1.0" in numpy.text
    assert (missing.state, missing.text, missing.fix) == ("broken", "not installed", "pip install 'no-such-package>=3'")
    assert (fine.state, fine.text) == ("fine", "torch 2.9.0+cpu")


def test_requirements_of_extras_are_apart():
    base = {each.name for each in doctor._requirements()}
    demo = {each.name for each in doctor._requirements("demo")}
    assert {"torch", "typer"} <= base
    assert "mlxtend" in demo
    assert not base & demo


def test_missing_extras_are_notes_with_the_command(monkeypatch):
    monkeypatch.setattr(doctor, "installed_version", lambda package: None if package == "mlxtend" else "1.0")
    (finding,) = doctor._extras()
    assert (finding.subject, finding.state) == ("optional: demo", "note")
    assert finding.fix == "pip install 'idemlab[demo]'"


def test_the_version_of_a_package_that_is_not_there():
    assert doctor.installed_version("idemlab-no-such-package") is None
    assert doctor.installed_version("typer") is not None


def test_an_old_python(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 1, "final", 0))
    assert doctor._python() == Finding("Python", "broken", "3.9.1", "install Python 3.11 or newer")


def test_a_torch_that_cannot_be_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (finding,) = doctor._devices()
    assert (finding.subject, finding.state) == ("torch", "broken")


def test_an_accelerate_that_cannot_start(monkeypatch):
    def fails() -> None:
        raise ValueError("no\nmaster")

    monkeypatch.setattr("accelerate.PartialState", fails)
    *_, finding = doctor._devices()
    assert (finding.subject, finding.state, finding.text) == ("Accelerate", "broken", "ValueError: no master")


def test_accelerators_are_named(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda index: f"Some GPU {index}")
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert "accelerators: Some GPU 0, Apple MPS" in next(iter(doctor._devices())).text


def test_a_broken_plugin_is_in_the_way():
    catalog = Catalog([EntryPoint("lost", "idemlab_no_such_module", "idemlab")])
    broken, none = doctor._plugins(catalog)
    assert (broken.subject, broken.state, broken.fix) == ("plugin lost", "broken", catalog.failures[0].fix)
    assert (none.subject, none.state) == ("plugins", "note")


def test_no_plugins_because_of_the_environment(monkeypatch, nothing_installed):
    monkeypatch.setenv("IDEMLAB_PLUGINS", "")
    assert next(iter(doctor._plugins(nothing_installed))).fix == "unset IDEMLAB_PLUGINS"


@pytest.mark.parametrize(("line", "slow"), [("import torch", True), ("import json", False), ("print('True')", False)])
def test_a_hook_module_that_imports_torch_is_slow(here, monkeypatch, line, slow):
    hook = "@idemlab.hookimpl\ndef provide_models(): return []\n"
    (here / "idemlab_test_plugin.py").write_text(f"import idemlab\n{line}\n{hook}")
    (here / "torch.py").write_text("")  # stands for the real one, which takes seconds to load
    monkeypatch.syspath_prepend(here)
    catalog = Catalog([EntryPoint("slow", "idemlab_test_plugin", "idemlab")])
    sys.modules.pop("idemlab_test_plugin")
    states = [finding.state for finding in doctor._plugins(catalog) if finding.subject == "plugin slow"]
    assert states == (["note"] if slow else [])


def test_a_folder_that_cannot_be_written(here):
    (here / "file").write_text("")
    finding = doctor._folder(Path("file/runs"))
    assert (finding.state, finding.text, finding.fix) == (
        "broken",
        "file/runs: Not a directory",
        "choose another folder for runs",
    )
    assert doctor._folder(Path("new/folder")).state == "fine"
    assert not (here / "new").exists()


FINDINGS = [Finding("one", "fine", "all well"), Finding("two", "note", "might be [red]better[/red]", "do this")]
BROKEN = Finding("three", "broken", "does not work", "do that")


def test_the_command_passes_when_nothing_is_broken(idemlab, monkeypatch):
    monkeypatch.setattr(doctor, "examine", lambda: FINDINGS)
    result = idemlab("doctor")
    assert result.exit_code == 0
    assert "might be [red]better[/red]" in result.stdout
    assert "fix: do this" in result.stdout
    assert result.stdout.endswith("Nothing is broken.\n")


def test_the_command_fails_when_something_is_broken(idemlab, monkeypatch):
    monkeypatch.setattr(doctor, "examine", lambda: [*FINDINGS, BROKEN])
    result = idemlab("doctor")
    assert result.exit_code == 1
    assert result.stdout.endswith("Broken: three\n")
    shown = idemlab("doctor", "--json")
    assert shown.exit_code == 1
    assert [finding["state"] for finding in json.loads(shown.stdout)] == ["fine", "note", "broken"]


def test_the_command_as_json_passes(idemlab, monkeypatch):
    monkeypatch.setattr(doctor, "examine", lambda: FINDINGS)
    shown = idemlab("doctor", "--json")
    assert (shown.exit_code, len(json.loads(shown.stdout))) == (0, 2)


def pictures(folder: Path, *places: str) -> None:
    for place in places:
        (folder / place).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (8, 8), number).save(folder / place / f"{number}.png")


def test_the_data_of_an_experiment_are_described_without_training(idemlab, here):
    pictures(here / "set", "beaker", "flask", "test-tube")
    (here / "set" / "notes.txt").touch()
    text = (here / "tiny.toml").read_text()
    start, end = text.index("[dataset]"), text.index("[model]")
    (here / "tiny.toml").write_text(f'{text[:start]}[dataset]\nname = "hub"\npath = "set"\n\n{text[end:]}')
    told = idemlab("doctor", "tiny.toml", "--set", "dataset.channels=1").stdout.splitlines()
    assert told == [
        "dataset 'hub': 27 samples to train on, 3 to test on, each 1 x 8 x 8, in 3 classes",
        "27 images to train on, 3 (every tenth, at least two) to test on",
        "left out, no images by their endings: notes.txt",
        "3 classes: beaker (10), flask (10), test-tube (10)",
    ]
    shown = json.loads(idemlab("doctor", "tiny.toml", "--json").stdout)
    assert shown["dataset"] == "hub"
    assert "3 classes: beaker (10), flask (10), test-tube (10)" in shown["description"]


def test_data_that_are_computed_are_described_by_their_numbers(idemlab):
    told = idemlab("doctor", "tiny.toml").stdout
    assert told == "dataset 'gaussian': 64 samples to train on, 32 to test on, each 4\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no-such-experiment"], "no-such-experiment"),
        (["tiny.toml", "--set", "dataset.name=hub", "--set", "dataset.path=./absent"], "absent"),
        (["--set", "a.b=1"], "name the experiment"),
    ],
)
def test_data_that_cannot_be_described_are_bad_input(idemlab, arguments, words):
    result = idemlab("doctor", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr


@pytest.mark.parametrize(
    ("code", "state"), [("raise RuntimeError('operator torchvision::nms does not exist')", "note"), ("", None)]
)
def test_a_torchvision_that_other_programs_cannot_import_is_told(here, monkeypatch, code, state):
    from idemlab.doctor import _torchvision

    (here / "torchvision.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(here))
    findings = list(_torchvision())
    assert [finding.state for finding in findings] == ([state] if state else [])
    assert all("operator torchvision::nms does not exist" in finding.text for finding in findings)
