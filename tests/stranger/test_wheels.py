"""What a stranger does, for real: build wheels, install them into a fresh environment, list, show, run, check."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import idemlab

ROOT = Path(__file__).parents[2]
Fresh = Any
pytestmark = pytest.mark.long
Experiment = Callable[..., str]

HYBRID = 'name = "hybrid"\nenforcers = [{ name = "shrink" }, { name = "gradient" }]'
ORIGIN = "idemlab-shrink 0.1.0, plugin 'idemlab-shrink'"


def test_the_environment_has_the_wheels_and_not_the_source_tree(fresh: Fresh, tmp_path: Path) -> None:
    code = (
        "import idemlab, idemlab_registry, idemlab_shrink as s, importlib.metadata as m\n"
        "print(idemlab.__file__, idemlab_registry.__file__, s.__file__, m.distribution('idemlab')._path, sep='\\n')"
    )
    places = fresh.run("python", "-c", code, cwd=tmp_path).split()
    assert len(places) == 4
    assert all(Path(place).is_relative_to(fresh.folder) for place in places)
    assert not any(Path(place).is_relative_to(ROOT) for place in places)


def test_a_second_distribution_is_listed_and_shown(fresh: Fresh, tmp_path: Path) -> None:
    listed = json.loads(fresh.run("idemlab", "list", "enforcers", "--json", cwd=tmp_path))
    by_name = {entry["name"]: (entry["distribution"], entry["version"]) for entry in listed}
    assert by_name["shrink"] == ("idemlab-shrink", "0.1.0")
    assert by_name["cubic"][0] == "idemlab"
    shown = fresh.run("idemlab", "show", "shrink", cwd=tmp_path)
    assert "Mean squared change of f(x)" in shown
    assert ORIGIN in shown


@pytest.mark.slow
def test_a_second_distribution_trains(fresh: Fresh, tmp_path: Path, experiment: Experiment) -> None:
    fresh.run("idemlab", "run", experiment(HYBRID), "--out", "run", cwd=tmp_path)
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["plugins"]["idemlab-shrink:idemlab-shrink"] == "0.1.0"
    certificate = json.loads((tmp_path / "run" / "certificate.json").read_text())
    assert certificate["verdict"] in [verdict.value for verdict in idemlab.Verdict]


@pytest.mark.slow
def test_a_second_distribution_passes_the_checks(fresh: Fresh, tmp_path: Path) -> None:
    report = json.loads(fresh.run("idemlab", "check", "shrink", "--quick", "--json", cwd=tmp_path))
    assert report["passed"]
    assert report["from"] == ORIGIN


def test_a_new_project_passes_its_own_tests_unchanged(fresh: Fresh, tmp_path: Path) -> None:
    shutil.copytree(fresh.project, tmp_path / "project", ignore=shutil.ignore_patterns("src"))  # the wheel's is meant
    summary = fresh.run("python", "-m", "pytest", "-q", cwd=tmp_path / "project").splitlines()[-1]
    assert "passed" in summary
    assert "failed" not in summary
