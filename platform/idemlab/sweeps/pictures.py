"""The picture of a sweep: errors and ranks against the tried values, with their range over the seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..certificate.verdict import NOT_IDEMPOTENT
from ..reports.style import (
    BLACK,
    BLUE,
    VERMILLION,
    decimal,
    grid_of,
    legend_above,
    line_style,
    logarithmic,
    plain,
    threshold,
)
from .results import Results

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["sweep_figure"]

_MOST = 14
"""Largest number of lines in a panel; a reader cannot distinguish more."""
_LONGEST = 60
"""Largest number of characters in a label."""
_LEAST = 1e-12
"""Errors up to this are drawn at the lower edge, as triangles: the error of a constant map is 0."""


def sweep_figure(results: Results) -> Figure | None:
    """Draw relative error and rank at each set of inputs; None if no trial that ran to its end measured anything.

    For a grid, the key with most values is the horizontal axis, and each combination of the other keys is one line: the
    median over seeds, with strokes from the smallest to the largest value. Crosses at the upper edge mark failed trials,
    triangles at the lower edge errors of 0. For any other sampler, each key has a panel with the value of every setting.
    """
    if not results.metrics:
        return None
    if results.sampler != "grid":
        return _sampled(results)
    metrics = [n for n in results.metrics if n.endswith("/relative")]
    metrics += [n for n in results.metrics if n.endswith("/rank")]
    ranges = results.ranges(metrics)
    metrics = [name for name in metrics if ranges[name].notna().any()]
    if not metrics:
        return None
    axis, others = _axes(results, ranges)
    numeric = axis is not None and all(_is_number(value) for value in ranges[axis])
    x = _positions(ranges, axis, numeric=numeric)
    lines: dict[str, list[int]] = {}
    told = [_told(ranges[key].tolist()) for key in others]
    for i in range(len(ranges)):
        lines.setdefault(_label(others, [texts[i] for texts in told]), []).append(i)
    groups = list(lines.items())[:_MOST]
    figure, grid = grid_of(len(metrics))
    zeros = False
    for axes, name in zip(grid, metrics, strict=True):
        for i, (_, rows) in enumerate(groups):
            own = np.asarray(rows)
            style = line_style(i, markers=True)
            values = ranges[[name, f"{name} min", f"{name} max"]].to_numpy(dtype=float)[own]
            axes.plot(x[own], values[:, 0], **style)
            axes.vlines(x[own], np.maximum(values[:, 1], _LEAST), values[:, 2], color=style["color"], lw=1)
            below = values[:, 0] <= _LEAST if name.endswith("/relative") else np.zeros(len(own), dtype=bool)
            zeros = zeros or bool(below.any())
            failed = ranges["failed"].to_numpy()[own] > 0
            edge = axes.get_xaxis_transform()
            axes.plot(x[own][below], np.full(below.sum(), 0.03), "v", ms=7, color=style["color"], transform=edge)
            axes.plot(x[own][failed], np.full(failed.sum(), 0.97), "x", color=style["color"], transform=edge)
        _finish(axes, name, axis or "trial", ranges, numeric=numeric)
    handles = [
        Line2D([], [], label=_short(label), **line_style(i, markers=True)) for i, (label, _) in enumerate(groups)
    ]
    if len(lines) > _MOST:
        handles.append(Line2D([], [], ls="", label=f"{len(lines) - _MOST} more are in the table, not drawn"))
    if any(name.endswith("/relative") for name in metrics):
        handles.append(Line2D([], [], color=BLACK, lw=1, ls=":", label=f"limit {NOT_IDEMPOTENT:g}"))
    if zeros:
        handles.append(Line2D([], [], color=BLACK, marker="v", ls="", ms=7, label="0, below the log scale"))
    if ranges["failed"].any():
        handles.append(Line2D([], [], color=BLACK, marker="x", ls="", label="failed trials"))
    _legend(figure, [handle for handle in handles if handle.get_label()])
    return figure


def _legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """One legend above all panels; the figure grows with it, so that the panels keep their size."""
    legend_above(figure, handles)
    for legend in figure.legends:
        rows = math.ceil(len(handles) / legend._ncols)  # type: ignore[attr-defined]
        figure.set_figheight(figure.get_figheight() + 0.2 * max(0, rows - 2))


def _sampled(results: Results) -> Figure:
    """A panel for each key, with the value of every setting. Crosses at the worse edge are settings without a value: most of
    their runs failed, collapsed or were pruned."""
    settings = list(results.settings.values())
    values = np.array([results.goal.of_setting([results.worth(trial) for trial in trials]) for trials in settings])
    found = np.isfinite(values)
    best = results.best
    figure, grid = grid_of(len(results.keys))
    for axes, key in zip(grid, results.keys, strict=True):
        own = [trials[0].values[key] for trials in settings]
        numeric = all(_is_number(value) for value in own)
        order = list(dict.fromkeys(map(str, own)))
        x = np.array([value if numeric else order.index(str(value)) for value in own], dtype=float)
        axes.plot(x[found], values[found], "o", color=BLUE, ms=5)
        axes.margins(y=0.12)  # room for the crosses
        edge = 0.03 if results.goal.maximize else 0.97
        axes.plot(x[~found], np.full((~found).sum(), edge), "x", color=BLACK, transform=axes.get_xaxis_transform())
        if best is not None:
            at = next(i for i, trials in enumerate(settings) if trials[0] is best.trials[0])
            axes.plot(x[at], best.value, "o", color=VERMILLION, ms=10, mfc="none", mew=2)
        positive = bool(found.any()) and values[found].min() > 0
        if positive and values[found].max() > 20 * values[found].min():
            logarithmic(axes.yaxis)
            decimal(axes.yaxis)
        axes.set_ylabel(
            _literal(results.goal.metric + ("" if "/" in results.goal.metric else ", worst over all inputs"))
        )
        _finish_keys(axes, key, x, None if numeric else order)
        plain(axes)
    handles = [Line2D([], [], color=BLUE, marker="o", ls="", label="a setting, median over its seeds")]
    if best is not None:
        handles.append(Line2D([], [], color=VERMILLION, marker="o", mfc="none", mew=2, ms=8, ls="", label="the best"))
    if not found.all():
        handles.append(Line2D([], [], color=BLACK, marker="x", ls="", label="failed, collapsed or pruned"))
    _legend(figure, handles)
    return figure


def _axes(results: Results, ranges: DataFrame) -> tuple[str | None, list[str]]:
    """(key of the horizontal axis, the other keys). The axis prefers numbers, then the most values."""
    if not results.keys:
        return None, []
    counts = {key: ranges[key].map(str).nunique() for key in results.keys}
    numbers = [key for key in results.keys if all(_is_number(value) for value in ranges[key])]
    axis = max(numbers or results.keys, key=lambda key: counts[key])
    return axis, [key for key in results.keys if key != axis]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _positions(ranges: DataFrame, axis: str | None, *, numeric: bool) -> Any:
    if axis is None:
        return np.arange(len(ranges), dtype=float)
    if numeric:
        return ranges[axis].to_numpy(dtype=float)
    order = list(dict.fromkeys(map(str, ranges[axis])))
    return np.array([order.index(str(value)) for value in ranges[axis]], dtype=float)


def _finish(axes: Axes, name: str, axis: str, ranges: DataFrame, *, numeric: bool) -> None:
    inputs, _, metric = name.partition("/")
    if metric == "relative":
        axes.set_yscale("log", nonpositive="mask")
        positive = ranges[[name, f"{name} min"]].to_numpy(dtype=float)
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
    order = list(dict.fromkeys(map(str, ranges[axis]))) if axis in ranges else ["all"]
    _finish_keys(axes, axis, ranges[axis].to_numpy(dtype=float) if numeric else np.empty(0), None if numeric else order)
    plain(axes)


def _finish_keys(axes: Axes, key: str, values: Any, order: Sequence[str] | None) -> None:
    """Finish the horizontal axis for a key with numbers, or with the values in `order`."""
    if order is not None:
        axes.set_xticks(range(len(order)), map(_literal, order), rotation=20 if max(map(len, order)) > 12 else 0)
        axes.set_xlabel(key)
        axes.set_xlim(-0.5, len(order) - 0.5)
        return
    wide = values.min() > 0 and values.max() / values.min() > 20
    if wide:
        axes.set_xscale("log")
        if math.log10(values.max() / values.min()) < 4:
            decimal(axes.xaxis)
    elif all(float(value).is_integer() for value in values):
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlabel(f"{key} (log scale)" if wide else key)


def _told(values: list[Any]) -> list[str]:
    """Each value as text; tables show only the keys in which they differ."""
    if not all(isinstance(value, Mapping) for value in values):
        return [str(value) for value in values]
    alike = [key for key in values[0] if all(value.get(key) == values[0][key] for value in values)]
    kept = [{key: inner for key, inner in value.items() if key not in alike or key == "name"} for value in values]
    return [" ".join(str(v) if k == "name" else f"{k} {v}" for k, v in value.items()) for value in kept]


def _label(keys: Sequence[str], values: Sequence[Any]) -> str:
    """The label of one line, with short keys: `enforcer.name` becomes `enforcer`, `enforcer.step` becomes `step`."""
    names = [key.removesuffix(".name").rpartition(".")[2] for key in keys]
    return _literal(", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True)))


def _short(label: str) -> str:
    """A long label without its middle. The end stays, because labels often differ there."""
    half = (_LONGEST - 3) // 2
    return label if len(label) <= _LONGEST else f"{label[:half].rstrip()} … {label[-half:].lstrip()}"


def _literal(text: str) -> str:
    """Text that matplotlib does not read as a formula."""
    return text.replace("$", r"\$")
