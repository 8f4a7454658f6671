"""A tiny experiment as a file, and the command line in process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from idemlab.cli import app

TINY = """\
summary = "A tiny run."

[dataset]
name = "gaussian"
shape = [4]
train = 64
test = 32

[model]
name = "mlp"
width = 8
depth = 1

[enforcer]
name = "gradient"

[training]
steps = 6
batch_size = 16
log_every = 2
checkpoint_every = 3

[evaluation]
every = 4
rank_points = 2
metrics = ["reconstruction-error"]
"""

Idemlab = Callable[..., Result]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unplotted: None) -> Path:
    """An empty working folder that holds `tiny.toml` only; no terminal, no launcher, no pictures drawn."""
    monkeypatch.chdir(tmp_path)
    for name in ("RANK", "LOCAL_RANK", "FORCE_COLOR", "TTY_COMPATIBLE", "NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "tiny.toml").write_text(TINY)
    return tmp_path


@pytest.fixture
def idemlab(here: Path) -> Idemlab:
    """The command line, in process: `idemlab("list", "enforcers").exit_code`."""
    runner = CliRunner()

    def call(*arguments: str | Path) -> Result:
        return runner.invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)

    return call


@pytest.fixture
def terminal(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the output goes to a terminal of 100 columns."""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished tiny run; not to be written to."""
    from idemlab import train

    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.toml").write_text(TINY)
    return train(folder / "tiny.toml", folder / "tiny").path
