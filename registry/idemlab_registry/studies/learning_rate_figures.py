"""Figures of the study `learning-rates`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median

import matplotlib
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from idemlab.reports.style import BLACK, BLUE, DPI, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, legend_above, plain
from idemlab.wording import number

from .arms import Arm, Outcome, Pair
from .paper import Poster

__all__ = ["error_against_epoch", "error_against_rate", "matches", "ratios"]

STYLES = {
    "": (BLUE, "o"),
    "unit": (VERMILLION, "s"),
    "mean": (GREEN, "^"),
    "matched": (ORANGE, "D"),
    "sum": (PURPLE, "v"),
    "8 unit": (SKY, "P"),
}
"""Colour and marker by the constant in front of the cotangent; empty for the gradient."""
_VERDICTS = {"genuine": "*", "identity": "+", "not idempotent": "^", "constant": "s"}

_RATIOS = ((BLUE, "o"), (VERMILLION, "D"))
"""Colour and marker of absolute and of relative errors."""

FLOOR = 1e-9
"""Errors below, exact zeros among them, are drawn here."""


def error_against_epoch(arms: Sequence[Arm]) -> Figure:
    """Error over the epochs, one panel an arm, one line a learning rate: median over the seeds, lowest to highest shaded."""
    rates = sorted({rate for arm in arms for rate in arm.rates})
    colours = matplotlib.colormaps["viridis"].resampled(max(2, len(rates)))
    columns = min(2, len(arms))
    rows = math.ceil(len(arms) / columns)
    figure = Figure(figsize=(3.3 * columns + 1.3, 2.6 * rows + 0.4), dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, arm in zip(panels.flat, arms, strict=False):
        for i, rate in enumerate(rates):
            _curve(axes, arm.at(rate), colours(i))
        axes.set_yscale("log")
        axes.set_title(arm.label, loc="left", fontsize=10, fontweight="bold")
        _decades(axes)
        plain(axes)
    for axes in panels.flat[len(arms) :]:
        axes.set_visible(False)
    for j, axes in enumerate(panels[-1]):
        shown = axes if axes.get_visible() else panels[-2][j]
        shown.set_xlabel("epoch (one batch of 64)")
        shown.tick_params(labelbottom=True)
    for axes in panels[:, 0]:
        axes.set_ylabel("mean |f(f(x)) - f(x)|")
    names = [number(rate) for rate in rates]
    norm = BoundaryNorm(range(len(rates) + 1), len(rates))
    bar = figure.colorbar(
        ScalarMappable(norm, ListedColormap([colours(i) for i in range(len(rates))])),
        ax=list(panels.flat), ticks=[i + 0.5 for i in range(len(rates))], label="learning rate",
    )  # fmt: skip
    bar.ax.set_yticklabels(names)
    bar.ax.tick_params(labelsize=9, length=0)
    return figure


def _curve(axes: Axes, outcomes: Sequence[Outcome], colour: tuple[float, float, float, float]) -> None:
    values: dict[int, list[float]] = {}
    for outcome in outcomes:
        for entry in outcome.trial.run.metrics:
            value = entry.get("idempotence")
            if entry["split"] == "train" and value is not None and math.isfinite(value):
                values.setdefault(entry["step"], []).append(max(value, FLOOR))
    if not values:
        return
    steps = sorted(values)
    axes.fill_between(
        steps, [min(values[s]) for s in steps], [max(values[s]) for s in steps], color=colour, alpha=0.15, lw=0
    )
    axes.plot(steps, [median(values[s]) for s in steps], color=colour, lw=1.3)
    if any(outcome.failed for outcome in outcomes):
        axes.plot(steps[-1], median(values[steps[-1]]), "x", color=colour, ms=7, mew=2, clip_on=False)


def error_against_rate(panels: Sequence[tuple[str, Sequence[Arm]]]) -> Figure:
    """Absolute error, relative error and rank at the end against the learning rate, a column a configuration.

    Lines go through medians over the seeds, shading from the lowest to the highest; crosses at the top count the seeds
    that diverged.

    Args:
        panels: (heading, arms) of each column.
    """
    count = len(panels)
    figure = Figure(figsize=(2.6 * count + 0.9, 7.4), dpi=DPI, layout="constrained")
    cells = figure.subplots(3, count, sharex="col", sharey="row", squeeze=False)
    for axes in cells[:2, 0]:
        axes.set_yscale("log")
    for column, (heading, arms) in zip(cells.T, panels, strict=True):
        column[0].set_title(heading, loc="left", fontsize=10, fontweight="bold")
        for i, arm in enumerate(arms):
            _against_rate(column, arm, 9 - 2 * min(i, 3))
        for axes in column:
            axes.set_xscale("log")
            plain(axes)
        column[1].axhline(0.1, color=BLACK, lw=1, ls=":")
        _few_decades(column[2])
        column[2].set_xlabel("learning rate")
    for axes, label in zip(
        cells[:, 0], ("mean |f(f(x)) - f(x)|", "relative error", "rank of the Jacobian at f(x)"), strict=True
    ):
        axes.set_ylabel(label)
    for axes in cells[:2].flat:
        _decades(axes)
    low = min(0.05, cells[1, 0].get_ylim()[0])
    cells[1, 0].set_ylim(low, 20)
    cells[2, 0].set_ylim(-0.5, max(2.5, cells[2, 0].get_ylim()[1]))
    cells[2, 0].yaxis.set_major_locator(MaxNLocator(integer=True))
    _mark_divergence(cells[0], panels)
    shown = list(dict.fromkeys((arm.label, arm.constant) for _, arms in panels for arm in arms))
    handles = [Line2D([], [], color=STYLES[c][0], marker=STYLES[c][1], ms=5, label=label) for label, c in shown]
    handles += [
        Line2D([], [], color=BLACK, marker="x", ls="", mew=1.8, label="some seeds diverged"),
        Line2D([], [], color=BLACK, ls=":", lw=1, label="0.1: above is not idempotent"),
    ]
    seen = {o.verdict for _, arms in panels for arm in arms for o in arm.outcomes}
    handles += [
        Line2D([], [], color=GREY, marker=marker, ls="", ms=8, label=f"mostly {verdict}")
        for verdict, marker in _VERDICTS.items()
        if verdict in seen
    ]
    legend_above(figure, handles)
    return figure


def _against_rate(column: Sequence[Axes], arm: Arm, size: float) -> None:
    """One arm; ranks are equal more often than not, so the size of their markers tells those that lie upon each other."""
    colour, marker = STYLES.get(arm.constant, (GREY, "X"))
    for axes, figure in zip(column, ("absolute", "relative", "rank"), strict=True):
        rates, middle, low, high = [], [], [], []
        for rate in arm.rates:
            values = [v for o in arm.at(rate) if math.isfinite(v := getattr(o, figure))]
            if values:
                values = values if figure == "rank" else [max(v, FLOOR) for v in values]
                rates.append(rate)
                middle.append(median(values))
                low.append(min(values))
                high.append(max(values))
        axes.fill_between(rates, low, high, color=colour, alpha=0.2, lw=0)
        axes.plot(rates, middle, color=colour, lw=1.4, marker=marker if figure != "rank" else "", ms=4)
        if figure == "rank":
            for rate, value in zip(rates, middle, strict=True):
                verdicts = [o.verdict for o in arm.at(rate) if o.verdict]
                ((common, _),) = Counter(verdicts).most_common(1)
                axes.plot(rate, value, _VERDICTS.get(common, "o"), color=colour, ms=size)


def _mark_divergence(row: Sequence[Axes], panels: Sequence[tuple[str, Sequence[Arm]]]) -> None:
    """Crosses above the data, one row for each arm."""
    for axes, (_, arms) in zip(row, panels, strict=True):
        for i, arm in enumerate(arms):
            rates = [rate for rate in arm.rates if any(o.failed for o in arm.at(rate))]
            axes.plot(
                rates, [0.98 - 0.045 * i] * len(rates), "x", color=STYLES.get(arm.constant, (GREY, "X"))[0], ms=5,
                mew=1.6, transform=axes.get_xaxis_transform(),
            )  # fmt: skip
    low, high = row[0].get_ylim()
    row[0].set_ylim(low, high * (high / low) ** 0.22)


def matches(found: Sequence[tuple[Poster, Pair]]) -> Figure:
    """The poster's final errors and those of the configuration that comes nearest to them.

    Args:
        found: the poster's configurations with the pair nearest to each.
    """
    figure = Figure(figsize=(4.1 * len(found) + 0.4, 3.9), dpi=DPI, layout="constrained")
    for axes, (poster, pair) in zip(figure.subplots(1, len(found), sharey=True, squeeze=False)[0], found, strict=True):
        for arm, errors, colour, marker in (
            (pair.gradient, poster.gradient, BLUE, "o"),
            (pair.cubic, poster.cubic, VERMILLION, "s"),
        ):
            axes.plot(list(errors), list(errors.values()), marker, color=colour, ms=8, mfc="none", mew=1.8)
            rates = [rate for rate in arm.rates if rate >= min(errors)]
            values = [[max(o.absolute, FLOOR) for o in arm.at(rate) if not o.failed] for rate in rates]
            drawn = [(rate, v) for rate, v in zip(rates, values, strict=True) if v]
            xs = [rate for rate, _ in drawn]
            axes.fill_between(xs, [min(v) for _, v in drawn], [max(v) for _, v in drawn], color=colour, alpha=0.2, lw=0)
            axes.plot(xs, [median(v) for _, v in drawn], color=colour, lw=1.5, marker=".")
        axes.axhline(poster.start, color=BLACK, lw=1, ls=":")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(f"{poster.name}: {pair.cubic.configuration},\n{pair.cubic.label}", loc="left", fontsize=10)
        axes.set_xlabel("learning rate")
        _few_decades(axes)
        plain(axes)
    figure.axes[0].set_ylabel("final mean |f(f(x)) - f(x)|")
    _decades(figure.axes[0])
    handles = [
        Line2D([], [], color=BLUE, marker="o", mfc="none", ms=8, ls="", mew=1.8, label="gradient, poster"),
        Line2D([], [], color=VERMILLION, marker="s", mfc="none", ms=8, ls="", mew=1.8, label="cubic, poster"),
        Line2D([], [], color=BLUE, marker=".", label="gradient, here"),
        Line2D([], [], color=VERMILLION, marker=".", label="cubic, here"),
        Line2D([], [], color=BLACK, ls=":", lw=1, label="poster's start"),
    ]
    legend_above(figure, handles)
    return figure


def ratios(rows: Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]]) -> Figure:
    """Best error of the gradient over the best of the cubic iteration: a row a comparison, a point a configuration.

    Args:
        rows: label -> for each configuration the ratios of absolute and those of relative errors, by seed.
    """
    figure = Figure(figsize=(7.2, 0.42 * len(rows) + 1.5), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    for i, configurations in enumerate(rows.values()):
        lines = [(values, *style) for pair in configurations for values, style in zip(pair, _RATIOS, strict=True)]
        lines.sort(key=lambda line: line[1] != BLUE)
        for j, (values, colour, marker) in enumerate(lines):
            at = i + 0.7 * ((j + 0.5) / len(lines) - 0.5)
            finite = [value for value in values if math.isfinite(value) and value > 0]
            if finite:
                axes.plot([min(finite), max(finite)], [at] * 2, color=colour, lw=1.2)
                axes.plot(median(finite), at, marker, color=colour, ms=4)
            if any(math.isinf(value) for value in values):
                axes.plot(0.99, at, ">", color=colour, ms=5, transform=axes.get_yaxis_transform())
    axes.axvline(1, color=BLACK, lw=1)
    axes.axvline(10, color=BLACK, lw=1, ls=":")
    axes.set_xscale("log")
    _few_decades(axes)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("best error of the gradient / best error of the cubic iteration")
    plain(axes)
    handles = [
        Line2D([], [], color=colour, marker=marker, ms=4, label=label)
        for label, (colour, marker) in zip(("absolute error", "relative error"), _RATIOS, strict=True)
    ]
    handles.append(Line2D([], [], color=BLACK, ls=":", lw=1, label="10: the claim"))
    handles.append(Line2D([], [], color=GREY, marker=">", ls="", ms=5, label="infinite: an error of 0"))
    legend_above(figure, handles)
    return figure


def _decades(axes: Axes) -> None:
    """Powers of ten on the vertical axis, and not more of them than can be read."""
    axes.yaxis.set_major_locator(LogLocator(numticks=8))
    axes.yaxis.set_minor_locator(NullLocator())


def _few_decades(axes: Axes) -> None:
    """Powers of ten on the horizontal axis, and not more of them than can be read."""
    axes.xaxis.set_major_locator(LogLocator(numticks=6))
    axes.xaxis.set_minor_locator(NullLocator())
