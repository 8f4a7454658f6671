"""A certificate as HTML, for a notebook. Without torch, and without colours that a dark page would swallow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ..wording import number
from .verdict import SINGULAR, Verdict

__all__ = ["badge", "frame", "rows_of", "spectrum_svg", "table_html"]

_WIDTH, _HEIGHT = 120, 36
"""Size of a small spectrum, in pixels."""
_POINTS = 120
"""Largest number of singular values in a small spectrum; of more, evenly spaced ones are drawn."""
_LINE = "1px solid rgba(128, 128, 128, 0.4)"


def frame(*parts: str) -> str:
    """Finished HTML in one block."""
    return f'<div style="font: 13px/1.5 system-ui, sans-serif; overflow-x: auto">{"".join(parts)}</div>'


def badge(verdict: str, sentence: str, title: str = "") -> str:
    """A verdict with its sentence, and what it is about; an empty verdict for an unfinished run."""
    colour = "#00785c" if verdict == Verdict.GENUINE else "#b04a08" if verdict else "#56657a"
    told = (
        f'<span style="padding: 1px 9px; border-radius: 9px; background: {colour}; color: #fff; font-weight: 600">'
        f"{escape(verdict or 'not finished')}</span> {escape(sentence)}"
    )
    return f'<div style="margin: 4px 0">{f"<b>{escape(title)}</b> " if title else ""}{told}</div>'


def table_html(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is text. The cells are finished HTML; the columns are escaped here."""

    def line(tag: str, cells: Sequence[str]) -> str:
        style = f"padding: 2px 8px; border: 0; border-bottom: {_LINE}; background: transparent; text-align: "
        shown = (f'<{tag} style="{style}{"right" if i else "left"}">{cell}</{tag}>' for i, cell in enumerate(cells))
        return f'<tr style="background: transparent">{"".join(shown)}</tr>'

    body = "".join(line("td", row) for row in rows)
    head = line("th", [escape(column) for column in columns])
    return f'<table style="border-collapse: collapse; margin: 4px 0"><thead>{head}</thead><tbody>{body}</tbody></table>'


def rows_of(inputs: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of certificates, as plain values: one row for each set of inputs.

    Args:
        inputs: name -> `Certificate.as_dict()`; the verdict of a set may be missing.
    """
    depth = max(len(one["relative"]) for one in inputs.values())
    powers = ["f", *(f"f{k}" for k in range(2, depth + 1))]
    rows = []
    for name, one in inputs.items():
        errors = [number(error) for error in one["relative"]]
        errors += [number(None)] * (depth - len(errors))
        if one.get("interval"):
            errors[0] = f'<span title="95 % interval {" to ".join(map(number, one["interval"]))}">{errors[0]}</span>'
        rank = number(None) if one["rank"] is None else f"{one['rank']:g} / {one['dimension']}"
        rows.append(
            [
                escape(name), *errors, number(one["absolute"][0]), number(one["spread"]), rank, spectrum_svg(one),
                escape(str(one.get("verdict", ""))),
            ]
        )  # fmt: skip
    columns = [
        "inputs",
        *(f"error at {power}" for power in powers),
        "absolute",
        "spread",
        "rank / n",
        "spectrum",
        "verdict",
    ]
    return table_html(columns, rows)


def spectrum_svg(one: Mapping[str, Any]) -> str:
    """The singular values of the Jacobian at one f(x), as a small picture; a dash where none were measured."""
    spectra = one["spectra"]
    values = [v for v in spectra[len(spectra) // 2]["singular_values"] if math.isfinite(v)] if spectra else []
    if not values:
        return number(None)
    some = values[:: -(-len(values) // _POINTS)]
    top = max(1.25, min(values[0], 2.0))
    step = (_WIDTH - 6) / max(len(some) - 1, 1)

    def y(value: float) -> float:
        return float(round(3 + (_HEIGHT - 6) * (1 - min(value, top) / top), 1))

    points = " ".join(f"{round(3 + i * step, 1)},{y(value)}" for i, value in enumerate(some))
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="1.5"/>' for x, y in (p.split(",") for p in points.split(" ")))
    said = (
        f"{len(values)} singular values of the Jacobian at f(x), from {number(values[0])} to {number(values[-1])}; "
        f"dashed: {SINGULAR:g}"
    )
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{said}" '
        f'style="vertical-align: middle"><title>{said}</title>'
        f'<path d="M0 {y(SINGULAR)}H{_WIDTH}" stroke="currentColor" stroke-opacity="0.6" stroke-dasharray="3 3"/>'
        f'<polyline points="{points}" fill="none" stroke="currentColor"/><g fill="currentColor">{dots}</g></svg>'
    )
