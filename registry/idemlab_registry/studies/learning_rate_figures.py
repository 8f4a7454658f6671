"""Figures of the study `learning-rates`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

import matplotlib
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

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
    """Absolute and relative error at the end, and the verdicts, against the learning rate, a column a configuration.

    Markers are medians over the seeds, and upright lines reach from the lowest to the highest. The arms stand side by side
    at each rate, since several have the same errors. Bars show the share of the seeds that ended with each verdict.

    Args:
        panels: (heading, arms) of each column.
    """
    count = len(panels)
    names = list(dict.fromkeys((arm.label, arm.constant) for _, arms in panels for arm in arms))
    figure = Figure(figsize=(3.9 * count + 1.5, 5.6 + 0.34 * len(names)), dpi=DPI, layout="constrained")
    ratios = (2.4, 1.6, 0.34 * len(names) + 0.2)
    cells = figure.subplots(3, count, sharex="col", sharey="row", squeeze=False, height_ratios=ratios)
    medians: dict[str, list[float]] = {"absolute": [], "relative": []}
    for column, (heading, arms) in zip(cells.T, panels, strict=True):
        column[0].set_title(heading, loc="left", fontsize=10, fontweight="bold")
        rates = sorted({rate for arm in arms for rate in arm.rates})
        for i, arm in enumerate(arms):
            shift = 0.7 * ((i + 0.5) / len(arms) - 0.5)
            for axes, measured in zip(column, medians, strict=False):
                medians[measured] += _against_rate(axes, arm, measured, {r: k + shift for k, r in enumerate(rates)})
            _outcomes(column[2], arm, rates, names.index((arm.label, arm.constant)))
        column[1].axhline(0.1, color=BLACK, lw=1, ls=":")
        column[2].set_xticks(range(len(rates)), [number(rate) for rate in rates], rotation=90, fontsize=9)
        column[2].set_xlabel("learning rate")
        for axes in column:
            plain(axes)
            axes.grid(axis="x", visible=False)
        column[2].grid(visible=False)
    labels = ("mean |f(f(x)) - f(x)|", "relative error", "verdicts")
    for axes, label in zip(cells[:, 0], labels, strict=True):
        axes.set_ylabel(label)
    for axes, values in zip(cells[:2, 0], medians.values(), strict=True):
        axes.set_yscale("log")
        shown = [*(values or [1.0]), 0.1] if axes is cells[1, 0] else values or [1.0]  # none if all trials diverged
        axes.set_ylim(min(shown) / 3, 3 * max(shown))  # one seed that collapses would squeeze all others
        _decades(axes)
    cells[2, 0].set_yticks(range(len(names)), [label for label, _ in names], fontsize=9)
    cells[2, 0].set_ylim(len(names) - 0.4, -0.6)
    handles = [Line2D([], [], color=STYLES[c][0], marker=STYLES[c][1], ms=5, label=label) for label, c in names]
    handles.append(Line2D([], [], color=BLACK, ls=":", lw=1, label="0.1: above is not idempotent"))
    seen = {_ending(o) for _, arms in panels for arm in arms for o in arm.outcomes}
    handles += [
        Line2D([], [], color=colour, marker="s", ls="", ms=8, label=ending)
        for ending, colour in _ENDINGS.items()
        if ending in seen
    ]
    legend_above(figure, handles)
    return figure


_ENDINGS = {
    "genuine": GREEN,
    "identity": SKY,
    "not idempotent": "#f2d492",
    "constant": "#c4c4c4",
    "diverged": "#4d4d4d",
}
"""Colours of the ways in which a trial ends."""


def _ending(outcome: Outcome) -> str:
    return "diverged" if outcome.failed else outcome.verdict


def _against_rate(axes: Axes, arm: Arm, measured: str, places: Mapping[float, float]) -> list[float]:
    """Draw one quantity of an arm at the places of its rates; returns the medians."""
    colour, marker = STYLES.get(arm.constant, (GREY, "X"))
    xs, middle = [], []
    for rate in arm.rates:
        values = [max(v, FLOOR) for o in arm.at(rate) if math.isfinite(v := getattr(o, measured))]
        if values:
            xs.append(places[rate])
            middle.append(median(values))
            axes.plot([xs[-1]] * 2, [min(values), max(values)], color=colour, lw=1.3, alpha=0.55)
    axes.plot(xs, middle, color=colour, lw=0.8, marker=marker, ms=4)
    return middle


def _outcomes(axes: Axes, arm: Arm, rates: Sequence[float], row: int) -> None:
    """Draw a bar at each rate: how many of the seeds ended with each verdict."""
    for k, rate in enumerate(rates):
        endings = [_ending(outcome) for outcome in arm.at(rate)] if rate in arm.rates else []
        top = row - 0.4
        for ending, colour in _ENDINGS.items():
            share = 0.8 * endings.count(ending) / max(1, len(endings))
            if share:
                axes.bar(k, share, 0.86, top, color=colour)
            top += share


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
    """Best error of the gradient over the best of the cubic iteration: a band a comparison, a line a configuration.

    Args:
        rows: label -> for each configuration the ratios of absolute and those of relative errors, by seed.
    """
    lines = sum(len(configurations) for configurations in rows.values())
    figure = Figure(figsize=(10, 0.155 * lines + 0.2 * len(rows) + 1.5), dpi=DPI, layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    ticks, at = [], 0.0
    for i, configurations in enumerate(rows.values()):
        bottom = at + len(configurations) + 1.2
        ticks.append((at + bottom) / 2)
        for axes, which in zip(panels, (0, 1), strict=True):
            if i % 2 == 0:
                axes.axhspan(at, bottom, color="#f3f3f1", lw=0, zorder=0)
            drawn = [
                _ratio(axes, configuration[which], at + 1.1 + j, *_RATIOS[which])
                for j, configuration in enumerate(configurations)
            ]
            if not any(drawn):
                axes.text(_SHOWN[0] * 1.4, ticks[-1], "no ratio: both collapse", va="center", fontsize=9, color=GREY)
        at = bottom
    for axes, title in zip(panels, ("absolute error", "relative error"), strict=True):
        axes.set_xscale("log")
        axes.set_xlim(*_SHOWN)
        axes.axvline(1, color=BLACK, lw=1)
        axes.axvline(10, color=BLACK, lw=1, ls=":")
        _few_decades(axes)
        axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
        axes.set_xlabel("gradient's best error / cubic's best error\nsmaller: gradient better; larger: cubic better")
        plain(axes)
        axes.grid(axis="y", visible=False)
    panels[0].set_yticks(ticks, list(rows), fontsize=9)
    panels[0].set_ylim(at, 0)
    handles = [
        Line2D([], [], color=GREY, marker="o", ms=4, label="a configuration: median and range over the seeds"),
        Line2D(
            [], [], color=GREY, marker=">", ls="", ms=8, label="median beyond the edge, or infinite (small: some seeds)"
        ),
        Line2D([], [], color=BLACK, ls="-", lw=1, label="1: equal"),
        Line2D([], [], color=BLACK, ls=":", lw=1, label="10: the claim"),
    ]
    legend_above(figure, handles)
    return figure


_SHOWN = (1e-3, 1e3)
"""Ratios that are drawn in place; others are marked at the edge."""


def _ratio(axes: Axes, values: Sequence[float], at: float, colour: str, marker: str) -> bool:
    """Draw median and range of the ratios of one configuration; returns whether there is any."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return False
    low, high = _SHOWN
    inside = [min(max(value, low), high) for value in known]
    axes.plot([min(inside), max(inside)], [at] * 2, color=colour, lw=1.2)
    middle = median(known)
    if low < middle < high:
        axes.plot(middle, at, marker, color=colour, ms=4.5)
    for beyond, whole, place, arrow in (
        (max(known) >= high, middle >= high, 0.993, ">"),
        (min(known) <= low, middle <= low, 0.007, "<"),
    ):
        if beyond:
            size = 8 if whole else 4
            axes.plot(place, at, arrow, color=colour, ms=size, transform=axes.get_yaxis_transform(), clip_on=False)
    return True


def _decades(axes: Axes) -> None:
    """Powers of ten on the vertical axis, and not more of them than can be read."""
    axes.yaxis.set_major_locator(LogLocator(numticks=8))
    axes.yaxis.set_minor_locator(NullLocator())


def _few_decades(axes: Axes) -> None:
    """Powers of ten on the horizontal axis, and not more of them than can be read."""
    axes.xaxis.set_major_locator(LogLocator(numticks=6))
    axes.xaxis.set_minor_locator(NullLocator())
