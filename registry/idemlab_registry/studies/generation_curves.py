"""Generation during training: classes, Fréchet distance, readable share and drift against counted FLOPs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pandas import DataFrame

from idemlab import Trial
from idemlab.reports.style import DPI, legend_above, logarithmic, plain, point_style

from .generation_variants import CHANGED, CLASSES, CURVES, FRECHET, READABLE, Variant, at_least_rounding

__all__ = ["Curve", "curves_of", "drawn", "table"]

_PANELS = {
    CLASSES: ("classes covered", False),
    FRECHET: ("Fréchet distance (log scale)", True),
    READABLE: ("share readable", False),
    CHANGED: ("relative change from f to f³\n(log scale)", True),
}
"""Metric -> label, and whether its scale is logarithmic."""
_HEADINGS = {CLASSES: "classes", FRECHET: "Fréchet", READABLE: "readable", CHANGED: "f to f³"}
"""Metric -> heading of its column in the table."""


@dataclass(frozen=True)
class Curve:
    """One trial during training.

    Args:
        variant: its label.
        seed: of the trial.
        flops: counted at each evaluation, ascending.
        values: metric -> value at each evaluation; NaN where there is none.
    """

    variant: str
    seed: int
    flops: tuple[float, ...]
    values: dict[str, tuple[float, ...]]

    def since(self, classes: int) -> float | None:
        """The budget from which on all evaluations have so many classes, or None if the last one has fewer."""
        first = None
        for flops, found in zip(reversed(self.flops), reversed(self.values[CLASSES]), strict=True):
            if not found >= classes:
                break
            first = flops
        return first


def curves_of(variants: Iterable[Variant], kept: DataFrame | None = None) -> list[Curve]:
    """The curves of the variants that are drawn.

    Args:
        variants: in the order of the figure.
        kept: `table` of the record so far, for trials whose runs are no longer there.
    """
    drawn = [(variant.label, trial) for variant in variants if variant.name in CURVES for trial in variant.trials]
    curves = [_of_run(label, trial) or _of_table(label, trial.seed, kept) for label, trial in drawn]
    return [curve for curve in curves if curve is not None]


def _of_run(variant: str, trial: Trial) -> Curve | None:
    if not (trial.run.metrics_file.is_file() and trial.steps and trial.flops):
        return None
    entries = [entry for entry in trial.run.metrics if entry.get("split") == "evaluation"]
    flops = tuple(trial.flops / trial.steps * entry["step"] for entry in entries)
    values = {name: tuple(_number(entry.get(name)) for entry in entries) for name in _PANELS}
    return Curve(variant, trial.seed, flops, values) if entries else None


def _of_table(variant: str, seed: int, kept: DataFrame | None) -> Curve | None:
    if kept is None or not {"variant", "seed", "FLOPs", *_HEADINGS.values()} <= set(kept.columns):
        return None
    rows = kept[(kept["variant"] == variant) & (kept["seed"] == str(seed))]
    values = {name: tuple(float(text or "nan") for text in rows[heading]) for name, heading in _HEADINGS.items()}
    return Curve(variant, seed, tuple(map(float, rows["FLOPs"])), values) if len(rows) else None


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def table(curves: Iterable[Curve]) -> DataFrame:
    """One row for each evaluation of each trial: the figure in numbers."""
    return DataFrame(
        [
            {"variant": curve.variant, "seed": curve.seed, "FLOPs": flops}
            | {heading: curve.values[name][i] for name, heading in _HEADINGS.items()}
            for curve in curves
            for i, flops in enumerate(curve.flops)
        ]
    )


def drawn(curves: list[Curve]) -> Figure:
    """Four panels over the counted FLOPs; a line is one trial."""
    labels = list(dict.fromkeys(curve.variant for curve in curves))
    figure = Figure(figsize=(10, 6.4 + 0.12 * len(labels)), dpi=DPI, layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    styles = {label: {**point_style(i), "ls": "-", "lw": 1.2} for i, label in enumerate(labels)}
    for axes, (name, (label, log)) in zip(panels.flat, _PANELS.items(), strict=True):
        for curve in curves:
            values = at_least_rounding(curve.values[name]) if log else curve.values[name]
            axes.plot(curve.flops, values, **styles[curve.variant])
        axes.set_ylabel(label)
        if log:
            logarithmic(axes.yaxis)
        plain(axes)
    panels[0, 0].set_ylim(-0.4, 10.4)
    panels[1, 0].set_ylim(-0.03, 1.03)
    for axes in panels[1]:
        axes.set_xlabel("counted FLOPs (log scale)")
    logarithmic(panels[0, 0].xaxis)
    legend_above(figure, [Line2D([], [], label=label, **styles[label]) for label in labels])
    return figure
