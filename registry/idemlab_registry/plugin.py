"""The experiments, studies and suites that idemlab ships. Experiments and suites are TOML files with a summary first."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from idemlab import ExperimentSpec, StudySpec, SuiteSpec, hookimpl

EXPERIMENTS = Path(__file__).parent / "experiments"
SUITES = Path(__file__).parent / "suites"
OPERATORS = Path(__file__).parent / "operators"
"""One folder for each experiment whose trained operator is shipped; made by `shipped`."""


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
        shipped = OPERATORS / path.stem
        yield ExperimentSpec(
            name=path.stem,
            factory=partial(_located, path),
            summary=_summary(path),
            operator=shipped if shipped.is_dir() else None,
        )


_PAPER = "N. B. Jensen and J. Vicary, Enforcing Idempotency in Neural Networks, ICML 2025"
STUDIES = {
    "basin": "Basins of the cubic iteration in the complex plane: the Julia set, beside related polynomials.",
    "derivation": "Derives the cubic by symbolic algebra, and compares ordinary and modified backpropagation on one layer.",
    "dominance": "Compares the relative error as a loss with the canonical loss in every measure, on one MLP.",
    "faces": "Applies the method of `generation` to 400 faces, and tests it on unseen people.",
    "generation": "Compares cubic, IGN, their mixtures and noise matched to data on digits, at equal counted FLOPs.",
    "gradients": "Compares the norms of the two gradients, and the angle between them, along a training run.",
    "iteration": "The cubic iteration on the reals: fixed points, slopes, basins, and damping.",
    "latent": "Looks inside a generating projector: bottleneck, interpolation, drift over 50 applications, memorisation.",
    "learning-rates": "Compares cubic and gradient errors at many learning rates: the paper's protocol, then controls.",
    "rank": "Sets the rank of an MLP's projection by a loss, and measures the rank by exact Jacobians.",
    "trajectories": "Draws the weight paths of both methods over the contours of the idempotence loss.",
}


def _study(name: str) -> Any:
    return import_module(f"idemlab_registry.studies.{name.replace('-', '_')}").study()


@hookimpl
def provide_studies() -> Iterable[StudySpec]:
    """The studies of the paper's claims, one module each in studies/."""
    for name, summary in STUDIES.items():
        yield StudySpec(name=name, factory=partial(_study, name), summary=summary, reference=_PAPER)


@hookimpl
def provide_suites() -> Iterable[SuiteSpec]:
    """One suite for every file in suites/."""
    for path in sorted(SUITES.glob("*.toml")):
        yield SuiteSpec(name=path.stem, factory=partial(_located, path), summary=_summary(path))
