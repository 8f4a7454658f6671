"""Colours of basins: one hue a root, blue for 0 and orange for 1, grey for infinity; the darker, the slower."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray

from .julia import INFINITY, Basins

__all__ = ["legend_of_basins", "picture"]

_SLOWEST = 40
"""Steps at which the darkest colour is reached."""

_TICKS = (0, 1, 2, 5, 10, 20, _SLOWEST)

# Lightness falls evenly, and alike in all three; the hues are those of Okabe & Ito.
_RAMPS = {
    0: ("#eaf5fc", "#8ecbf0", "#2f93cf", "#00588c", "#002a45", "#000b14"),
    1: ("#fff1e2", "#fbc184", "#e58023", "#a34700", "#4f2000", "#170800"),
    INFINITY: ("#fdfdfd", "#cbcbcb", "#929292", "#5a5a5a", "#2a2a2a", "#0a0a0a"),
}
_COLOURS = {limit: LinearSegmentedColormap.from_list(str(limit), ramp) for limit, ramp in _RAMPS.items()}


def _shade(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """0 to 1, logarithmic in 1 + steps."""
    shade: NDArray[np.float64] = np.clip(np.log1p(steps) / np.log1p(_SLOWEST), 0, 1)
    return shade


def picture(basins: Basins, shrink: int = 1) -> NDArray[np.float64]:
    """RGB [H, W, 3] in 0..1, black where undecided; each `shrink` x `shrink` pixels averaged into one, for smooth edges."""
    shade = _shade(basins.steps)
    rgb = np.zeros((*shade.shape, 3))
    for limit, colours in _COLOURS.items():
        here = basins.limit == limit
        rgb[here] = colours(shade[here])[:, :3]
    height, width = shade.shape[0] // shrink, shade.shape[1] // shrink
    averaged: NDArray[np.float64] = rgb.reshape(height, shrink, width, shrink, 3).mean((1, 3))
    return averaged


def legend_of_basins(axes: Axes) -> None:
    """Fill a flat panel with the three ramps and what they mean."""
    shades = np.linspace(0, 1, 512)
    axes.imshow([colours(shades)[:, :3] for colours in _COLOURS.values()], aspect="auto", extent=(0, 1, 2.5, -0.5))
    axes.set_yticks([0, 1, 2], ["to 0", "to 1", "diverges"])
    axes.set_xticks(_shade(np.array(_TICKS, dtype=float)), [f"{tick}" for tick in _TICKS])
    axes.set_xlabel(f"steps until the limit is certain (logarithmic); black: {_SLOWEST} or more, or undecided")
    axes.tick_params(length=2)
    axes.hlines([0.5, 1.5], 0, 1, color="white", lw=2)
