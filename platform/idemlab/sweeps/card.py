"""The results of a sweep as HTML, for a notebook: the settings, the best of them, and its run."""

from __future__ import annotations

import math
from collections import Counter
from html import escape
from typing import TYPE_CHECKING

from ..certificate.card import frame, table_html
from ..runs.card import run_html
from ..wording import counted, number, shown

if TYPE_CHECKING:
    from .results import Results

__all__ = ["results_html"]

_SETTINGS = 20
"""Largest number of settings in the table."""


def results_html(results: Results) -> str:
    """The settings of a sweep, the best first, and the run of the best."""
    best, goal = results.best, results.goal
    states = ", ".join(f"{count} {state}" for state, count in Counter(t.state for t in results.trials).items())
    number_of = counted(len(results.trials), "trial")
    head = f"<b>{escape(results.path.resolve().name)}</b> {number_of}: {escape(states or 'none yet')}"
    settings = []
    for trials in results.settings.values():
        value = goal.of_setting([results.worth(trial) for trial in trials])
        settings.append((value, trials))
    settings.sort(key=lambda pair: -pair[0] if goal.maximize else pair[0])
    rows = []
    for value, trials in settings[:_SETTINGS]:
        verdicts = Counter(trial.verdict or trial.state for trial in trials)
        told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
        cells = [shown(trials[0].values[key]) for key in results.keys]
        rows.append([*map(escape, cells), number(value) if math.isfinite(value) else number(None), escape(told)])
    columns = [*results.keys, f"{goal.metric}, median", "verdicts"]
    left = len(settings) - len(rows)
    rest = f"<div>and {left} more settings: see .table and .ranges()</div>" if left else ""
    parts = [f'<div style="margin: 4px 0">{head}</div>', table_html(columns, rows) if rows else "", rest]
    if best is not None:
        said = ", ".join(f"{key} = {shown(value)}" for key, value in best.values.items())
        parts.append(f'<div style="margin: 4px 0">Best: {escape(said or "the only setting")}</div>')
        run = best.trials[0].run
        if run.experiment_file.is_file():
            parts.append(run_html(run))
    return frame(*parts)
