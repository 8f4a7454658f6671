"""The best evaluation of a run with its weights, and the end of a run that no longer improves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..experiment.settings import BestSettings, StopSettings
from ..objective.evaluation import Evaluation
from ..wording import counted

__all__ = ["Best", "Patience"]


class Best:
    """The weights at the best evaluation so far.

    A collapsed or much narrowed operator, and one whose metric is missing or not finite, is never the best.

    Attributes:
        step: of the best evaluation; None while no evaluation could count.
        weights: the operator's whole state then, on the CPU.
    """

    def __init__(self, settings: BestSettings) -> None:
        self.goal = settings.goal
        self.step: int | None = None
        self.weights: dict[str, Tensor] = {}
        self._value = self.goal.worst

    def improves(self, evaluation: Evaluation) -> bool:
        """Whether an evaluation is better than the best so far."""
        return self.goal.better(self.goal.of_run(evaluation.flat(), evaluation.verdict.value), self._value)

    def take(self, step: int, evaluation: Evaluation, weights: Mapping[str, Tensor]) -> None:
        """Make this evaluation the best."""
        self.step, self._value = step, self.goal.of_run(evaluation.flat(), evaluation.verdict.value)
        self.weights = {name: value.detach().to("cpu", copy=True) for name, value in weights.items()}

    def state(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {"step": self.step, "value": self._value, "weights": self.weights}

    def load(self, state: Mapping[str, Any] | None) -> None:
        """Restore it from a checkpoint; one that has none leaves it as it is."""
        if state is not None:
            self.step, self._value, self.weights = state["step"], state["value"], dict(state["weights"])


class Patience:
    """Counts the evaluations since the last improvement of a metric.

    A collapsed operator, and a metric that is missing or not finite, are no improvement.
    """

    def __init__(self, settings: StopSettings) -> None:
        self._settings, self._goal = settings, settings.goal
        self._value = self._goal.worst
        self._since = 0

    def see(self, evaluation: Evaluation) -> None:
        """Count an evaluation."""
        value = self._goal.of_run(evaluation.flat(), evaluation.verdict.value)
        margin = self._settings.margin if self._settings.maximize else -self._settings.margin
        if self._goal.better(value, self._value + margin):
            self._value, self._since = value, 0
        else:
            self._since += 1

    @property
    def over(self) -> bool:
        """Whether the run should end."""
        return self._since >= self._settings.patience

    def sentence(self, done: int, steps: int) -> str:
        """Why the run ended early, for the certificate."""
        return (
            f"Training stopped early, after step {done} of {steps}: "
            f"{self._settings.metric} had not improved for {counted(self._since, 'evaluation')}."
        )

    def state(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {"value": self._value, "since": self._since}

    def load(self, state: Mapping[str, Any] | None) -> None:
        """Restore it from a checkpoint; one that has none leaves it as it is."""
        if state is not None:
            self._value, self._since = state["value"], state["since"]
