"""The length of a run in optimiser steps."""

from __future__ import annotations

from ..errors import BadInput
from ..experiment.settings import TrainingSettings

__all__ = ["planned_steps"]

_MOST_STEPS = 10**12
"""A thousand steps a second make so many in thirty years."""


def planned_steps(training: TrainingSettings, steps_per_epoch: int, flops_per_step: int) -> int:
    """Optimiser steps of a run, whichever way its length is given.

    Raises:
        BadInput: if it would not end in a lifetime, which is a typing error.
    """
    value: float
    if training.epochs is not None:
        given, value, steps = "epochs", training.epochs, training.epochs * steps_per_epoch
    elif training.steps is not None:
        given, value, steps = "steps", training.steps, training.steps
    else:
        given, value = "flops", training.flops or 0.0
        steps = max(1, round(value / max(flops_per_step, 1)))
    if steps > _MOST_STEPS:
        raise BadInput(
            f"a run with {given} = {min(value, 1e300):.6g} never ends: the number of steps is {min(steps, 10**300):.1e}",
            where=f"[training], key '{given}'",
            expected=f"a number of steps up to {_MOST_STEPS:.0e}"
            + f", of {flops_per_step:.3g} FLOPs each" * (given == "flops"),
            next_step=f"lower training.{given}",
        )
    return steps
