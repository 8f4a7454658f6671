"""Draws training curves, and the spectrum of the Jacobian at the end of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..certificate.verdict import NOT_IDEMPOTENT, SINGULAR
from .style import (
    BLACK,
    BLUE,
    DPI,
    SKY,
    VERMILLION,
    decimal,
    grid_of,
    legend_above,
    line_style,
    not_drawn,
    panel_legend,
    plain,
    threshold,
)

__all__ = ["jacobian_spectrum", "overlaid_curves", "overlaid_panels", "training_curves", "training_panels"]

_FLOOR = 1e-3
"""Smaller singular values are drawn at the lower edge."""


# -- curves -------------------------------------------------------------------------------------------------------------


_LOSS, _RELATIVE, _RANK = "loss and its terms", "relative error", "rank of the Jacobian at f(x)"
_PASSING = "in training"
"""The curve of the errors of training batches."""


def training_curves(entries: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw loss terms, relative error, rank and learning rate over the steps of a run.

    Args:
        entries: lines of metrics.jsonl; a panel without data is left out.

    Raises:
        ValueError: if there is nothing to draw.
    """
    panels = _panels(entries)
    figure, grid = grid_of(len(panels))
    for axes, (label, curves) in zip(grid, panels.items(), strict=True):
        _draw_panel(axes, label, curves, entries)
    return figure


def training_panels(entries: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """Label -> the panel of `training_curves` as a figure of its own, so that a page can place them to fit its width."""
    panels = {}
    for label, curves in _panels(entries).items():
        panels[label], (axes,) = grid_of(1)
        _draw_panel(axes, label, curves, entries)
    return panels


def _panels(entries: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Curve]]:
    """Label of a panel -> its curves."""
    train = [entry for entry in entries if entry["split"] == "train"]
    evaluation = [entry for entry in entries if entry["split"] == "evaluation"]
    average = _at_inputs([entry for entry in entries if entry["split"] == "ema"], "relative")
    terms = [key for key in _keys(train) if key not in ("lr", "relative")]
    passing = {_PASSING: _series(train, "relative")} if any("relative" in entry for entry in train) else {}
    panels = {
        _LOSS: {key.replace("_", " "): _series(train, key) for key in terms},
        _RELATIVE: _at_inputs(evaluation, "relative") | {f"{n}, average": c for n, c in average.items()} | passing,
        _RANK: _at_inputs(evaluation, "rank"),
        "learning rate": {"": _series(train, "lr")} if train else {},
    }
    return {label: curves for label, curves in panels.items() if curves}


def _draw_panel(axes: Axes, label: str, curves: Mapping[str, Curve], entries: Sequence[Mapping[str, Any]]) -> None:
    for i, (name, (steps, values)) in enumerate(curves.items()):
        measured = label == _RANK or (label == _RELATIVE and name != _PASSING)
        axes.plot(steps, values, label=name, **line_style(i, markers=measured))
    _finish(axes, label, logarithmic=label in (_LOSS, _RELATIVE))
    if label == _RELATIVE:
        threshold(axes)
        _bound(axes, [value for name, (_, values) in curves.items() if name != _PASSING for value in values])
    if label == _RANK:
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    decimal(axes.yaxis)
    panel_legend(axes)
    axes.set_xlim(0, 1.03 * max(entry["step"] for entry in entries))


def overlaid_curves(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Draw loss, reconstruction and relative error over the steps, with one line per run.

    Args:
        runs: label -> entries of metrics.jsonl.

    Raises:
        ValueError: if there is nothing to draw.
    """
    panels = _overlaid(runs)
    figure, grid = grid_of(len(panels))
    for axes, (label, curves) in zip(grid, panels.items(), strict=True):
        _draw_overlaid(axes, label, curves)
    legend_above(figure, _handles(runs, limit=any(label.startswith(_RELATIVE) for label in panels)))
    return figure


def overlaid_panels(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Figure]:
    """The panels of `overlaid_curves` as figures of their own, so that a page can place them to fit its width."""
    figures = []
    for label, curves in _overlaid(runs).items():
        figure, (axes,) = grid_of(1)
        _draw_overlaid(axes, label, curves)
        legend_above(figure, _handles(runs, limit=label.startswith(_RELATIVE)))
        figures.append(figure)
    return figures


def _overlaid(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, Curve]]:
    """Label of a panel -> the curve of each run."""
    train = {name: [e for e in entries if e["split"] == "train"] for name, entries in runs.items()}
    evaluation = {name: [e for e in entries if e["split"] == "evaluation"] for name, entries in runs.items()}
    inputs = [key for key in _keys(e for entries in evaluation.values() for e in entries) if key.endswith("/relative")]
    panels = {
        key: {name: _series(entries, key) for name, entries in train.items()} for key in ("loss", "reconstruction")
    }
    for key in inputs:
        label = f"{_RELATIVE} at {key.removesuffix('/relative')}"
        panels[label] = {name: _series(entries, key) for name, entries in evaluation.items()}
    return {label: curves for label, curves in panels.items() if any(len(steps) for steps, _ in curves.values())}


def _draw_overlaid(axes: Axes, label: str, curves: Mapping[str, Curve]) -> None:
    once = [len(steps) == 1 for steps, _ in curves.values()]
    for i, (steps, values) in enumerate(curves.values()):
        style = line_style(i, markers=True)
        if once[i]:  # a single point is no line: let it be seen
            style |= {"ms": 9, "mec": BLACK, "mew": 0.8, "ls": "", "zorder": 3, "clip_on": False}
        axes.plot(steps, values, **style, markevery=max(1, len(steps) // 8))
    _finish(axes, label, logarithmic=True)
    if any(once):
        told = "each run measured once" if all(once) else "large markers: measured once"
        axes.set_ylabel(f"{axes.get_ylabel()}\n{told}")
    if label.startswith(_RELATIVE):
        threshold(axes)
    decimal(axes.yaxis)
    axes.set_xlim(left=0)


def _handles(names: Iterable[str], *, limit: bool) -> list[Line2D]:
    """Entries of the legend: a line per run, and the limit of the verdict."""
    handles = [Line2D([], [], label=name, **line_style(i, markers=True)) for i, name in enumerate(names)]
    return handles + [Line2D([], [], color=BLACK, lw=1, ls=":", label=f"limit {NOT_IDEMPOTENT:g}")] * limit


Curve = tuple[list[int], list[float]]
"""Steps and values."""


def _keys(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of all measured values in the entries, in order of appearance."""
    return list(dict.fromkeys(key for entry in entries for key in entry if key not in ("step", "split", "time")))


def _series(entries: Sequence[Mapping[str, Any]], key: str) -> Curve:
    points = [(entry["step"], entry[key]) for entry in entries if key in entry]
    return [step for step, _ in points], [value for _, value in points]


def _at_inputs(evaluation: Sequence[Mapping[str, Any]], metric: str) -> dict[str, Curve]:
    """Name of a set of inputs -> curve of one measured value there."""
    keys = [key for key in _keys(evaluation) if key.endswith(f"/{metric}")]
    return {key.partition("/")[0]: _series(evaluation, key) for key in keys}


def _bound(axes: Axes, measured: Sequence[float]) -> None:
    """Limit the axis to the evaluations' range, so that one bad training batch does not squeeze the curves."""
    finite = [value for value in measured if math.isfinite(value)]
    if finite and max(finite) > 0:
        axes.set_ylim(top=min(axes.get_ylim()[1], 3 * max(*finite, NOT_IDEMPOTENT)))


def _finish(axes: Axes, label: str, *, logarithmic: bool) -> None:
    """Axis labels and the scale."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.get_lines()])
    finite = values[np.isfinite(values)]
    if logarithmic and (finite > 0).any():
        # Some loss terms (tightness) are negative: then the axis is linear around zero.
        if (finite < 0).any():
            axes.set_yscale("symlog", linthresh=float(np.abs(finite[finite != 0]).min()))
        else:
            axes.set_yscale("log", nonpositive="mask")
            not_drawn(axes, int((finite == 0).sum()), "of 0")
        label = f"{label} (log scale)"
    else:
        axes.set_ylim(bottom=finite.min(initial=0.0))
    not_drawn(axes, len(values) - len(finite), "not finite", line=1)
    axes.set_xlabel("optimiser step")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    plain(axes)


# -- spectrum -----------------------------------------------------------------------------------------------------------


def jacobian_spectrum(inputs: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw singular values and |eigenvalues| of the Jacobian at f(x): a thin line per point, and a bold median.

    Args:
        inputs: name -> certificate as in certificate.json; certificates without spectra are left out.

    Raises:
        ValueError: if no certificate has spectra.
    """
    measured = {name: certificate for name, certificate in inputs.items() if certificate["spectra"]}
    if not measured:
        raise ValueError("there is nothing to draw: no certificate has spectra")
    kinds = {"singular_values": "singular value", "eigenvalue_moduli": "|eigenvalue|"}
    kinds = {key: label for key, label in kinds.items() if any(c["spectra"][0][key] for c in measured.values())}
    figure = Figure(figsize=(3.3 * len(measured) + 0.6, 2.9 * len(kinds) + 0.5), dpi=DPI, layout="constrained")
    grid = figure.subplots(len(kinds), len(measured), sharex=True, sharey="row", squeeze=False)
    for row, (key, label) in zip(grid, kinds.items(), strict=True):
        row[0].set_ylabel(f"{label} (log scale)")
        for axes, certificate in zip(row, measured.values(), strict=True):
            spectra = np.maximum([spectrum[key] for spectrum in certificate["spectra"]], _FLOOR)
            index = np.arange(1, spectra.shape[1] + 1)
            axes.plot(index, spectra.T, color=SKY, lw=0.7)
            axes.plot(index, np.median(spectra, axis=0), color=BLUE, lw=2.2, marker="o" if len(index) <= 32 else "")
            axes.axhline(SINGULAR, color=VERMILLION, lw=1.2, ls="--")
            axes.axvline(certificate["rank"], color=BLACK, lw=1.2, ls=":")
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_ylim(bottom=_FLOOR)
            decimal(axes.xaxis)
            decimal(axes.yaxis)
            plain(axes)
    for top, bottom, (name, certificate) in zip(grid[0], grid[-1], measured.items(), strict=True):
        top.set_title(f"x: {name}", loc="left", fontsize=11, fontweight="bold")
        top.set_title(f"rank {certificate['rank']:g} of {certificate['dimension']}", loc="right", fontsize=10)
        bottom.set_xlabel("index (log scale)")
    handles = [
        Line2D([], [], color=SKY, lw=0.9, label="at one f(x)"),
        Line2D([], [], color=BLUE, lw=2.2, label="median"),
        Line2D([], [], color=VERMILLION, lw=1.2, ls="--", label=f"{SINGULAR:g}: above counts as rank"),
        Line2D([], [], color=BLACK, lw=1.2, ls=":", label="median rank"),
    ]
    legend_above(figure, handles)
    return figure
