"""Shows the progress of a run: a bar in a notebook and on a terminal, plain lines elsewhere; only in the main process."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

from ..certificate.verdict import COLLAPSED, collapses
from ..wording import number, plural, time_span
from .terminal import console, is_main_process, notebook
from .watcher import Watcher

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from ..certificate.certificate import Certificate
    from ..experiment.experiment import Experiment
    from ..objective.evaluation import Evaluation
    from ..objective.preflight import Plan
    from ..runs.run import Run

__all__ = ["watching"]

REDRAW = 0.25
"""Seconds between two drawings of the bar; each costs training some milliseconds."""


@contextmanager
def watching() -> Iterator[Watcher]:
    """A watcher that shows the progress of a run in a notebook's cell, or on stderr, where the bar disappears at the end."""
    if not is_main_process():
        yield Watcher()
        return
    display = notebook()
    if display is not None:
        yield _Cell(display)
        return
    out = console(sys.stderr)
    if not out.is_terminal:
        yield _Lines()
        return
    bar = _Bar(out)
    try:
        yield bar
    finally:
        bar.close()


class _Shown(Watcher):
    """Says once when a collapse begins, and once when it is over."""

    _collapsed = False

    def logged(self, step: int, values: Mapping[str, float]) -> None:
        if "spread" not in values:
            return
        spread, before = values["spread"], self._collapsed
        self._collapsed = collapses(spread, values["relative"])
        if self._collapsed and not before:
            share = number(100 * spread)
            self.message(f"step {step}: collapse: {COLLAPSED}, their spread is {share} % of that of the inputs")
        elif before and not self._collapsed:
            self.message(f"step {step}: the collapse is over")


class _Lines(_Shown):
    """Shows progress as plain lines."""

    def __init__(self) -> None:
        self._total = 0
        self._first = 0
        self._relative: float | None = None
        self._rank = number(None)

    def say(self, text: str) -> None:
        """Print a line at once; a closed pipe does not stop the run."""
        with contextlib.suppress(BrokenPipeError):
            print(text, file=sys.stderr, flush=True)

    def started(self, experiment: Experiment, plan: Plan, first_step: int) -> None:
        self._total, self._first = plan.steps, first_step
        self._began = self._since = time.monotonic()
        self._counted = first_step
        self.say(
            f"{experiment.name}: {experiment.model.name} on {experiment.dataset.name}, enforcer {experiment.enforcer.name}; "
            f"{plan.parameters:,} {plural(plan.parameters, 'parameter')}, {plan.steps:,} {plural(plan.steps, 'step')} "
            f"on {plan.device}"
        )

    def logged(self, step: int, values: Mapping[str, float]) -> None:
        now = time.monotonic()
        rate = (step - self._counted) / max(now - self._since, 1e-9)
        self._counted, self._since = step, now
        self.say(
            f"step {step}/{self._total}  loss {number(values['loss'])}  "
            f"error {number(values.get('relative', self._relative))}  rank {self._rank}  "
            f"{number(rate)} steps/s  {self._left(step)} left"
        )
        super().logged(step, values)

    def evaluated(self, step: int, evaluation: Evaluation) -> None:
        self._since = time.monotonic()
        self._relative, self._rank = _worst(evaluation)
        parts = [
            f"{name}: error {number(certificate.relative[0])}, rank {_rank(certificate)}"
            for name, certificate in evaluation.certificates.items()
        ]
        self.say(f"step {step}/{self._total}  " + "; ".join(parts))

    def message(self, text: str) -> None:
        self.say(text)

    def _left(self, step: int) -> str:
        done = max(step - self._first, 1)
        return time_span(round((time.monotonic() - self._began) / done * (self._total - step)))


class _Moving(_Shown):
    """Shows progress as a display that is redrawn at most every `REDRAW` seconds."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = dict.fromkeys(("loss", "error", "rank"), number(None))
        self._from_training = False
        self._next = 0.0

    def started(self, experiment: Experiment, plan: Plan, first_step: int) -> None:
        self._total, self._first = plan.steps, first_step
        self._began = time.monotonic()

    def stepped(self, step: int) -> None:
        if time.monotonic() >= self._next or step == self._total:
            self._show(step)

    def logged(self, step: int, values: Mapping[str, float]) -> None:
        self._values["loss"] = number(values["loss"])
        if "relative" in values:
            self._from_training = True
            self._values["error"] = number(values["relative"])
        super().logged(step, values)

    def evaluated(self, step: int, evaluation: Evaluation) -> None:
        error, self._values["rank"] = _worst(evaluation)
        if not self._from_training:
            self._values["error"] = number(error)
        self._show(step)

    def _show(self, step: int) -> None:
        now = time.monotonic()
        self._next = now + REDRAW
        self._draw(step, (step - self._first) / max(now - self._began, 1e-9))

    @abstractmethod
    def _draw(self, step: int, rate: float) -> None:
        """Draw the state after a step, at this mean rate of steps per second."""


class _Bar(_Moving):
    """Shows progress as a bar on a terminal, below the lines that stay."""

    def __init__(self, out: Console) -> None:
        super().__init__()
        self._out = out
        self._bar: Progress | None = None
        self._status = out.status("preparing")
        self._status.start()

    def started(self, experiment: Experiment, plan: Plan, first_step: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column

        self._status.stop()
        self._out.print(
            f"{experiment.model.name} on {experiment.dataset.name}, enforcer {experiment.enforcer.name}; "
            f"{plan.parameters:,} {plural(plan.parameters, 'parameter')} on {plan.device}"
        )
        taken = len(experiment.name) + 2 * len(str(plan.steps)) + len("/ 00:00:00   ")
        self._bar = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            BarColumn(bar_width=None),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            *(
                TextColumn(text, markup=False, table_column=Column(no_wrap=True))
                for text in _fitting(self._out.width, taken)
            ),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
            console=self._out,
            auto_refresh=False,
            transient=True,
            expand=True,
        )
        super().started(experiment, plan, first_step)
        self._task = self._bar.add_task(
            experiment.name, total=plan.steps, completed=first_step, rate=number(None), **self._values
        )
        self._bar.start()

    def message(self, text: str) -> None:
        self._out.print(text)

    def close(self) -> None:
        """Remove the bar from the screen."""
        self._status.stop()
        if self._bar is not None:
            self._bar.stop()

    def _draw(self, step: int, rate: float) -> None:
        assert self._bar is not None
        words: dict[str, Any] = {"description": "certifying"} if step == self._total else {}
        recent = self._bar.tasks[0].speed or rate
        self._bar.update(self._task, completed=step, rate=number(recent), **words, **self._values)
        self._bar.refresh()


class _Cell(_Moving):
    """Shows progress as a bar in the output of a notebook's cell, above the lines that stay.

    Args:
        display: the module `IPython.display`.
    """

    def __init__(self, display: Any) -> None:
        super().__init__()
        self._display = display
        self._lines: list[str] = []
        self._state = _Html("preparing", "preparing")
        self._handle = display.display(self._state, display_id=True)

    def started(self, experiment: Experiment, plan: Plan, first_step: int) -> None:
        super().started(experiment, plan, first_step)
        self._name = experiment.name
        self._lines.insert(
            0,
            f"{experiment.model.name} on {experiment.dataset.name}, enforcer {experiment.enforcer.name}; "
            f"{plan.parameters:,} {plural(plan.parameters, 'parameter')} on {plan.device}",
        )
        self._show(first_step)

    def message(self, text: str) -> None:
        self._lines.append(text)
        self._redraw()

    def ended(self, run: Run, error: BaseException | None) -> None:
        took = time_span(round(time.monotonic() - self._began))
        self._write(f"{'done' if error is None else 'stopped'} after {took}")

    def _draw(self, step: int, rate: float) -> None:
        self._step = step
        left = (
            "certifying"
            if step == self._total
            else f"{time_span(round((self._total - step) / rate))} left"
            if rate
            else ""
        )
        self._write(f"{number(rate)} steps/s", left)

    def _write(self, *ends: str) -> None:
        values = [f"{name} {value}" for name, value in self._values.items() if value != number(None)]
        text = " · ".join([f"{self._step}/{self._total}", *values, *filter(None, ends)])
        bar = (
            f'<progress value="{self._step}" max="{self._total}" style="width: 14em; vertical-align: middle; '
            f'accent-color: #0072B2"></progress>'
        )
        self._state = _Html(f"{self._name} {text}", f"<b>{escape(self._name)}</b> {bar} {escape(text)}")
        self._redraw()

    def _redraw(self) -> None:
        lines = "".join(f"<br>{escape(line)}" for line in self._lines)
        self._handle.update(_Html("\n".join([self._state.text, *self._lines]), f"{self._state.html}{lines}"))


class _Html:
    """What a notebook shows: HTML, or the same as text where it cannot."""

    def __init__(self, text: str, html: str) -> None:
        self.text, self.html = text, html

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return f'<div style="font: 13px/1.6 system-ui, sans-serif">{self.html}</div>'


_FURTHER = {
    "{task.fields[rate]} steps/s": 13,
    "loss {task.fields[loss]}": 14,
    "error {task.fields[error]}": 15,
    "rank {task.fields[rank]}": 17,
}
"""Optional texts of the bar, and the width of each; step and time left are always shown."""
_KEPT_FIRST = (2, 1, 3, 0)
"""Order in which texts are kept if not all fit: error, loss, rank, rate."""


def _fitting(width: int, taken: int) -> list[str]:
    """The texts that fit beside those that are always shown and a bar of ten characters."""
    texts, room, kept = list(_FURTHER), width - taken - 11, set()
    for i in _KEPT_FIRST:
        if _FURTHER[texts[i]] > room:
            break
        room -= _FURTHER[texts[i]]
        kept.add(i)
    return [text for i, text in enumerate(texts) if i in kept]


def _worst(evaluation: Evaluation) -> tuple[float, str]:
    """(relative error, rank / n) at the inputs where the operator is least idempotent."""
    worst = max(
        evaluation.certificates.values(), key=lambda c: math.inf if math.isnan(c.relative[0]) else c.relative[0]
    )
    return worst.relative[0], _rank(worst)


def _rank(certificate: Certificate) -> str:
    return number(None) if certificate.rank is None else f"{certificate.rank:g}/{certificate.dimension}"
