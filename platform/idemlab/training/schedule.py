"""What is due after each step; for both training loops."""

from __future__ import annotations

from dataclasses import dataclass

from ..experiment.experiment import Experiment

__all__ = ["MEASURED_EVERY", "RANK_POINTS_IN_PASSING", "Schedule"]

MEASURED_EVERY = 5
"""Steps between measurements of the idempotence error of a batch. In each step they would cost small networks a twelfth."""
RANK_POINTS_IN_PASSING = 1
"""Number of Jacobians at an evaluation during training; the final one has `evaluation.rank_points`."""


@dataclass(frozen=True)
class Schedule:
    """Decides what is due after each step.

    Args:
        experiment: gives the intervals.
        steps: total number of steps.
    """

    experiment: Experiment
    steps: int

    def progress(self, index: int) -> float:
        """Share of the run that is done before step `index`, counted from 0."""
        return index / self.steps

    def logs(self, done: int) -> bool:
        """Whether an entry is due after `done` steps."""
        return done % self.experiment.training.log_every == 0 or done == self.steps

    def measures(self, done: int) -> bool:
        """Whether the last of `done` steps measures the idempotence error of its batch, for the log."""
        return done % MEASURED_EVERY == 0 or self.logs(done) or self.evaluates(done)

    def evaluates(self, done: int) -> bool:
        """Whether an evaluation during training is due; the final one is separate."""
        return done % self.experiment.evaluation.every == 0 and done < self.steps

    def saves(self, done: int) -> bool:
        """Whether a checkpoint is due."""
        return done % self.experiment.training.checkpoint_every == 0 or done == self.steps
