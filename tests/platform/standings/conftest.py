"""A suite of two tiny tasks, as a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w

SUITE: dict[str, Any] = {
    "summary": "Two tiny tasks.",
    "trials": 2,
    "seeds": 2,
    "task": {
        "plain": {
            "title": "Vectors",
            "experiment": "tiny.toml",
            "flops": 3e5,
            "quick_flops": 1e5,
            "over": {"optimizer.lr": "log:1e-3:1e-2"},
            "relative": ["data/relative", "noise/relative"],
            "deviation": {"data/reconstruction_error": 0.8},
            "columns": {"data/relative": "at data"},
            "rank": 2,
            "true_rank": 4,
            "models": {"inverse": {"name": "coupling", "width": 8, "leading": 2}},
        },
        "sorting": {
            "title": "Lists",
            "experiment": "tiny.toml",
            "set": {"dataset": {"name": "sequences", "length": 4, "train": 64, "test": 32}, "source": "data"},
            "flops": 3e5,
            "over": {"optimizer.lr": "log:1e-3:1e-2"},
            "relative": ["data/relative"],
            "deviation": {"data/reconstruction_error": 0.5},
        },
    },
    "arm": {
        "none": {"enforcer": "none"},
        "gradient": {"enforcer": {"name": "gradient"}, "over": {"enforcer.weight": "log:0.1:10"}},
        "linearizer": {"enforcer": "linearizer", "rank": True},
        "section": {"enforcer": "section", "tasks": ["plain"]},
    },
    "quick": {"tasks": ["plain"], "arms": ["none", "gradient", "section"], "trials": 1, "seeds": 1},
}


@pytest.fixture
def suite_table(changing: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """A function that gives the suite's table with whole tables or single keys (`table__key`) replaced."""
    made: Callable[..., dict[str, Any]] = changing(SUITE)
    return made


@pytest.fixture
def write_suite(
    tiny: Callable[..., dict[str, Any]], suite_table: Callable[..., dict[str, Any]], tmp_path: Path
) -> Callable[..., str]:
    """A function that writes the suite, with changes, and its experiment; it gives the path."""

    def write(**changes: Any) -> str:
        experiment = tiny(dataset={"name": "gaussian", "shape": [4], "train": 64, "test": 32})
        (tmp_path / "tiny.toml").write_text(tomli_w.dumps(experiment))
        (tmp_path / "suite.toml").write_text(tomli_w.dumps(suite_table(**changes)))
        return str(tmp_path / "suite.toml")

    return write
