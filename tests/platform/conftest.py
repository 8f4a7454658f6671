"""A tiny experiment on registered names, for the tests of the platform."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

TINY: dict[str, Any] = {
    "summary": "tiny",
    "dataset": {"name": "gaussian", "shape": [4], "train": 64, "test": 32},
    "model": {"name": "mlp", "width": 8, "depth": 1},
    "enforcer": {"name": "gradient"},
    "optimizer": {"name": "adam", "lr": 0.01},
    "training": {"steps": 12, "batch_size": 16, "log_every": 4, "checkpoint_every": 5},
    "evaluation": {"every": 6, "rank_points": 2, "metrics": ["reconstruction-error"]},
}


@pytest.fixture
def tiny() -> Callable[..., dict[str, Any]]:
    """A function that gives the tiny experiment's table with whole tables or single keys (`table__key`) replaced."""

    def make(**changes: Any) -> dict[str, Any]:
        table = copy.deepcopy(TINY)
        for key, value in changes.items():
            name, _, inner = key.partition("__")
            if inner:
                table.setdefault(name, {})[inner] = value
            else:
                table[name] = value
        return table

    return make
