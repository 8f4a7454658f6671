"""The picture of a task: relative error over deviation, one point for each arm, with the arms that no other one beats."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from ..reports import style
from .standing import Standing

__all__ = ["pareto_figure"]

_LEAST = 1e-8
"""Smallest relative error that is drawn: below it everything is rounding, and 0 has no logarithm."""


def pareto_figure(title: str, rows: Sequence[Standing], arms: Sequence[str]) -> Figure:
    """Relative error over deviation, both logarithmic.

    Args:
        arms: all arms of the league; the place of an arm here decides its marker, which is the same in all tasks.
    """
    figure = Figure(figsize=(6.4, 4.4), dpi=style.DPI, layout="constrained")
    axes = figure.add_subplot()
    drawn = 0
    front = []
    for row in rows:
        if row.relative is None or row.deviation is None:
            continue
        x, y = row.deviation.median, max(row.relative.median, _LEAST)
        if not (math.isfinite(x) and math.isfinite(y) and x > 0):
            continue
        drawn += 1
        looks = style.point_style(arms.index(row.arm))
        ends = [v for v in (row.deviation.low, row.deviation.high) if math.isfinite(v)]
        axes.plot(ends, [y] * len(ends), color=looks["color"], lw=1)
        ends = [max(v, _LEAST) for v in (row.relative.low, row.relative.high) if math.isfinite(v)]
        axes.plot([x] * len(ends), ends, color=looks["color"], lw=1)
        axes.plot([x], [y], **looks, label=row.arm, zorder=3 + len(rows) - drawn)  # the best on top
        front += [(x, y)] if row.pareto else []
    if len(front) > 1:
        axes.plot(*zip(*sorted(front), strict=True), color=style.GREY, lw=1, ls=":", zorder=0)
    style.plain(axes)
    if drawn:
        style.logarithmic(axes.xaxis)
        style.logarithmic(axes.yaxis)
    missing = sum(row.state != "refused" for row in rows) - drawn
    told = f"\n{missing} arm{'s' * (missing > 1)} without a finite result: not drawn" if missing else ""
    axes.set(xlabel=f"deviation from the right answer{told}", ylabel="relative error")
    style.panel_legend(axes, title)
    return figure
