"""Images in labelled rows, several blocks of them in columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Block", "gallery"]

_DPI = 160
_HEADING, _NOTES, _BETWEEN, _EDGE = 40, 26, 26, 10
"""Pixels for a heading, the notes under a block, between columns, and around everything."""
_GAP, _FONT = 8, 9
"""Pixels between a row and its label, and the label's size in points."""
_GREY = 0.75
"""Between images, so that the edges of white ones are seen."""


@dataclass(frozen=True)
class Block:
    """Rows of images under a heading; a column belongs together.

    Args:
        heading: above the block.
        rows: label -> images [N, C, H, W], the same N in each.
        notes: one below each column, or none.
    """

    heading: str
    rows: Mapping[str, Tensor]
    notes: Sequence[str] = ()


def gallery(columns: Sequence[Sequence[Block]], range: tuple[float, float] | None, *, side: int = 56) -> Figure:
    """Blocks below each other in columns side by side. Values beyond the range are cut.

    Args:
        columns: of blocks.
        range: smallest and largest value of an image, black and white; None takes 0 to 1.
        side: least height of an image in pixels, of 160 to the inch; it becomes a whole multiple of its own.
    """
    low, high = range or (0.0, 1.0)
    placed, left, heights = [], _EDGE, []
    for blocks in columns:
        top, width = _EDGE, 0
        labels = _GAP + max((_width(label) for block in blocks for label in block.rows), default=0)
        for block in blocks:
            canvas = _mosaic(list(block.rows.values()), low, high, side)
            top += _HEADING
            placed.append((block, canvas, left + labels, top))
            top += canvas.shape[0] + (_NOTES if block.notes else 0) + 8
            width = max(width, canvas.shape[1])
        left += labels + width + _BETWEEN
        heights.append(top)
    total_width, total_height = left - _BETWEEN + _EDGE, max(heights) + _EDGE
    figure = Figure(figsize=(total_width / _DPI, total_height / _DPI), dpi=_DPI)
    for block, canvas, x, y in placed:
        height, width = canvas.shape[:2]
        axes = figure.add_axes(
            (x / total_width, 1 - (y + height) / total_height, width / total_width, height / total_height)
        )
        axes.imshow(canvas, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        axes.set_title(block.heading, loc="left", fontsize=10, fontweight="bold", pad=5)
        row_height = height / len(block.rows)
        for i, label in enumerate(block.rows):
            axes.text(-_GAP, (i + 0.5) * row_height, label, ha="right", va="center", fontsize=_FONT)
        for i, note in enumerate(block.notes):
            axes.text((i + 0.5) * width / len(block.notes), height + 4, note, ha="center", va="top", fontsize=9)
    return figure


def _width(label: str) -> int:
    """Of a row's label, in pixels."""
    return math.ceil(TextPath((0, 0), label, size=_FONT).get_extents().width * _DPI / 72) if label.strip() else 0


def _mosaic(rows: Sequence[Tensor], low: float, high: float, side: int) -> NDArray[np.float64]:
    """[rows x columns] images as one picture in RGB, on grey, with gaps."""
    zoom = max(1, -(-side // rows[0].shape[2]))
    gap = 3
    pictures = [[_picture(image, low, high, zoom) for image in row] for row in rows]
    height, width = pictures[0][0].shape[:2]
    canvas = np.full((len(rows) * (height + gap) + gap, len(pictures[0]) * (width + gap) + gap, 3), _GREY)
    for i, row in enumerate(pictures):
        for j, picture in enumerate(row):
            top, left = gap + i * (height + gap), gap + j * (width + gap)
            canvas[top : top + height, left : left + width] = picture
    return canvas


def _picture(image: Tensor, low: float, high: float, zoom: int) -> NDArray[np.float64]:
    values = np.clip((np.asarray(image, dtype=np.float64) - low) / (high - low), 0, 1).transpose(1, 2, 0)
    values = values.repeat(zoom, axis=0).repeat(zoom, axis=1)
    return np.broadcast_to(values, (*values.shape[:2], 3))
