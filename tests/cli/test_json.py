"""With `--json`, stdout is JSON that every reader takes, whatever a plugin prints."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from idemlab.system import strict_json

NOISY = """
import atexit, ctypes, os, subprocess, sys
import idemlab

def shout(where):
    print(f"loud {where}")
    sys.__stdout__.write(f"loud {where}\\n")
    os.write(1, f"loud {where}\\n".encode())
    subprocess.run(["echo", f"loud {where}"], check=True)

shout("at import")
atexit.register(shout, "at the end")

def measure():
    from idemlab import Metric

    shout("in a factory")

    class Loud(Metric):
        def __call__(self, orbit, batch):
            shout("in a metric")
            return {"loud": orbit.output.flatten(1).mean(1) * float("inf")}

    return Loud()

def broken():
    shout("before it raises")
    raise RuntimeError("broken")

@idemlab.hookimpl
def provide_metrics():
    yield idemlab.MetricSpec(name="loud", factory=measure, summary="Prints wherever it can.")
    yield idemlab.MetricSpec(name="broken", factory=broken, summary="Raises.")
"""


@pytest.fixture
def noisy(here: Path) -> Path:
    """A folder with a plugin that prints wherever it can."""
    info = here / "site" / "noisy-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: noisy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[idemlab]\nnoisy = noisy\n")
    (here / "site" / "noisy.py").write_text(NOISY)
    tiny = (here / "tiny.toml").read_text()
    for name in ("loud", "broken"):
        (here / f"{name}.toml").write_text(tiny.replace("reconstruction-error", name))
    return here


def called(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder / "site"), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-m", "idemlab", *words],
        cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip


def strict(text: str) -> Any:
    """What a reader makes of it that knows no NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    "words",
    [
        ("list", "metrics", "--json"),
        pytest.param(("plugins", "--json"), marks=[pytest.mark.long, pytest.mark.slow]),
        pytest.param(("show", "loud", "--json"), marks=pytest.mark.long),
        pytest.param(("run", "loud.toml", "--json"), marks=[pytest.mark.long, pytest.mark.slow]),
        pytest.param(("sweep", "loud.toml", "--seeds", "2", "--jobs", "2", "--json"), marks=pytest.mark.long),
    ],
)
def test_a_plugin_that_prints_everywhere_leaves_the_result_alone(words: tuple[str, ...], noisy: Path) -> None:
    done = called(noisy, *words)
    assert done.returncode == 0, done.stderr
    assert strict(done.stdout)
    heard = ["at import", "at the end"] + ["in a factory", "in a metric"] * (words[0] == "run")
    for where in heard:
        assert done.stderr.count(f"loud {where}\n") >= 4, where
    if words[0] == "run":
        folder = noisy / "runs" / "loud"
        lines = [strict(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert abs(float(lines[-1]["data/loud"])) == math.inf
        assert strict((folder / "certificate.json").read_text()) == {
            key: value for key, value in strict(done.stdout).items() if key not in ("run", "report")
        }


@pytest.mark.long
def test_a_command_that_fails_leaves_stdout_empty(noisy: Path) -> None:
    done = called(noisy, "run", "broken.toml", "--json")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "broken" in done.stderr


def test_what_is_not_finite_has_one_form_that_is_read_back() -> None:
    content = {"a": [math.inf, -math.inf, 1.5], "b": {"c": (math.nan,)}}
    text = strict_json.dumps(content)
    assert strict(text) == {"a": ["Infinity", "-Infinity", 1.5], "b": {"c": ["NaN"]}}
    back = strict_json.loads(text)
    assert back["a"] == [math.inf, -math.inf, 1.5]
    assert math.isnan(back["b"]["c"][0])
    assert strict_json.loads("[Infinity, NaN]")[0] == math.inf, "as older files have it"
