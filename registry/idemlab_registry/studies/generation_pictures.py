"""The pictures of the study on generation: rows of digits, quality against drift, and the price of low drift."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from idemlab.reports.style import (
    BLUE,
    DPI,
    GREEN,
    GREY,
    ORANGE,
    VERMILLION,
    legend_above,
    logarithmic,
    plain,
    point_style,
)

from .gallery import Block, gallery
from .generation_variants import (
    CHANGE,
    CHANGED,
    CLASSES,
    FRECHET,
    NEARER,
    READABLE,
    SHARE_OF_IGN,
    SHARE_READABLE,
    Variant,
    at_least_rounding,
    best_of_ign,
)
from .trained import Trained

__all__ = ["Lines", "dots", "generated", "price_drawn"]

_READABLE = {1: READABLE, 3: "noise/readable_3"}
_FRECHETS = {k: f"noise/frechet_cnn_{k}" for k in (1, 2, 3)}
_MARKS = {1: ("f", BLUE, "o", 8), 2: ("f²", VERMILLION, "s", 5), 3: ("f³", GREEN, "^", 5)}
"""Label, colour, marker and size: the largest is hollow and holds the others where nothing moves."""
_COLUMNS = 10


@dataclass(frozen=True)
class Lines:
    """Positions of the dashed lines: the goals.

    Args:
        distance: largest Fréchet distance, if there was one to compare with.
        readable: smallest share.
        change: largest relative change from f to f^3.
    """

    distance: float | None
    readable: float
    change: float


def first_round(variants: Iterable[Variant]) -> Lines:
    """The goals of the first round: the distance depends on IGN's."""
    of_ign = best_of_ign(variants)
    return Lines(None if of_ign is None else SHARE_OF_IGN * of_ign, SHARE_READABLE, CHANGE)


def generated(variants: Iterable[Variant]) -> Figure:
    """One row of f(z) for each variant."""
    rows = {}
    for variant in variants:
        trained = Trained.of(variant.trials[0].run)
        batch = trained.test(2 * _COLUMNS)
        rows[variant.label] = trained.apply(trained.noise(batch), trained.condition(batch))
    return gallery([[Block("f(z)", rows)]], trained.dataset.range)


def dots(variants: list[Variant], asked: Lines | None = None) -> Figure:
    """Fréchet distance at f, f^2, f^3, share readable with the number of classes, and the change from f to f^3."""
    asked = asked or first_round(variants)
    figure = Figure(figsize=(11, 0.36 * len(variants) + 1.7), dpi=DPI, layout="constrained")
    quality, readable, change = panels = figure.subplots(1, 3, sharey=True, width_ratios=(1.2, 1.2, 1))
    for row, variant in enumerate(variants):
        for axes, measured in ((quality, _FRECHETS), (readable, _READABLE)):
            at = {k: variant.values(name) for k, name in measured.items()}
            for along in zip(*at.values(), strict=False):  # from f to f^3, a line a trial
                axes.plot(along, [row] * len(along), color=GREY, lw=1, zorder=1)
            for k, values in at.items():
                _, colour, marker, size = _MARKS[k]
                axes.plot(values, [row] * len(values), ls="", marker=marker, color=colour, ms=size, mfc="none", mew=1.6)
        values = at_least_rounding(variant.values(CHANGED))
        change.plot(values, [row] * len(values), ls="", marker="D", color=ORANGE, ms=5)
        classes = variant.middle(CLASSES)
        if classes is not None:
            place = {"textcoords": "offset points", "va": "center", "fontsize": 9}
            readable.annotate(f"{classes:g} of 10", (1.04, row), xytext=(4, 0), **place)
        if row % 2 == 0:
            for axes in panels:
                axes.axhspan(row - 0.5, row + 0.5, color="#f3f3f1", lw=0, zorder=0)
    quality.set_yticks(range(len(variants)), [variant.label for variant in variants])
    quality.set_ylim(len(variants) - 0.5, -0.5)
    quality.set_xlabel("Fréchet distance (log scale):\nsmaller is better")
    readable.set_xlabel("share readable: larger is better;\nclasses covered")
    readable.set_xlim(-0.04, 1.04)
    change.set_xlabel("relative change from f to f³\n(log scale): smaller is stiller")
    if asked.distance is not None:
        quality.axvline(asked.distance, color="black", ls="--", lw=1)
    readable.axvline(asked.readable, color="black", ls="--", lw=1)
    change.axvline(asked.change, color="black", ls="--", lw=1)
    for axes in (quality, change):
        logarithmic(axes.xaxis)
    for axes in panels:
        plain(axes)
        axes.grid(axis="y", visible=False)
    handles = [
        Line2D([], [], ls="", marker=marker, color=colour, ms=size, mfc="none", mew=1.6, label=label)
        for label, colour, marker, size in _MARKS.values()
    ]
    handles.append(
        Line2D([], [], color="black", ls="--", lw=1, label="asked for: left of it, or right of it for the share")
    )
    legend_above(figure, handles)
    return figure


def price_drawn(variants: list[Variant], asked: Lines | None = None) -> Figure:
    """Fréchet distance, recall and nearness to the training images against the change from f to f^3."""
    asked = asked or first_round(variants)
    figure = Figure(figsize=(10, 3.2 + 0.1 * len(variants)), dpi=DPI, layout="constrained")
    quality, recall, memory = panels = figure.subplots(1, 3)
    handles = []
    for i, variant in enumerate(variants):
        style = point_style(i)
        handles.append(Line2D([], [], label=variant.label, **style))
        for axes, values in (
            (quality, variant.values(FRECHET)),
            (recall, variant.values("noise/recall_cnn_1")),
            (memory, variant.nearness),
        ):
            changes = at_least_rounding(variant.values(CHANGED))
            if len(values) == len(changes):
                axes.plot(changes, values, **style)
    quality.set_ylabel("Fréchet distance at f (log scale)")
    recall.set_ylabel("recall at f")
    memory.set_ylabel("distance to training images,\nover that of test digits")
    memory.axhline(1 - NEARER, color="black", ls="--", lw=1)
    logarithmic(quality.yaxis)
    for axes in panels:
        axes.set_xlabel("relative change from f to f³\n(log scale)")
        logarithmic(axes.xaxis)
        axes.axvline(asked.change, color="black", ls="--", lw=1)
        plain(axes)
    legend_above(figure, handles)
    return figure
