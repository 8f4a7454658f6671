"""The picture of a benchmark: milliseconds a step and peak memory, enforcers beside loops written by hand."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..reports.style import BLACK, BLUE, DPI, ORANGE, plain
from .result import Benchmark, ByHandRow

__all__ = ["bars"]


def bars(benchmark: Benchmark) -> Figure:
    """Two panels of bars, one bar for each line of the table, from top to bottom."""
    lines = list(benchmark.lines)
    figure = Figure(figsize=(9.8, 1.4 + 0.32 * len(lines)), dpi=DPI)
    figure.set_layout_engine("constrained", wspace=0.05)
    times, memory = figure.subplots(1, 2, sharey=True)
    colors = [ORANGE if isinstance(timing, ByHandRow) else BLUE for _, timing in lines]
    places = range(len(lines))
    milliseconds = [timing.milliseconds for _, timing in lines]
    below = [max(0.0, timing.milliseconds - timing.spread[0]) for _, timing in lines]
    above = [max(0.0, timing.spread[1] - timing.milliseconds) for _, timing in lines]
    times.barh(places, milliseconds, color=colors, xerr=(below, above), ecolor=BLACK, capsize=2)
    memory.barh(places, [timing.peak_bytes / 1e6 for _, timing in lines], color=colors)
    times.set_yticks(list(places), [label.strip() for label, _ in lines])
    times.invert_yaxis()
    _dress(times, "ms a step (line: middle half)")
    _dress(memory, "peak memory in MB")
    if ORANGE in colors:
        handles = [Patch(color=BLUE, label="idemlab"), Patch(color=ORANGE, label="written by hand")]
        figure.legend(handles=handles, loc="outside upper left", ncols=2, frameon=False)
    figure.supxlabel(benchmark.heading, fontsize=9)
    return figure


def _dress(axes: Axes, label: str) -> None:
    plain(axes)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(label)
