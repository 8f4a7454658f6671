"""The events of a training run, which the trainer sends to a watcher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..experiment.experiment import Experiment
    from ..objective.evaluation import Evaluation
    from ..objective.preflight import Plan

__all__ = ["Watcher"]


class Watcher:
    """Receives the events of a run and ignores them; override the methods you need. Called in the main process only."""

    def started(self, experiment: Experiment, plan: Plan, first_step: int) -> None:
        """The preflight has passed, and training begins at `first_step`."""

    def stepped(self, step: int) -> None:
        """Optimiser step `step` (counted from 1) is done. Called at every step, so be quick."""

    def logged(self, step: int, values: Mapping[str, float]) -> None:
        """An entry was written to metrics.jsonl: the means of the training metrics since the entry before."""

    def evaluated(self, step: int, evaluation: Evaluation) -> None:
        """An evaluation is done; the final one has all spectra."""

    def message(self, text: str) -> None:
        """A message for the user."""
