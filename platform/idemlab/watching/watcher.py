"""The events of a training run, which the trainer sends to its watchers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from traceback import extract_tb
from typing import TYPE_CHECKING

from ..catalog.faults import one_line
from ..errors import BadInput, Interrupted
from ..wording import with_article

if TYPE_CHECKING:
    from ..experiment.experiment import Experiment
    from ..objective.evaluation import Evaluation
    from ..objective.preflight import Plan
    from ..runs.run import Run

__all__ = ["Watcher", "Watchers", "check_watchers"]


class Watcher:
    """Receives the events of a run and ignores them; override the methods you need. Called in the main process only.

    If a watcher raises, the run prints one message and continues without it. To stop the run, raise
    `idemlab.Interrupted`: the state is saved, and the run can be resumed.
    """

    def started(self, experiment: Experiment, plan: Plan, first_step: int) -> None:
        """The preflight has passed, and training begins at `first_step`."""

    def stepped(self, step: int) -> None:
        """Optimiser step `step` (counted from 1) is done. Called at every step, so be quick."""

    def logged(self, step: int, values: Mapping[str, float]) -> None:
        """An entry was written to metrics.jsonl: the means of the training metrics since the entry before."""

    def evaluated(self, step: int, evaluation: Evaluation) -> None:
        """An evaluation is done; the final one has all spectra."""

    def saved(self, step: int, checkpoint: Path) -> None:
        """A checkpoint is written, and can be resumed from."""

    def ended(self, run: Run, error: BaseException | None) -> None:
        """The run is over, after `started`: complete if `error` is None; otherwise `error` is what stopped it."""

    def message(self, text: str) -> None:
        """A message for the user."""


class Watchers(Watcher):
    """Several watchers as one, in order. A fault of one of them does not stop the run.

    Attributes:
        stop: what a watcher raised to stop the run, or None.
    """

    def __init__(self, watchers: Iterable[Watcher] = ()) -> None:
        self._watchers = list(watchers)
        self._step = 0
        self.stop: Interrupted | None = None

    def started(self, experiment: Experiment, plan: Plan, first_step: int) -> None:
        self._step = first_step
        self._tell(lambda watcher: watcher.started(experiment, plan, first_step))

    def stepped(self, step: int) -> None:
        self._step = step
        self._tell(lambda watcher: watcher.stepped(step))

    def logged(self, step: int, values: Mapping[str, float]) -> None:
        self._tell(lambda watcher: watcher.logged(step, values))

    def evaluated(self, step: int, evaluation: Evaluation) -> None:
        self._tell(lambda watcher: watcher.evaluated(step, evaluation))

    def saved(self, step: int, checkpoint: Path) -> None:
        self._tell(lambda watcher: watcher.saved(step, checkpoint))

    def ended(self, run: Run, error: BaseException | None) -> None:
        self._tell(lambda watcher: watcher.ended(run, error))

    def message(self, text: str) -> None:
        self._tell(lambda watcher: watcher.message(text))

    def _tell(self, event: Callable[[Watcher], None]) -> None:
        for watcher in list(self._watchers):
            try:
                event(watcher)
            except Interrupted as stop:
                self.stop = self.stop or stop
            except Exception as error:
                self._watchers.remove(watcher)
                self._leave_out(watcher, error)

    def _leave_out(self, watcher: Watcher, error: Exception) -> None:
        last = extract_tb(error.__traceback__)[-1]
        place = f"{PurePath(last.filename).name}, line {last.lineno}"
        text = (
            f"watcher '{type(watcher).__name__}' raised {one_line(error)} ({place}) after step {self._step}: "
            "the run continues without it"
        )
        if any(type(each).message is not Watcher.message for each in self._watchers):
            self.message(text)
        else:  # nobody would hear it
            warnings.warn(text, stacklevel=2)


def check_watchers(watchers: object) -> None:
    """Refuse what is not a sequence of watchers."""
    wrong = (
        [each for each in watchers if not isinstance(each, Watcher)] if isinstance(watchers, Sequence) else [watchers]
    )
    for each in wrong:
        given = f"the class {each.__name__}" if isinstance(each, type) else with_article(type(each).__name__)
        raise BadInput(f"watchers cannot be {given}", where="watchers", expected="a list of idemlab.Watcher objects")
