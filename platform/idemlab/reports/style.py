"""The style of all pictures, of runs and of studies: colours, grids, scales, legends and files.

It uses no pyplot and no global state. The colours of Okabe & Ito (2008) can be told apart by colour-blind readers, and lines
also differ in marker or dash. Text has matplotlib's default size of 10 pt, and at least 9 pt.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray

from ..certificate.verdict import NOT_IDEMPOTENT
from ..system.files import replacing
from ..wording import counted

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
    "inline",
    "legend_above",
    "line_style",
    "logarithmic",
    "not_drawn",
    "panel_legend",
    "plain",
    "png",
    "save",
    "svg",
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
"""Colour of the background: diagonals, targets."""
_GRID = "#d9d9d9"
_VARIABLES = {
    BLACK: "currentColor",
    "#ffffff": "var(--page)",
    _GRID: "var(--line)",
    GREY: "var(--grey)",
    BLUE.lower(): "var(--blue)",
    VERMILLION.lower(): "var(--vermillion)",
    GREEN.lower(): "var(--green)",
    ORANGE.lower(): "var(--orange)",
    PURPLE.lower(): "var(--purple)",
    SKY.lower(): "var(--sky)",
}
"""Colours of figures -> colours of a page, which differ on light and dark."""
_CYCLE = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, BLACK)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", "--", "-.", ":")
_PANEL = (4.9, 3.1)
"""Width and height of a panel of curves, in inches."""


# -- files --------------------------------------------------------------------------------------------------------------


def png(figure: Figure) -> bytes:
    """The figure as a PNG file, the same bytes for the same data."""
    buffer = io.BytesIO()
    # not `savefig`, which draws a figure with a layout twice: once for the layout, once into the file
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def svg(figure: Figure) -> bytes:
    """The figure as an SVG file, the same bytes for the same data."""
    return _svg(figure, letters="path").encode()


def _svg(figure: Figure, *, letters: Literal["path", "none"]) -> str:
    """The figure as SVG, its letters drawn as paths or kept as text."""
    buffer, dpi = io.StringIO(), figure.dpi
    try:
        with rc_context({"svg.hashsalt": "idemlab", "svg.fonttype": letters}):
            FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})  # type: ignore[no-untyped-call]
    finally:
        figure.dpi = dpi  # which an SVG file sets to its own
    return buffer.getvalue()


def inline(figure: Figure) -> str:
    """The figure as SVG to put into a page: transparent, its text as text, and in the colours of the page's style sheet.

    What a file says comes in as text, which matplotlib escapes.
    """
    patches = [figure.patch, *(axes.patch for axes in figure.axes)]
    colours = [patch.get_facecolor() for patch in patches]
    for patch in patches:
        patch.set_facecolor("none")
    try:
        text = _svg(figure, letters="none")
    finally:
        for patch, colour in zip(patches, colours, strict=True):
            patch.set_facecolor(colour)
    text = _HEAD.sub("", text[text.index("<svg") :])
    return _COLOUR.sub(lambda found: f"{found[1]}: {_VARIABLES.get(found[2].lower(), found[2])}", text).strip()


_HEAD = re.compile(r"<metadata>.*?</metadata>|<style\b.*?</style>|<defs>\s*</defs>", re.DOTALL)
"""Parts of matplotlib's files that a page does not need, or that would reach beyond the figure."""
_COLOUR = re.compile(r"\b(fill|stroke): (#[0-9a-fA-F]{6})\b")


def save(image: bytes, path: Path) -> None:
    """Write a picture atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_bytes(image)


# -- panels -------------------------------------------------------------------------------------------------------------


def grid_of(count: int) -> tuple[Figure, list[Axes]]:
    """(figure, its panels), two panels in a row.

    Raises:
        ValueError: if `count` is 0.
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
    """Draw a line at the relative error above which an operator is not idempotent."""
    axes.axhline(NOT_IDEMPOTENT, color=BLACK, lw=1, ls=":", label=f"limit {NOT_IDEMPOTENT:g}")


def not_drawn(axes: Axes, count: int, what: str, *, line: int = 0) -> None:
    """Write into a panel how many values it cannot show; nothing if it shows all.

    Args:
        what: kind of these values, such as ``of 0``.
        line: line of text above the lower edge, counted from 0.
    """
    if count:
        text = f"{counted(count, 'value')} {what}: not drawn"
        axes.text(
            0.99, 0.02 + 0.09 * line, text, transform=axes.transAxes, ha="right", va="bottom", fontsize=9, color=BLACK,
            bbox={"fc": "white", "ec": "none", "pad": 1},
        )  # fmt: skip


def line_style(i: int, *, markers: bool) -> dict[str, Any]:
    """Arguments of `Axes.plot` for the i-th line of a panel; 28 lines with markers all look different."""
    chosen: dict[str, Any] = {
        "color": _CYCLE[i % len(_CYCLE)],
        "ls": _DASHES[i // len(_CYCLE) % len(_DASHES)] if markers else _DASHES[i % len(_DASHES)],
        "lw": max(1.2, 2.4 - 0.5 * i),  # the first lines are broader, so that coinciding lines can be seen
    }
    return chosen | ({"marker": _MARKERS[i % len(_MARKERS)], "ms": max(4.0, 7.5 - 1.5 * i)} if markers else {})


def point_style(i: int) -> dict[str, Any]:
    """Arguments of `Axes.plot` for the i-th set of points of a panel; 14 sets all look different."""
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
    """Make an axis logarithmic, with limits around its data and plain numbers; others stay as they are."""
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
    """Label a logarithmic axis with plain numbers, as many as fit; other axes stay as they are."""
    if axis.get_scale() != "log":
        return
    axis.set_major_locator(_Fitting())
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:g}")


class _Fitting(LogLocator):
    """Ticks at the finest division of a decade, or else every second, third, ... decade, whose labels do not touch."""

    _DIVISIONS = (tuple(range(1, 10)), (1, 2, 5), (1, 3), (1,))

    _found: tuple[object, Any] = (None, None)
    """What the newest ticks depend on, and these ticks. A layout asks for the same ones twenty times."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        assert self.axis is not None
        asked = (vmin, vmax, self.axis.get_tick_space())
        if self._found[0] != asked:
            self._found = asked, self._ticks(vmin, vmax)
        return self._found[1]

    def _ticks(self, vmin: float, vmax: float) -> NDArray[np.float64]:
        low, high = sorted((vmin, vmax))
        for division in self._DIVISIONS:
            self.set_params(subs=division)
            ticks = np.asarray(super().tick_values(vmin, vmax))
            ticks = ticks[(ticks >= low * (1 - 1e-9)) & (ticks <= high * (1 + 1e-9))]  # others are made, but not drawn
            if self._fit(ticks, math.log10(high / low)):
                return ticks
        for stride in range(2, len(ticks)):  # leave decades out
            if self._fit(ticks[::stride], math.log10(high / low)):
                return ticks[::stride]
        return ticks

    def _fit(self, ticks: NDArray[np.float64], decades: float) -> bool:
        """Whether there are at least two ticks, and the closest ones are two thirds of a label apart."""
        if len(ticks) < 2:
            return False
        assert self.axis is not None
        places = float(self.axis.get_tick_space())
        if isinstance(self.axis, XAxis):  # matplotlib assumes labels of three characters there
            places *= 3 / max(3, *(len(f"{tick:g}") for tick in ticks))
        return bool(len(ticks) <= places and np.diff(np.log10(ticks)).min() * places / decades > 2 / 3)


# -- legends ------------------------------------------------------------------------------------------------------------


def legend_above(figure: Figure, handles: Sequence[Line2D]) -> None:
    """One legend for all panels, with as many columns as fit."""
    columns = _columns([str(handle.get_label()) for handle in handles], figure.get_figwidth(), mark=0.6, letter=0.075)
    figure.legend(handles=list(handles), loc="outside upper left", ncols=columns, frameon=False)


def panel_legend(axes: Axes, title: str = "") -> None:
    """The legend of one panel, above its data and under its title; none if no line has a label."""
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
    """Number of columns in which the names fit; `mark` and `letter` are the widths of a marker with gaps and of a letter."""
    lengths = np.array([len(name) for name in names])
    for columns in range(len(names), 1, -1):
        if sum(mark + letter * max(column) for column in np.array_split(lengths, columns)) <= inches:
            return columns
    return 1
