"""The experiments that idemlab ships: one TOML file each, whose first line is its summary."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from idemlab import ExperimentSpec, hookimpl

EXPERIMENTS = Path(__file__).parent / "experiments"


def _summary(path: Path) -> str:
    """The first line alone is parsed: listing is fast."""
    with path.open(encoding="utf-8") as lines:
        summary: str = tomllib.loads(next(lines))["summary"]
    return summary


def _located(path: Path) -> Path:
    return path


@hookimpl
def provide_experiments() -> Iterable[ExperimentSpec]:
    """One experiment for every file in experiments/."""
    for path in sorted(EXPERIMENTS.glob("*.toml")):
        yield ExperimentSpec(name=path.stem, factory=partial(_located, path), summary=_summary(path))
