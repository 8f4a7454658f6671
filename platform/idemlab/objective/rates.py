"""The learning rate over a run: a linear warm-up, then the schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from ..errors import Failure
from ..experiment.blame import blame
from ..experiment.experiment import Experiment

__all__ = ["Rates"]


class Rates:
    """Gives the learning rate for each completed share of the run, in [0, 1).

    Raises:
        Failure: if the schedule is no function, or its rate is not finite or negative somewhere.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._experiment, self._settings = experiment, experiment.optimizer
        self._curve: Callable[[float], float] = experiment.schedule.build()
        if not callable(self._curve):
            raise self._wrong(f"returned {type(self._curve).__name__}")
        for i in range(100):
            self._falls_to(i / 100)

    def share(self, progress: float) -> float:
        """The rate as a share of the highest one."""
        settings = self._settings
        if progress < settings.warmup:
            return progress / settings.warmup
        return settings.final + (1 - settings.final) * self._falls_to(
            (progress - settings.warmup) / max(1 - settings.warmup, 1e-12)
        )

    def rate(self, progress: float) -> float:
        """The rate itself."""
        return self._settings.lr * self.share(progress)

    def set(self, optimizers: Sequence[torch.optim.Optimizer], progress: float) -> None:
        """Set the rate of each parameter group."""
        share = self.share(progress)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * share

    def _falls_to(self, done: float) -> float:
        value = blame(self._experiment, lambda: self._curve(done), "the schedule")
        if not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
            raise self._wrong(f"gives the rate {value} after {100 * done:g} % of the run")
        return value

    def _wrong(self, what: str) -> Failure:
        schedule = self._experiment.schedule
        return Failure(
            f"{schedule} {what}",
            where=str(schedule.plugin),
            expected="a function of progress that returns a finite number, at least 0",
            next_step=schedule.how_to_look_up,
        )
