"""A tiny experiment, and a module that tells whether anybody imported it."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TINY: dict[str, Any] = {
    "summary": "tiny",
    "dataset": {"name": "gaussian", "shape": [4], "train": 64, "test": 32},
    "model": {"name": "mlp", "width": 8, "depth": 1},
    "enforcer": {"name": "gradient"},
    "training": {"steps": 4, "batch_size": 16, "log_every": 2, "checkpoint_every": 2},
    "evaluation": {"every": 2, "rank_points": 1, "metrics": ["reconstruction-error"]},
}


@pytest.fixture
def tiny() -> dict[str, Any]:
    """The table of a tiny experiment, to change at will."""
    return copy.deepcopy(TINY)


class _Watch:
    """A finder that finds nothing and remembers what was looked for."""

    def __init__(self) -> None:
        self.wanted: list[str] = []

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        self.wanted.append(name)


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """A module `stranger_code` on the search path; the function gives each attempt to import it or a part of it."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "stranger_code.py").write_text("def run(*args, **options):\n    raise SystemExit('it ran')\n")
    watch = _Watch()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "meta_path", [watch, *sys.meta_path])
    yield lambda: [name for name in watch.wanted if name.startswith("stranger_code")]
    assert sys.modules.pop("stranger_code", None) is None
