"""The figure of a sweep: errors and ranks against the values that were tried, with their spread over the seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from .certificate import _RELATIVE as _NOT_IDEMPOTENT
from .drawing import BLACK, decimal, grid_of, legend_above, line_style, plain, threshold
from .results import Results

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["sweep_figure"]

_MOST = 14
"""Lines in a panel: more cannot be told apart."""
_LEAST = 1e-12
"""Errors below are drawn at the lower edge: that of a constant map is 0."""


def sweep_figure(results: Results) -> Figure:
    """Relative error and rank at each set of inputs, against the key with most values; one line for each combination of
    the others. Lines are medians over seeds, strokes reach from the smallest to the largest; crosses at the upper edge are
    values at which trials failed.

    Raises:
        ValueError: if nothing was measured.
    """
    figures = [n for n in results.figures if n.endswith("/relative")]
    figures += [n for n in results.figures if n.endswith("/rank")]
    spread = results.spread(figures)
    axis, others = _axes(results, spread)
    numeric = axis is not None and all(_is_number(value) for value in spread[axis])
    x = _positions(spread, axis, numeric=numeric)
    lines: dict[str, list[int]] = {}
    for i, row in enumerate(spread[others].itertuples(index=False, name=None)):
        lines.setdefault(_label(others, row), []).append(i)
    groups = list(lines.items())[:_MOST]
    figure, grid = grid_of(len(figures))
    for axes, name in zip(grid, figures, strict=True):
        for i, (_, rows) in enumerate(groups):
            own = np.asarray(rows)
            style = line_style(i, markers=True)
            values = spread[[name, f"{name} min", f"{name} max"]].to_numpy(dtype=float)[own]
            axes.plot(x[own], values[:, 0], **style)
            axes.vlines(x[own], np.maximum(values[:, 1], _LEAST), values[:, 2], color=style["color"], lw=1)
            failed = spread["failed"].to_numpy()[own] > 0
            edge = axes.get_xaxis_transform()
            axes.plot(x[own][failed], np.full(failed.sum(), 0.97), "x", color=style["color"], transform=edge)
        _finish(axes, name, axis or "trial", spread, numeric=numeric)
    handles = [Line2D([], [], label=label, **line_style(i, markers=True)) for i, (label, _) in enumerate(groups)]
    if any(name.endswith("/relative") for name in figures):
        handles.append(Line2D([], [], color=BLACK, lw=1, ls=":", label=f"limit {_NOT_IDEMPOTENT:g}"))
    if spread["failed"].any():
        handles.append(Line2D([], [], color=BLACK, marker="x", ls="", label="failed trials"))
    legend_above(figure, [handle for handle in handles if handle.get_label()])
    return figure


def _axes(results: Results, spread: DataFrame) -> tuple[str | None, list[str]]:
    """(key along the horizontal axis, the others): of the keys with numbers the one with most values, else any."""
    if not results.keys:
        return None, []
    counts = {key: spread[key].map(str).nunique() for key in results.keys}
    numbers = [key for key in results.keys if all(_is_number(value) for value in spread[key])]
    axis = max(numbers or results.keys, key=lambda key: counts[key])
    return axis, [key for key in results.keys if key != axis]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _positions(spread: DataFrame, axis: str | None, *, numeric: bool) -> Any:
    if axis is None:
        return np.arange(len(spread), dtype=float)
    if numeric:
        return spread[axis].to_numpy(dtype=float)
    order = list(dict.fromkeys(map(str, spread[axis])))
    return np.array([order.index(str(value)) for value in spread[axis]], dtype=float)


def _finish(axes: Axes, name: str, axis: str, spread: DataFrame, *, numeric: bool) -> None:
    inputs, _, figure = name.partition("/")
    if figure == "relative":
        axes.set_yscale("log", nonpositive="mask")
        positive = spread[[name, f"{name} min"]].to_numpy(dtype=float)
        positive = positive[positive > _LEAST]
        if positive.size:
            axes.set_ylim(bottom=0.5 * positive.min())
        axes.set_ylabel(f"relative error at {inputs} (log scale)")
        threshold(axes)
        decimal(axes.yaxis)
    else:
        axes.set_ylabel(f"rank at {inputs}")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    if numeric:
        values = spread[axis].to_numpy(dtype=float)
        logarithmic = values.min() > 0 and values.max() / values.min() > 20
        if logarithmic:
            axes.set_xscale("log")
            if math.log10(values.max() / values.min()) < 4:
                decimal(axes.xaxis)
        axes.set_xlabel(f"{axis} (log scale)" if logarithmic else axis)
    else:
        order = list(dict.fromkeys(map(str, spread[axis]))) if axis in spread else ["all"]
        axes.set_xticks(range(len(order)), map(_literal, order), rotation=20 if max(map(len, order)) > 12 else 0)
        axes.set_xlabel(axis)
        axes.set_xlim(-0.5, len(order) - 0.5)
    plain(axes)


def _label(keys: Sequence[str], values: Sequence[Any]) -> str:
    """The values of one line, under short names of their keys: `enforcer.name` is the enforcer, `enforcer.step` the step."""
    names = [key.removesuffix(".name").rpartition(".")[2] for key in keys]
    return _literal(", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True)))


def _literal(text: str) -> str:
    """Text in which matplotlib finds no formula."""
    return text.replace("$", r"\$")
