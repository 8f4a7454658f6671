"""What an enforcer returns at the first batch: checked, with whose fault it is if it cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..catalog.faults import author
from ..catalog.named import unless_extreme
from ..contracts.enforcer import Enforcement
from ..contracts.orbit import Orbit
from ..contracts.step import Step
from ..errors import Failure
from ..experiment.experiment import Experiment
from ..wording import counted, with_article

__all__ = ["answerable", "enforcer_at_fault"]


def answerable(experiment: Experiment, outermost: bool) -> Callable[[nn.Module, Any, Any], None]:
    """A forward hook that checks what an enforcer returns. The objective would broadcast a wrong shape silently."""

    plugins = {thing.plugin for thing in experiment.things}

    def hook(module: nn.Module, arguments: tuple[Orbit, Step], enforcement: Any) -> None:
        orbit, _ = arguments
        fault = _fault(orbit, enforcement)
        if fault:
            name = experiment.enforcer.name
            where = f"enforcer '{name}' of {experiment.enforcer.plugin}"
            if not outermost:
                where += f"; in it {type(module).__name__} of {author(type(module).__module__, plugins) or 'no plugin'}"
            raise Failure(
                f"the enforcer returned {fault} at the very first batch",
                where=where,
                expected="an idemlab.Enforcement with one finite loss a sample, [B], and reported values, [B] each",
                next_step=enforcer_at_fault(experiment),
            )

    return hook


def enforcer_at_fault(experiment: Experiment) -> str:
    """What to do next about what an enforcer returned."""
    enforcer = experiment.enforcer
    return unless_extreme([enforcer], f"{enforcer.how_to_check}, and {enforcer.plugin.remedy}")


def _fault(orbit: Orbit, enforcement: Any) -> str | None:
    """What is wrong with an enforcement, or None."""
    if not isinstance(enforcement, Enforcement):
        return f"{with_article(type(enforcement).__name__)}, not an idemlab.Enforcement,"
    size = orbit.input.shape[:1]
    values = {"loss": enforcement.loss} | {f"value '{name}'": value for name, value in enforcement.reported.items()}
    for name, value in values.items():
        if value is None and name == "loss":
            continue
        if not isinstance(value, torch.Tensor):
            return f"a {name} that is {with_article(type(value).__name__)}, not a tensor,"
        if value.shape != size:
            return f"a {name} of shape {list(value.shape)} for {counted(size[0], 'sample')}"
    fed = [orbit.input, *([orbit.ahead(0)] if orbit.known(1) else [])]
    if enforcement.loss is not None and all(map(_ordinary, fed)):
        wrong = enforcement.loss[~torch.isfinite(enforcement.loss)]
        if len(wrong):
            return f"a loss of {wrong[0].item()} at finite points"
    return None


def _ordinary(points: torch.Tensor) -> bool:
    """Whether a loss of these points can be computed: they are finite, and so are their squares' squares."""
    return bool(torch.isfinite(points.square().square()).all())
