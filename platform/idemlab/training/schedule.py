"""When training does what: the learning rate of each step, and what is due after it. One for both loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..experiment.experiment import Experiment
from ..experiment.settings import OptimizerSettings

__all__ = ["RANK_POINTS_IN_PASSING", "Schedule", "set_rates"]

RANK_POINTS_IN_PASSING = 1
"""Jacobians at an evaluation during the run; the last one has `evaluation.rank_points`."""


@dataclass(frozen=True)
class Schedule:
    """What is due after which step.

    Args:
        experiment: says how often.
        steps: of the run.
    """

    experiment: Experiment
    steps: int

    def progress(self, index: int) -> float:
        """Share of the run that is done before step `index`, counted from 0."""
        return index / self.steps

    def logs(self, done: int) -> bool:
        """Whether an entry is due after `done` steps."""
        return done % self.experiment.training.log_every == 0 or done == self.steps

    def evaluates(self, done: int) -> bool:
        """Whether an evaluation in passing is due; the last one is not."""
        return done % self.experiment.evaluation.every == 0 and done < self.steps

    def saves(self, done: int) -> bool:
        """Whether a checkpoint is due."""
        return done % self.experiment.training.checkpoint_every == 0 or done == self.steps

    def rate(self, settings: OptimizerSettings, done: int) -> float:
        """The learning rate of the last of `done` steps."""
        return settings.lr * settings.share_of_rate(self.progress(done - 1))


def set_rates(optimizers: Sequence[torch.optim.Optimizer], settings: OptimizerSettings, progress: float) -> None:
    """Give each parameter group its rate at a share of the run that is done."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * settings.share_of_rate(progress)
