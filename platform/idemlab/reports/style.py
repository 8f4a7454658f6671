"""How pictures look, those of a run as those of studies: colours, grids, scales, legends, and the file.

Nothing of pyplot, no global state. Colours are those of Okabe & Ito (2008), which colour-blind readers can tell apart; lines
differ in marker or dash as well. Text is matplotlib's default of 10 pt, never below 9.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray

from ..certificate.verdict import NOT_IDEMPOTENT
from ..system.files import replacing

__all__ = [
    "BLACK",
    "BLUE",
    "DPI",
    "GREEN",
    "GREY",
    "ORANGE",
    "PURPLE",
    "SKY",
    "VERMILLION",
    "decimal",
    "grid_of",
    "legend_above",
    "line_style",
    "logarithmic",
    "not_drawn",
    "panel_legend",
    "plain",
    "png",
    "save",
    "threshold",
]

DPI = 160

BLACK, BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY = (
    "#000000",
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#E69F00",
    "#CC79A7",
    "#56B4E9",
)
GREY = "#8a8a8a"
"""For what stands behind: diagonals, targets."""
_GRID = "#d9d9d9"
_CYCLE = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, BLACK)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", "--", "-.", ":")
_PANEL = (4.9, 3.1)
"""Width and height of a panel of curves, in inches."""


# -- files --------------------------------------------------------------------------------------------------------------


def png(figure: Figure) -> bytes:
    """The figure as a PNG file, the same bytes for the same data."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=figure.dpi, metadata={"Software": None})
    return buffer.getvalue()


def save(image: bytes, path: Path) -> None:
    """Write a picture, whole or as it was before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_bytes(image)


# -- panels -------------------------------------------------------------------------------------------------------------


def grid_of(count: int) -> tuple[Figure, list[Axes]]:
    """A figure with this many panels, two in a row.

    Raises:
        ValueError: if it is to have none.
    """
    if count == 0:
        raise ValueError("there is nothing to draw: the entries hold no figures")
    columns, rows = min(count, 2), (count + 1) // 2
    figure = Figure(figsize=(_PANEL[0] * columns, _PANEL[1] * rows), dpi=DPI, layout="constrained")
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(count)]


def plain(axes: Axes) -> None:
    """A light grid behind the data, and no box."""
    axes.grid(color=_GRID, lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def threshold(axes: Axes) -> None:
    """A line at the relative error above which an operator is not idempotent."""
    axes.axhline(NOT_IDEMPOTENT, color=BLACK, lw=1, ls=":", label=f"limit {NOT_IDEMPOTENT:g}")


def not_drawn(axes: Axes, count: int, what: str, *, line: int = 0) -> None:
    """Say in the picture how many values a panel cannot show; nothing if it shows all.

    Args:
        what: of which kind they are, ``of 0``.
        line: above the lower edge, counted from 0.
    """
    if count:
        text = f"{count} value{'s' * (count > 1)} {what}: not drawn"
        axes.text(
            0.99, 0.02 + 0.09 * line, text, transform=axes.transAxes, ha="right", va="bottom", fontsize=9, color=BLACK,
            bbox={"fc": "white", "ec": "none", "pad": 1},
        )  # fmt: skip


def line_style(i: int, *, markers: bool) -> dict[str, Any]:
    """Arguments of `Axes.plot` for the i-th of many lines in a panel: none of 28 with markers looks like another."""
    chosen: dict[str, Any] = {
        "color": _CYCLE[i % len(_CYCLE)],
        "ls": _DASHES[i // len(_CYCLE) % len(_DASHES)] if markers else _DASHES[i % len(_DASHES)],
        "lw": max(1.2, 2.4 - 0.5 * i),  # the first ones are broader, so that lines upon each other are seen
    }
    return chosen | ({"marker": _MARKERS[i % len(_MARKERS)], "ms": max(4.0, 7.5 - 1.5 * i)} if markers else {})


def point_style(i: int) -> dict[str, Any]:
    """Arguments of `Axes.plot` for the i-th of many sets of points in a panel: none of 14 looks like another."""
    color = _CYCLE[i % len(_CYCLE)]
    hollow = i // len(_CYCLE) % 2 == 1
    return {
        "ls": "",
        "color": color,
        "marker": _MARKERS[i % len(_MARKERS)],
        "ms": 6,
        "mfc": "white" if hollow else color,
    }


# -- scales -------------------------------------------------------------------------------------------------------------


def logarithmic(axis: Axis) -> None:
    """Make an axis logarithmic, around its data and at plain numbers; one without positive data stays as it is."""
    low, high = axis.get_data_interval()
    if not (math.isfinite(low) and math.isfinite(high) and low > 0):
        return
    limits = (low / 1.3, high * 1.3)
    if isinstance(axis, XAxis):
        axis.axes.set(xscale="log", xlim=limits)
    else:
        axis.axes.set(yscale="log", ylim=limits)
    decimal(axis)


def decimal(axis: Axis) -> None:
    """Plain numbers on a logarithmic axis, as many as there is room for; other axes stay as they are."""
    if axis.get_scale() != "log":
        return
    axis.set_major_locator(_Fitting())
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:g}")


class _Fitting(LogLocator):
    """Ticks at the finest division of a decade whose labels do not touch."""

    _DIVISIONS = (tuple(range(1, 10)), (1, 2, 5), (1, 3), (1,))

    def tick_values(self, vmin: float, vmax: float) -> Any:
        low, high = sorted((vmin, vmax))
        for division in self._DIVISIONS:
            self.set_params(subs=division)
            ticks = np.asarray(super().tick_values(vmin, vmax))
            if self._fit(ticks[(ticks >= low) & (ticks <= high)], math.log10(high / low)):
                break
        return ticks

    def _fit(self, ticks: NDArray[np.float64], decades: float) -> bool:
        """Whether these are at least two, and those nearest to each other two thirds of a place apart."""
        if len(ticks) < 2:
            return False
        assert self.axis is not None
        places = float(self.axis.get_tick_space())
        if isinstance(self.axis, XAxis):  # where matplotlib reckons with three characters for a place
            places *= 3 / max(3, *(len(f"{tick:g}") for tick in ticks))
        return bool(len(ticks) <= places and np.diff(np.log10(ticks)).min() * places / decades > 2 / 3)


# -- legends ------------------------------------------------------------------------------------------------------------


def legend_above(figure: Figure, handles: Sequence[Line2D]) -> None:
    """One legend for all panels, in as many columns as there is room for."""
    columns = _columns([str(handle.get_label()) for handle in handles], figure.get_figwidth(), mark=0.6, letter=0.075)
    figure.legend(handles=list(handles), loc="outside upper left", ncols=columns, frameon=False)


def panel_legend(axes: Axes, title: str = "") -> None:
    """The legend of one panel, if anything in it has a name: above it, where it covers nothing, under the panel's title."""
    names = axes.get_legend_handles_labels()[1]
    if not any(names):
        return
    cell, figure = axes.get_subplotspec(), axes.figure
    assert cell is not None
    assert figure is not None
    width = figure.bbox.width / figure.dpi / cell.get_gridspec().ncols
    columns = _columns(names, width - 1.0, mark=0.5, letter=0.0675)
    legend = axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False, fontsize=9,
        columnspacing=1.2, title=title, alignment="left",
    )  # fmt: skip
    legend.get_title().set_fontsize(10)


def _columns(names: Sequence[str], inches: float, *, mark: float, letter: float) -> int:
    """In how many columns these names fit a width; inches for the mark before a name, with its gaps, and for a letter."""
    lengths = np.array([len(name) for name in names])
    for columns in range(len(names), 1, -1):
        if sum(mark + letter * max(column) for column in np.array_split(lengths, columns)) <= inches:
            return columns
    return 1
