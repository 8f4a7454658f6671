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
RANK_CONTROL = ROOT / "plugins" / "idemlab-rank-control"
Fresh = Any
pytestmark = pytest.mark.long
Experiment = Callable[..., str]

HYBRID = 'name = "hybrid"\nenforcers = [{ name = "rank-control", rank = 2 }, { name = "gradient" }]'


def test_the_environment_has_the_wheels_and_not_the_source_tree(fresh: Fresh, tmp_path: Path) -> None:
    code = (
        "import idemlab, idemlab_registry, idemlab_rank_control as r, importlib.metadata as m\n"
        "print(idemlab.__file__, idemlab_registry.__file__, r.__file__, m.distribution('idemlab')._path, sep='\\n')"
    )
    places = fresh.run("python", "-c", code, cwd=tmp_path).split()
    assert len(places) == 4
    assert all(Path(place).is_relative_to(fresh.folder) for place in places)
    assert not any(Path(place).is_relative_to(ROOT) for place in places)


def test_a_second_distribution_is_listed_shown_and_known(fresh: Fresh, tmp_path: Path) -> None:
    listed = json.loads(fresh.run("idemlab", "list", "enforcers", "--json", cwd=tmp_path))
    by_name = {entry["name"]: entry for entry in listed}
    assert (by_name["rank-control"]["distribution"], by_name["rank-control"]["version"]) == (
        "idemlab-rank-control",
        "0.1.0",
    )
    assert by_name["cubic"]["distribution"] == "idemlab"
    shown = fresh.run("idemlab", "show", "rank-control", cwd=tmp_path)
    assert "idemlab-rank-control 0.1.0, plugin 'rank-control'" in shown
    assert "live depth" not in shown  # its traits depend on arguments, one of them required
    (known,) = [
        plugin
        for plugin in json.loads(fresh.run("idemlab", "plugins", "list", "--available", "--json", cwd=tmp_path))
        if plugin["name"] == "idemlab-rank-control"
    ]
    assert known["installed"] == "0.1.0"


@pytest.mark.slow
def test_a_second_distribution_trains(fresh: Fresh, tmp_path: Path, experiment: Experiment) -> None:
    fresh.run("idemlab", "run", experiment(HYBRID), "--out", "run", cwd=tmp_path)
    entries = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {"trace", "eigenvalue_error"} <= set(entries[0])
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["plugins"]["idemlab-rank-control:rank-control"] == "0.1.0"
    certificate = json.loads((tmp_path / "run" / "certificate.json").read_text())
    assert certificate["verdict"] in [verdict.value for verdict in idemlab.Verdict]


@pytest.mark.slow
def test_a_second_distribution_passes_the_checks(fresh: Fresh, tmp_path: Path) -> None:
    report = json.loads(
        fresh.run("idemlab", "check", "rank-control", "--set", "rank=2", "--quick", "--json", cwd=tmp_path)
    )
    assert report["passed"]
    assert report["from"] == "idemlab-rank-control 0.1.0, plugin 'rank-control'"


@pytest.mark.parametrize(
    "chosen", ["not (conformance or mlp)", pytest.param("conformance or mlp", marks=pytest.mark.slow)]
)
def test_a_second_distribution_passes_its_own_tests(chosen: str, fresh: Fresh, tmp_path: Path) -> None:
    shutil.copytree(RANK_CONTROL, tmp_path / "project", ignore=shutil.ignore_patterns("src", "__pycache__"))
    summary = fresh.run("python", "-m", "pytest", "-q", "-k", chosen, cwd=tmp_path / "project").splitlines()[-1]
    assert "passed" in summary
    assert "failed" not in summary


def test_a_new_project_passes_its_own_tests_unchanged(fresh: Fresh, tmp_path: Path) -> None:
    fresh.run("idemlab", "plugins", "new", "idemlab-shrink", cwd=tmp_path)
    project = tmp_path / "idemlab-shrink"
    fresh.install(fresh.build(project))
    assert "Mean squared change of f(x)" in fresh.run("idemlab", "show", "shrink", cwd=tmp_path)
    summary = fresh.run("python", "-m", "pytest", "-q", cwd=project).splitlines()[-1]
    assert "passed" in summary
    assert "failed" not in summary
