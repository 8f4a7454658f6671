"""What every catalog has: the schedules of idemlab, the optimisers of torch, and the trackers that Accelerate knows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt, MinLen

from .. import __version__
from ..contracts.specs import ScheduleSpec, Spec, TrackerSpec
from .provided import Plugin, Provided
from .torch_optimizers import TORCH, torch_optimizers

__all__ = ["TRACKERS", "shipped"]

TRACKERS = {
    "aim": ("aim", "Aim"),
    "clearml": ("clearml", "ClearML"),
    "comet-ml": ("comet_ml", "Comet"),
    "dvclive": ("dvclive", "DVCLive"),
    "mlflow": ("mlflow", "MLflow"),
    "swanlab": ("swanlab", "SwanLab"),
    "tensorboard": ("tensorboard", "TensorBoard"),
    "trackio": ("trackio", "Trackio"),
    "wandb": ("wandb", "Weights & Biases"),
}
"""Each tracker by its name here: its name in Accelerate, which is that of its package, and its name in full."""
_EXTRAS = ("mlflow", "tensorboard", "trackio", "wandb")
"""Trackers that idemlab has an extra for."""


def constant() -> Callable[[float], float]:
    """The highest rate throughout."""
    return lambda progress: 1.0


def cosine() -> Callable[[float], float]:
    """Half a cosine, from lr down to final * lr."""
    return lambda progress: (1 + math.cos(math.pi * progress)) / 2


def linear() -> Callable[[float], float]:
    """A straight line, from lr down to final * lr."""
    return lambda progress: 1 - progress


def step(
    at: Annotated[tuple[Annotated[float, Gt(0), Lt(1)], ...], MinLen(1)] = (0.5, 0.75),
    factor: Annotated[float, Ge(0), Le(1)] = 0.1,
) -> Callable[[float], float]:
    """Multiplies the rate by a factor at some points of the run.

    Args:
        at: the points, as shares of the run after the warm-up.
        factor: of each of them.
    """
    return lambda progress: factor ** sum(progress >= point for point in at)


class _Tracker:
    """Gives the name by which Accelerate knows a tracker, if its package is installed."""

    def __init__(self, package: str) -> None:
        self._package = self.__name__ = package
        self.__annotations__: dict[str, object] = {}

    def __call__(self) -> str:
        if find_spec(self._package) is None:
            raise ModuleNotFoundError(f"No module named '{self._package}'", name=self._package)
        return self._package


@cache
def shipped() -> tuple[Provided, ...]:
    """The specs with their providers."""
    schedules = [
        ScheduleSpec(name="constant", factory=constant, summary="The highest rate throughout."),
        ScheduleSpec(name="cosine", factory=cosine, summary="Half a cosine."),
        ScheduleSpec(name="linear", factory=linear, summary="A straight line."),
        ScheduleSpec(name="step", factory=step, summary="A factor at some points of the run."),
    ]
    trackers = [
        TrackerSpec(
            name=name,
            factory=_Tracker(package),
            summary=f"{full}, through Accelerate.",
            install=f"idemlab[{name}]" if name in _EXTRAS else package.replace("_", "-"),
        )
        for name, (package, full) in TRACKERS.items()
    ]
    return (
        *_of("idemlab", __version__, schedules),
        *_of("accelerate", _version("accelerate"), trackers),
        *_of(TORCH, _version("torch"), torch_optimizers()),
    )


def _of(distribution: str, number: str, specs: Sequence[Spec]) -> list[Provided]:
    # Without a module: nearly every error passes through idemlab and torch, and few are theirs.
    plugin = Plugin(name=distribution, distribution=distribution, version=number, module="")
    return [Provided(spec, plugin) for spec in specs]


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "-"
