"""What a run tells while it goes on. The trainer calls a watcher; what becomes of it is the watcher's affair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..experiment.experiment import Experiment
    from ..objective.evaluation import Evaluation
    from ..objective.preflight import Plan

__all__ = ["Watcher"]


class Watcher:
    """Hears of the events of a run and does nothing; override what is of interest. Called in the main process only."""

    def started(self, experiment: Experiment, plan: Plan, first_step: int) -> None:
        """The preflight is passed, training begins at `first_step`."""

    def stepped(self, step: int) -> None:
        """Optimiser step `step` (counted from 1) is done. Called at every step: be quick."""

    def logged(self, step: int, figures: Mapping[str, float]) -> None:
        """The mean training figures since the last such entry went into metrics.jsonl."""

    def evaluated(self, step: int, evaluation: Evaluation) -> None:
        """An evaluation is done; the last one has all spectra."""

    def message(self, text: str) -> None:
        """Something that the user should know."""
