"""How the figures of these studies look."""

from __future__ import annotations

from matplotlib.axes import Axes

__all__ = ["GREY", "grid", "legend_above"]

GREY = "#8a8a8a"
_GRID = "#d9d9d9"


def grid(axes: Axes) -> None:
    """A light grid behind the data, and no box."""
    axes.grid(color=_GRID, lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def legend_above(axes: Axes, title: str, columns: int = 2) -> None:
    """Title and legend above the panel, where they hide nothing."""
    legend = axes.legend(
        title=title, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False, fontsize=9, alignment="left"
    )
    legend.get_title().set_fontsize(10)
