"""Sweeps whose pictures are made, but not rendered."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _without_pictures(undrawn: None) -> None:
    """Each sweep makes a picture of its trials, which takes longer to render than a tiny trial to train."""
