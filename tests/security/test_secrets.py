"""Nothing of the process's environment reaches a file or the screen."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tomli_w

VARIABLES = [
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "WANDB_API_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "GITHUB_TOKEN",
    "DATABASE_URL",
    "OPTUNA_STORAGE_PASSWORD",
    "IDEMLAB_SECRET",
    "MY_PRIVATE_VALUE",
]
COMMANDS = """
import sys
from idemlab.cli import app

def command(*arguments):
    try:
        app(list(arguments))
    except SystemExit as end:
        print(arguments[0], "ended with", end.code)

command("run", "tiny.toml", "--out", "run")
command("sweep", "tiny.toml", "--over", "optimizer.lr=0.001", "--out", "sweep")
command("run", "tiny.toml", "--set", "model.name=gone", "--out", "unknown")
command("run", "tiny.toml", "--set", "optimizer.name=sgd", "--set", "optimizer.lr=1e30", "--out", "diverged")
command("run", "tiny.toml", "--set", "dataset={name='image-folder', path='/nowhere'}", "--out", "no-data")
command("run", "tiny.toml", "--out", "run")

import idemlab.training.loop

def broken(*arguments, **options):
    environment = dict(__import__("os").environ)
    raise RuntimeError(f"a bug in a function that knows {len(environment)} variables")

idemlab.training.loop.train = broken
command("run", "tiny.toml", "--out", "bug")
"""


@pytest.mark.long
def test_secrets_stay_in_the_environment(tiny: dict[str, Any], tmp_path: Path) -> None:
    """A run, a report, a sweep, failures of several kinds and a bug: all files and all that is printed."""
    (tmp_path / "tiny.toml").write_text(tomli_w.dumps(tiny))
    (tmp_path / "home").mkdir()
    marker = secrets.token_hex(8)
    hidden = {name: f"{marker}{i}" for i, name in enumerate(VARIABLES)} | {f"NAME{marker}": "x"}
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        cwd=tmp_path,
        env=os.environ | hidden | {"HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    ended = [line for line in done.stdout.splitlines() if " ended with " in line]
    codes = [line.rpartition(" ")[2] for line in ended]
    assert codes == ["0", "0", "2", "1", "2", "2", "1"], done.stdout + done.stderr
    assert "a bug in a function that knows" in done.stderr
    assert marker not in done.stdout
    assert marker not in done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"environment.json", "metrics.jsonl", "report.html", "sweep.toml", "journal.log", "table.csv"} <= names
    assert [path for path in files if marker.encode() in path.read_bytes() or marker in path.name] == []
