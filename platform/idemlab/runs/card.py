"""A run as HTML, for a notebook: its verdict, errors and spectra, and its pictures if a report has drawn some."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from ..certificate.card import badge, frame, rows_of, table_html
from ..errors import IdemlabError
from ..wording import number
from .summary import Kept, summarise

if TYPE_CHECKING:
    from .run import Run

__all__ = ["run_html"]

_LARGEST = 2_000_000
"""Bytes of a picture up to which it is shown inside the notebook, which keeps a copy."""


def run_html(run: Run) -> str:
    """A run, finished, unfinished or damaged, on one small page."""
    if not run.experiment_file.is_file():
        return frame(f"<b>{escape(run.name)}</b> no run yet in {escape(str(run.path))}")
    try:
        summary, certificate = summarise(run), run.certificate
    except IdemlabError as error:
        return frame(f"<b>{escape(run.name)}</b> {escape(error.what)}")
    head = badge(summary.verdict or "", summary.sentence, run.name)
    if certificate is not None:
        body = rows_of(certificate["inputs"]) + _weights(summary.weights)
    elif summary.values:
        rows = [[escape(inputs), number(values.get("relative"))] for inputs, values in summary.values.items()]
        body = table_html(["inputs", "error so far"], rows)
    else:
        body = ""
    return frame(head, body, *_pictures(run))


def _weights(weights: Sequence[Kept]) -> str:
    """The sets of weights of a run, where it kept others than the last ones."""
    if not weights:
        return ""
    columns = ["weights", "step", *(f"error at {name}" for name in weights[0].errors), "verdict"]
    rows = [[kept.which, str(kept.step), *map(number, kept.errors.values()), escape(kept.verdict)] for kept in weights]
    return table_html(columns, rows)


def _pictures(run: Run) -> list[str]:
    """The picture over all inputs, or else those of each."""
    hero = run.figures / "hero.png"
    found = [hero] if hero.is_file() else sorted(run.figures.glob("orbits*.png"))
    style = (
        "display: block; max-width: min(100%, 640px); height: auto; margin: 6px 0; border-radius: 4px; background: #fff"
    )
    shown = []
    for path in found:
        if path.stat().st_size <= _LARGEST:
            data = base64.b64encode(path.read_bytes()).decode("ascii")
            shown.append(f'<img alt="{escape(path.stem)}" src="data:image/png;base64,{data}" style="{style}">')
    return shown
