"""Draws orbits as matplotlib figures: images in rows, lists value by value, other vectors in a plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ..objective.evaluation import Examples
from .style import (
    BLACK,
    BLUE,
    DPI,
    GREY,
    ORANGE,
    legend_above,
    plain,
)

__all__ = [
    "COLUMNS",
    "Range",
    "has_targets",
    "hero",
    "is_image",
    "orbit_figures",
    "orbit_panels",
    "orbit_values",
    "power",
    "strips",
    "thumbnail",
    "tiny",
]

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Range = tuple[float, float] | None

COLUMNS = 12
"""Number of samples in a row of images."""

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

# -- orbits -------------------------------------------------------------------------------------------------------------


def orbit_figures(shown: Sequence[Examples], range: Range) -> dict[str, Figure]:
    """Title -> picture of orbits: one picture for each set of images, or one picture for all sets of anything else.

    Samples with a separate target (lists to sort) are drawn value by value, other vectors in a plane.

    Args:
        shown: examples of each set of inputs; the test data first.
        range: smallest and largest value of a sample, drawn black and white; None takes them from the outputs.
    """
    if is_image(shown[0].orbit[0].shape[1:]):
        return {examples.name: orbit_rows(examples, range) for examples in shown}
    draw = orbit_values if has_targets(shown[0]) else orbit_plane
    return {", ".join(examples.name for examples in shown): draw(shown)}


def orbit_rows(examples: Examples, range: Range) -> Figure:
    """Draw images in rows x, f(x), f(f(x)), ..., and the target if it is not the input; each column is one orbit."""
    rows = _rows(examples, COLUMNS)
    shades = _shades(examples, range)
    tiles = _mosaic([[shades(image) for image in row] for row in rows.values()])
    return _drawn([tiles], list(rows), [f"x: {examples.name}"])


def strips(examples: Examples, range: Range) -> dict[str, Pixels]:
    """Label -> images of a row side by side, pixel by pixel, [H, W, 4]; the gaps between them are transparent."""
    shades = _shades(examples, range)
    return {label: _transparent([[shades(image) for image in row]]) for label, row in _rows(examples, COLUMNS).items()}


def thumbnail(examples: Examples, range: Range, columns: int = 6) -> Pixels:
    """Rows x, f(x), f(f(x)) of a few samples, pixel by pixel, [H, W, 4]."""
    shades = _shades(examples, range)
    return _transparent([[shades(image) for image in points[:columns]] for points in examples.orbit[:3]])


def tiny(shown: Sequence[Examples]) -> Figure:
    """Draw x and f(x) of vectors without axes or words, as a thumbnail."""
    origin, plane, _ = _plane(_array(shown[0].orbit[1]).reshape(len(shown[0].orbit[1]), -1))
    figure = Figure(figsize=(1.9 * len(shown[:3]), 1.6), dpi=66)
    figure.patch.set_visible(False)
    for examples, axes in zip(shown[:3], figure.subplots(1, len(shown[:3]), squeeze=False)[0], strict=True):
        x, y = ((_array(points).reshape(len(points), -1) - origin) @ plane for points in examples.orbit[:2])
        axes.add_collection(LineCollection(list(np.stack([x, y], axis=1)), colors=GREY, linewidths=0.5))
        axes.plot(*y.T, "o", color=BLUE, ms=3)
        axes.set_axis_off()
    figure.subplots_adjust(0.02, 0.02, 0.98, 0.98, wspace=0.04)
    return figure


def _rows(examples: Examples, columns: int) -> dict[str, Any]:
    """Label -> the first images of a row: x, f(x), f(f(x)), ..., and the target if it is not the input."""
    rows = {power(k): points[:columns] for k, points in enumerate(examples.orbit)}
    if has_targets(examples):
        assert examples.target is not None
        rows["target"] = examples.target[:columns]
    return rows


_CLAIMS = {"noise": "noise → data", "corrupted": "corrupted → repaired", "data": "data → left alone"}


def hero(
    shown: Sequence[Examples], range: Range, *, columns: int = 5, claims: Mapping[str, str] | None = None
) -> Figure:
    """Draw one compact picture of an operator on images: rows x, f(x), f(f(x)), with the sets of inputs side by side.

    Args:
        shown: examples of images, from left to right.
        range: smallest and largest value of a sample.
        columns: number of orbits of each set.
        claims: name -> heading of a set of inputs.
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


def has_targets(examples: Examples) -> bool:
    """Whether the samples have a target that differs from the input."""
    return examples.target is not None and not bool((examples.target == examples.orbit[0]).all())


def power(k: int) -> str:
    """f^k(x) in mathematical notation."""
    return "f(" * k + "x" + ")" * k if k <= 3 else f"f{str(k).translate(_RAISED)}(x)"


def _shades(examples: Examples, range: Range) -> Any:
    """A function from an image [C, H, W] to RGB in 0..1, [H, W, 3]; values outside the range are clipped."""
    outputs = examples.orbit[1] if len(examples.orbit) > 1 else examples.orbit[0]
    low, high = range or (float(outputs.min()), float(outputs.max()))

    def shades(image: Any) -> Array:
        values = np.clip((_array(image) - low) / max(high - low, 1e-12), 0, 1).transpose(1, 2, 0)
        return np.broadcast_to(values, (*values.shape[:2], 3))

    return shades


def _array(points: Any) -> Array:
    """A tensor on the CPU as an array of doubles."""
    return np.asarray(points, dtype=np.float64)


def _transparent(rows: Sequence[Sequence[Array]]) -> Pixels:
    """Images [H, W, 3] in rows as bytes [H, W, 4], with transparent gaps."""
    opaque = [[np.concatenate([image, np.ones((*image.shape[:2], 1))], axis=2) for image in row] for row in rows]
    return (_mosaic(opaque, gap=0.0) * 255).round().astype(np.uint8)


def _mosaic(rows: Sequence[Sequence[Array]], gap: float = 1.0) -> Array:
    """Images [H, W, C] in rows, with gaps of a fourteenth of their size.

    Args:
        gap: value of all channels in the gaps: white, or transparent.
    """
    height, width, channels = rows[0][0].shape
    between = max(1, round(min(height, width) / 14))
    canvas = np.full(
        (len(rows) * (height + between) - between, len(rows[0]) * (width + between) - between, channels), gap
    )
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            top, left = i * (height + between), j * (width + between)
            canvas[top : top + height, left : left + width] = image
    return canvas


def _drawn(panels: Sequence[Array], labels: Sequence[str], headings: Sequence[str]) -> Figure:
    """Mosaics side by side, with labels before the rows and headings above; each entry is a whole number of pixels wide."""
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
    """Draw the entries of a few samples against their position: x, f(x), f(f(x)), target; one row per set of inputs."""
    figure = Figure(figsize=(10, 2.5 * len(shown) + 0.4), dpi=DPI, layout="constrained")
    grid = figure.subplots(len(shown), samples, sharex=True, sharey=True, squeeze=False)
    for examples, row in zip(shown, grid, strict=True):
        orbit = [_array(points).reshape(len(points), -1) for points in examples.orbit[:3]]
        position = np.arange(1, orbit[0].shape[1] + 1)
        for i, axes in enumerate(row[: len(orbit[0])]):
            if has_targets(examples):
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


def orbit_panels(shown: Sequence[Examples], beside: Sequence[Examples] | None = None) -> list[Figure]:
    """What `orbit_figures` draws of vectors, as a figure for each set, so that a page can place them to fit its width.

    Args:
        beside: what a control makes of the same inputs. Each set is followed by its own, in the same plane and scale.
    """

    def draw(examples: Examples) -> Figure:
        return orbit_values([examples]) if has_targets(shown[0]) else orbit_plane([examples], shown[0])

    panels = []
    for i, examples in enumerate(shown):
        panels.append(draw(examples))
        if beside is not None:
            panels.append(draw(replace(beside[i], name=f"{examples.name}, control")))
            _share_limits(panels[-2:])
    return panels


def _share_limits(figures: Sequence[Figure]) -> None:
    """Give the axes of several figures the limits in which all their contents fit."""
    for alike in zip(*(figure.axes for figure in figures), strict=True):
        for of, give in ((Axes.get_xlim, Axes.set_xlim), (Axes.get_ylim, Axes.set_ylim)):
            limits = [of(axes) for axes in alike]
            for axes in alike:
                # auto=None: fixed limits would be reported as in conflict with the fixed aspect of a plane
                give(axes, min(low for low, _ in limits), max(high for _, high in limits), auto=None)


def orbit_plane(shown: Sequence[Examples], first: Examples | None = None) -> Figure:
    """Draw a line from each x to f(x), and f(f(x)), in the plane of the principal components of the first set's f(x).

    Args:
        first: the set whose plane is taken, if it is not the first one shown.
    """
    spanning = _array((first or shown[0]).orbit[1])
    origin, plane, labels = _plane(spanning.reshape(len(spanning), -1))
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
