"""Figures of a run: from data to a matplotlib `Figure`, one function each, drawn as `drawing` has it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..certificate.verdict import NOT_IDEMPOTENT, SINGULAR
from ..objective.evaluation import Examples
from .style import (
    BLACK,
    BLUE,
    DPI,
    GREY,
    ORANGE,
    SKY,
    VERMILLION,
    decimal,
    grid_of,
    legend_above,
    line_style,
    panel_legend,
    plain,
    threshold,
)

__all__ = [
    "COLUMNS",
    "hero",
    "is_image",
    "jacobian_spectrum",
    "orbit_figures",
    "overlaid_curves",
    "power",
    "training_curves",
]

Array = NDArray[np.float64]
Range = tuple[float, float] | None

COLUMNS = 12
"""Samples in a row of images."""

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

_FLOOR = 1e-3
"""Singular values below are drawn at the lower edge."""


# -- orbits -------------------------------------------------------------------------------------------------------------


def orbit_figures(shown: Sequence[Examples], range: Range) -> dict[str, Figure]:
    """Pictures of orbits by title: rows of images for each set of inputs; for anything else one picture of all sets.

    Samples with targets of their own (lists to sort) are drawn value by value, other vectors in a plane.

    Args:
        shown: as `idemlab.evaluation.examples` gives them; the test data first.
        range: smallest and largest value of a sample, black and white; None takes them of the outputs.
    """
    if is_image(shown[0].orbit[0].shape[1:]):
        return {examples.name: orbit_rows(examples, range) for examples in shown}
    draw = orbit_values if _differs(shown[0]) else orbit_plane
    return {", ".join(examples.name for examples in shown): draw(shown)}


def orbit_rows(examples: Examples, range: Range) -> Figure:
    """Images in rows x, f(x), f(f(x)), ..., and the target where it is not the input itself; a column is one orbit."""
    rows = {power(k): points[:COLUMNS] for k, points in enumerate(examples.orbit)}
    if _differs(examples):
        assert examples.target is not None
        rows["target"] = examples.target[:COLUMNS]
    shades = _shades(examples, range)
    tiles = _mosaic([[shades(image) for image in row] for row in rows.values()])
    return _drawn([tiles], list(rows), [f"x: {examples.name}"])


_CLAIMS = {"noise": "noise → data", "corrupted": "corrupted → repaired", "data": "data → left alone"}


def hero(
    shown: Sequence[Examples], range: Range, *, columns: int = 5, claims: Mapping[str, str] | None = None
) -> Figure:
    """One compact picture of what a projector of images does: rows x, f(x), f(f(x)), the sets of inputs side by side.

    Args:
        shown: image examples, in the order in which they are to stand.
        range: smallest and largest value of a sample.
        columns: orbits of each set.
        claims: heading for each set of inputs.
    """
    headings = _CLAIMS | dict(claims or {})
    panels = []
    for examples in shown:
        shades = _shades(examples, range)
        panels.append(_mosaic([[shades(image) for image in points[:columns]] for points in examples.orbit[:3]]))
    return _drawn(
        panels, [power(k) for k in (0, 1, 2)], [headings.get(examples.name, examples.name) for examples in shown]
    )


def is_image(shape: Sequence[int]) -> bool:
    """Whether samples of this shape are grey or coloured images, (channels, height, width)."""
    return len(shape) == 3 and shape[0] in (1, 3) and min(shape[1:]) > 1


def _differs(examples: Examples) -> bool:
    """Whether there is a target that is not the input itself."""
    return examples.target is not None and not bool((examples.target == examples.orbit[0]).all())


def power(k: int) -> str:
    """f^k(x) as one writes it."""
    return "f(" * k + "x" + ")" * k if k <= 3 else f"f{str(k).translate(_RAISED)}(x)"


def _shades(examples: Examples, range: Range) -> Any:
    """A function from an image [C, H, W] to RGB in 0..1, [H, W, 3]; values beyond the range are cut."""
    outputs = examples.orbit[1] if len(examples.orbit) > 1 else examples.orbit[0]
    low, high = range or (float(outputs.min()), float(outputs.max()))

    def shades(image: Any) -> Array:
        values = np.clip((_array(image) - low) / max(high - low, 1e-12), 0, 1).transpose(1, 2, 0)
        return np.broadcast_to(values, (*values.shape[:2], 3))

    return shades


def _array(points: Any) -> Array:
    """A tensor on the CPU as an array of doubles."""
    return np.asarray(points, dtype=np.float64)


def _mosaic(rows: Sequence[Sequence[Array]]) -> Array:
    """Images [H, W, 3] in rows, on white, a gap of a fourteenth of their size between them."""
    height, width = rows[0][0].shape[:2]
    gap = max(1, round(min(height, width) / 14))
    canvas = np.ones((len(rows) * (height + gap) - gap, len(rows[0]) * (width + gap) - gap, 3))
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            top, left = i * (height + gap), j * (width + gap)
            canvas[top : top + height, left : left + width] = image
    return canvas


def _drawn(panels: Sequence[Array], labels: Sequence[str], headings: Sequence[str]) -> Figure:
    """Mosaics side by side, each entry a whole number of pixels wide; labels before the rows, headings above."""
    zoom = max(1, round(1150 / sum(panel.shape[1] for panel in panels)))
    left, top, right, gap = 120, 40, 12, 34
    height, widths = panels[0].shape[0] * zoom, [panel.shape[1] * zoom for panel in panels]
    total_width = left + sum(widths) + gap * (len(panels) - 1) + right
    total_height = top + height + right
    figure = Figure(figsize=(total_width / DPI, total_height / DPI), dpi=DPI)
    start = left
    for panel, width, heading in zip(panels, widths, headings, strict=True):
        axes = figure.add_axes((start / total_width, right / total_height, width / total_width, height / total_height))
        axes.imshow(panel, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        axes.set_title(heading, loc="left" if len(panels) == 1 else "center", fontsize=11, fontweight="bold", pad=5)
        if start == left:
            each = panel.shape[0] / len(labels)
            for i, label in enumerate(labels):
                axes.text(-10 / zoom, (i + 0.5) * each, label, ha="right", va="center", fontsize=10, fontstyle="italic")
        start += width + gap
    return figure


def orbit_values(shown: Sequence[Examples], samples: int = 4) -> Figure:
    """The entries of a few samples against their position: x, f(x), f(f(x)), target. One row for each set of inputs."""
    figure = Figure(figsize=(10, 2.5 * len(shown) + 0.4), dpi=DPI, layout="constrained")
    grid = figure.subplots(len(shown), samples, sharex=True, sharey=True, squeeze=False)
    for examples, row in zip(shown, grid, strict=True):
        orbit = [_array(points).reshape(len(points), -1) for points in examples.orbit[:3]]
        position = np.arange(1, orbit[0].shape[1] + 1)
        for i, axes in enumerate(row[: len(orbit[0])]):
            if _differs(examples):
                assert examples.target is not None
                axes.plot(position, _array(examples.target[i]).ravel(), color=GREY, lw=4, alpha=0.5)
            axes.plot(position, orbit[0][i], ".", color=BLACK, ms=5)
            axes.plot(position, orbit[1][i], color=BLUE, lw=1.8)
            if len(orbit) > 2:
                axes.plot(position, orbit[2][i], "--", color=ORANGE, lw=1.8)
        for axes in row:
            plain(axes)
        row[0].set_ylabel(f"value\n(x: {examples.name})")
    for axes in grid[-1]:
        axes.set_xlabel("position")
    handles = [
        Line2D([], [], color=BLACK, marker=".", ls="", label="x"),
        Line2D([], [], color=BLUE, lw=1.8, label="f(x)"),
        Line2D([], [], color=ORANGE, lw=1.8, ls="--", label="f(f(x))"),
        Line2D([], [], color=GREY, lw=4, alpha=0.5, label="target"),
    ]
    legend_above(figure, handles)
    return figure


def orbit_plane(shown: Sequence[Examples]) -> Figure:
    """Where f takes points: lines from x to f(x), f(f(x)) over f(x), in the plane where the first set's f(x) vary."""
    origin, plane, labels = _plane(_array(shown[0].orbit[1]).reshape(len(shown[0].orbit[1]), -1))
    figure = Figure(figsize=(3.4 * len(shown) + 0.4, 4.4), dpi=DPI, layout="constrained")
    grid = figure.subplots(1, len(shown), squeeze=False)[0]
    for examples, axes in zip(shown, grid, strict=True):
        orbit = [(_array(points).reshape(len(points), -1) - origin) @ plane for points in examples.orbit[:3]]
        x, y = orbit[:2]
        axes.add_collection(LineCollection(list(np.stack([x, y], axis=1)), colors=GREY, linewidths=0.6))
        axes.plot(*x.T, ".", color=BLACK, ms=3)
        axes.plot(*y.T, "o", color=BLUE, ms=6)
        if len(orbit) > 2:
            axes.plot(*orbit[2].T, "x", color=ORANGE, ms=4, mew=1.2)
        axes.set_title(f"x: {examples.name}", loc="left", fontsize=11, fontweight="bold")
        axes.set_xlabel(labels[0])
        axes.set_aspect("equal", adjustable="datalim")
        plain(axes)
    grid[0].set_ylabel(labels[1])
    handles = [
        Line2D([], [], color=BLACK, marker=".", ls="", label="x"),
        Line2D([], [], color=BLUE, marker="o", ls="", label="f(x)"),
        Line2D([], [], color=ORANGE, marker="x", ls="", mew=1.2, label="f(f(x))"),
        Line2D([], [], color=GREY, lw=0.6, label="from x to f(x)"),
    ]
    legend_above(figure, handles)
    return figure


def _plane(points: Array) -> tuple[Array, Array, tuple[str, str]]:
    """(origin [n], orthonormal plane [n, 2], axis labels) of the first two principal components of points [N, n]."""
    n = points.shape[1]
    if n <= 2:
        return np.zeros(n), np.eye(n, 2), ("first entry", "second entry")
    origin = points.mean(0)
    _, singular, rows = np.linalg.svd(points - origin, full_matrices=False)
    plane = np.zeros((n, 2))
    plane[:, : len(rows[:2])] = rows[:2].T
    shares = np.zeros(2)
    shares[: len(singular[:2])] = singular[:2] ** 2 / max(float((singular**2).sum()), 1e-300)
    first, second = (f"principal component {i + 1} ({100 * share:.0f} %)" for i, share in enumerate(shares))
    return origin, plane, (first, second)


# -- curves -------------------------------------------------------------------------------------------------------------


_LOSS, _RELATIVE = "loss and its terms", "relative error"


def training_curves(entries: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss terms, relative error, rank and learning rate over the steps of a run.

    Args:
        entries: of metrics.jsonl; what they do not hold is left out.

    Raises:
        ValueError: if there is nothing to draw.
    """
    train = [entry for entry in entries if entry["split"] == "train"]
    evaluation = [entry for entry in entries if entry["split"] == "evaluation"]
    terms = [key for key in _keys(train) if key not in ("lr", "relative")]
    relative = _at_inputs(evaluation, "relative")
    rank = _at_inputs(evaluation, "rank")
    passing = {"in training": _series(train, "relative")} if any("relative" in entry for entry in train) else {}
    panels: list[tuple[str, dict[str, Curve]]] = [
        (_LOSS, {key.replace("_", " "): _series(train, key) for key in terms}),
        (_RELATIVE, relative | passing),
        ("rank of the Jacobian at f(x)", rank),
        ("learning rate", {"": _series(train, "lr")} if train else {}),
    ]
    panels = [(label, curves) for label, curves in panels if curves]
    figure, grid = grid_of(len(panels))
    for axes, (label, curves) in zip(grid, panels, strict=True):
        for i, (name, (steps, values)) in enumerate(curves.items()):
            axes.plot(steps, values, label=name, **line_style(i, markers=curves is rank or name in relative))
        _finish(axes, label, logarithmic=label in (_LOSS, _RELATIVE))
        if label == _RELATIVE:
            threshold(axes)
            _bound(axes, [value for _, values in relative.values() for value in values])
        if curves is rank:
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        decimal(axes.yaxis)
        panel_legend(axes)
        axes.set_xlim(0, 1.03 * max(entry["step"] for entry in entries))
    return figure


def overlaid_curves(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Loss, reconstruction and the relative error at each set of inputs over the steps, one line a run.

    Args:
        runs: label -> entries of metrics.jsonl.

    Raises:
        ValueError: if there is nothing to draw.
    """
    train = {name: [e for e in entries if e["split"] == "train"] for name, entries in runs.items()}
    evaluation = {name: [e for e in entries if e["split"] == "evaluation"] for name, entries in runs.items()}
    inputs = [key for key in _keys(e for entries in evaluation.values() for e in entries) if key.endswith("/relative")]
    panels: list[tuple[str, dict[str, Curve]]] = [
        (key, {name: _series(entries, key) for name, entries in train.items()}) for key in ("loss", "reconstruction")
    ]
    panels += [
        (f"relative error at {key.removesuffix('/relative')}", {n: _series(e, key) for n, e in evaluation.items()})
        for key in inputs
    ]
    panels = [(label, curves) for label, curves in panels if any(len(steps) for steps, _ in curves.values())]
    figure, grid = grid_of(len(panels))
    for axes, (label, curves) in zip(grid, panels, strict=True):
        for i, (steps, values) in enumerate(curves.values()):
            axes.plot(steps, values, **line_style(i, markers=True), markevery=max(1, len(steps) // 8))
        _finish(axes, label, logarithmic=True)
        if label.startswith("relative"):
            threshold(axes)
        decimal(axes.yaxis)
        axes.set_xlim(left=0)
    handles = [Line2D([], [], label=name, **line_style(i, markers=True)) for i, name in enumerate(runs)]
    if inputs:
        handles.append(Line2D([], [], color=BLACK, lw=1, ls=":", label=f"limit {NOT_IDEMPOTENT:g}"))
    legend_above(figure, handles)
    return figure


Curve = tuple[list[int], list[float]]
"""Steps and values."""


def _keys(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of all figures in some entries, in the order in which they appear."""
    return list(dict.fromkeys(key for entry in entries for key in entry if key not in ("step", "split", "time")))


def _series(entries: Sequence[Mapping[str, Any]], key: str) -> Curve:
    points = [(entry["step"], entry[key]) for entry in entries if key in entry]
    return [step for step, _ in points], [value for _, value in points]


def _at_inputs(evaluation: Sequence[Mapping[str, Any]], figure: str) -> dict[str, Curve]:
    """One figure at each set of inputs, by their names."""
    keys = [key for key in _keys(evaluation) if key.endswith(f"/{figure}")]
    return {key.partition("/")[0]: _series(evaluation, key) for key in keys}


def _bound(axes: Axes, measured: Sequence[float]) -> None:
    """Let what was measured fill the panel: a single bad training batch may lie far above it."""
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
        label = f"{label} (log scale)"
    else:
        axes.set_ylim(bottom=finite.min(initial=0.0))
    axes.set_xlabel("optimiser step")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    plain(axes)


# -- spectrum -----------------------------------------------------------------------------------------------------------


def jacobian_spectrum(inputs: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Singular values and moduli of the eigenvalues of the Jacobian at f(x), one thin line a point, their median bold.

    Args:
        inputs: name -> certificate as in certificate.json; those without spectra are left out.

    Raises:
        ValueError: if none has spectra.
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
