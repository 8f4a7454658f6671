"""What a board shows of a run, a trial, a sweep or a study."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..wording import clipped
from .thumbnails import Curve

__all__ = ["TEXT", "Found", "Trials", "Values", "changed", "described", "first_file", "logged", "size"]

TEXT = 300
"""Longest text of a file that is shown."""
Trials = dict[str, tuple[dict[str, str], tuple[str, ...]]]
"""Name of a trial's folder -> (its row in the table of the sweep, the keys that the sweep varies)."""


@dataclass(frozen=True, kw_only=True)
class Values:
    """What was measured at one set of inputs; None for what was not.

    Args:
        relative: relative error of the first application.
        absolute: absolute error of the first application.
        spread: of f(x).
        share: spread of f(x) as a share of the spread of x.
        rank: median rank of the Jacobian.
        dimension: number of entries of a sample.
    """

    relative: float | None = None
    absolute: float | None = None
    spread: float | None = None
    share: float | None = None
    rank: float | None = None
    dimension: int | None = None


@dataclass(frozen=True, kw_only=True)
class Found:
    """A run, a trial of a sweep, a sweep or a study; or a folder that cannot be read.

    Args:
        kind: what it is.
        path: its folder.
        state: how far it is.
        told: the verdict in plain words, the progress, or what is damaged.
        verdict: the certificate's; empty without one.
        experiment: name of the experiment, as far as it is known.
        parts: names of its data, model and enforcer.
        settings: what distinguishes a trial from the others of its sweep.
        seed: of the run.
        steps: optimiser steps of a finished run.
        values: inputs -> values at the end of the run or at its last evaluation; of a sweep, those of its best trial.
        curves: inputs -> relative error over the steps.
        trials: (relative error, verdict) of each trial of a sweep, in their order.
        picture: file of its picture.
        page: file to open: a report, the picture of a sweep, or a record.
        changed: when its result was written, in seconds since 1970.
    """

    kind: Literal["run", "trial", "sweep", "study", "folder"]
    path: Path
    state: Literal["finished", "running", "not finished", "failed", "pruned", "damaged"]
    told: str
    verdict: str = ""
    experiment: str = ""
    parts: tuple[str, ...] = ()
    settings: str = ""
    seed: int | None = None
    steps: int | None = None
    values: Mapping[str, Values] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    trials: tuple[tuple[float | None, str], ...] = ()
    picture: Path | None = None
    page: Path | None = None
    changed: float = 0.0

    @property
    def worst(self) -> str | None:
        """The set of inputs with the largest relative error, or None if there are none."""
        return max(self.values, key=lambda name: size(self.values[name].relative), default=None)


# -- what files say ------------------------------------------------------------------------------------------------------


def described(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """Parts and seed of an experiment's table, whatever else a stranger wrote into it."""

    def of(table: str, key: str) -> Any:
        inner = experiment.get(table)
        return inner.get(key) if isinstance(inner, Mapping) else None

    names = [of(table, "name") for table in ("dataset", "model", "enforcer")]
    seed = of("training", "seed")
    return {
        "parts": tuple(clipped(name) for name in names if isinstance(name, str)),
        "seed": seed if isinstance(seed, int) else None,
    }


def logged(values: Mapping[str, float | None]) -> Values:
    """The values of one set of inputs at an evaluation during training, or in the table of a sweep."""
    spread, of_x = values.get("spread"), values.get("input_spread")
    return Values(
        relative=values.get("relative"),
        absolute=values.get("absolute"),
        spread=spread,
        share=spread / of_x if spread is not None and of_x else None,
        rank=values.get("rank"),
    )


def first_file(folder: Path, *names: str) -> Path | None:
    """The first of the files that exists."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def changed(*files: Path) -> float:
    """When the first of the files that exists was written; 0 if none does."""
    for file in files:
        try:
            return file.stat().st_mtime
        except OSError:
            continue
    return 0.0


def size(value: float | None) -> float:
    """A number to sort by: what was not measured is smallest, what is not a number largest."""
    return -math.inf if value is None else math.inf if math.isnan(value) else value
