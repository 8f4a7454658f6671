"""A finished run with a genuine projection."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

import idemlab

TABLE: dict[str, Any] = {
    "summary": "A projection\nof the plane.",
    "dataset": {"name": "gaussian", "shape": [4], "train": 64, "test": 32},
    "model": {"name": "linear", "init": "spectrum", "rank": 2},
    "enforcer": {"name": "cubic-projection"},
    "training": {"steps": 12, "batch_size": 16},
    "optimizer": {"name": "sgd", "lr": 0.0},
    "evaluation": {"rank_points": 2, "metrics": ["reconstruction-error"]},
}


@pytest.fixture(scope="session")
def projector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run with a genuine projection; not to be written to."""
    run = idemlab.train(TABLE, tmp_path_factory.mktemp("projector") / "mlp-cubic", progress=False)
    assert run.certificate is not None
    assert run.certificate["verdict"] == "genuine"
    run.figures.mkdir()
    (run.figures / "hero.png").write_bytes(b"png")
    return run.path


@pytest.fixture
def plane() -> dict[str, Any]:
    """The table of its experiment, to change at will."""
    return copy.deepcopy(TABLE)
