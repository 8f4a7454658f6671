"""A sweep of four short trials, a database for it, and no picture drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from idemlab import Sweep


@pytest.fixture(autouse=True)
def _without_pictures(undrawn: None) -> None:
    """Each sweep makes a picture of its trials. To draw it takes longer than to train a tiny trial."""


@pytest.fixture
def plan(tiny: Callable[..., dict[str, Any]], tmp_path: Path) -> Sweep:
    """Two enforcers and two seeds."""
    file = tmp_path / "tiny.toml"
    file.write_text(tomli_w.dumps(tiny(training={"steps": 4, "batch_size": 16})))
    return Sweep(experiment=str(file), over={"enforcer.name": ["gradient", "relative"]}, seeds=2)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Of a database that does not exist yet."""
    return f"sqlite:///{tmp_path}/trials.db"
