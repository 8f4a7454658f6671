"""All checks. Importing this package registers them in the order in which they run."""

from __future__ import annotations

from . import robustness  # noqa: F401

# isort: split
from . import gradients  # noqa: F401

# isort: split
from . import conditions, datasets, idempotents, metrics, models, optimizers, schedules, sources, trackers  # noqa: F401

__all__: list[str] = []
