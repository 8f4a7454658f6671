"""A run to damage, trained once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import idemlab
from idemlab.watching.watcher import Watcher

TABLE: dict[str, Any] = {
    "summary": "tiny",
    "dataset": {"name": "gaussian", "shape": [4], "train": 64, "test": 32},
    "model": {"name": "mlp", "width": 8, "depth": 1},
    "enforcer": {"name": "gradient"},
    "training": {"steps": 12, "batch_size": 16, "log_every": 5, "checkpoint_every": 3, "keep": 3},
    "evaluation": {"every": 6, "rank_points": 2},
}


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> idemlab.Run:
    return idemlab.train(TABLE, tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture
def done(_trained: idemlab.Run, tmp_path: Path) -> idemlab.Run:
    """A finished run of 12 steps with the checkpoints of steps 6, 9 and 12."""
    return idemlab.Run(Path(shutil.copytree(_trained.path, tmp_path / "done")))


@pytest.fixture
def resume() -> Callable[[idemlab.Run], list[str]]:
    """A function that goes on with such a run and gives what it says."""

    class Heard(Watcher):
        messages: list[str]

        def __init__(self) -> None:
            self.messages = []

        def message(self, text: str) -> None:
            self.messages.append(text)

    def go_on(run: idemlab.Run) -> list[str]:
        heard = Heard()
        idemlab.train(TABLE, run.path, resume=True, watchers=[heard])
        return heard.messages

    return go_on
