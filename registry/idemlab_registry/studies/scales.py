"""Logarithmic axes with plain numbers."""

from __future__ import annotations

import math

from matplotlib.axis import Axis, XAxis
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

__all__ = ["logarithmic"]


def logarithmic(axis: Axis) -> None:
    """Make an axis logarithmic, at plain numbers that do not touch; one without positive data stays as it is."""
    low, high = axis.get_data_interval()
    if not (math.isfinite(low) and math.isfinite(high) and low > 0):
        return
    limits = (low / 1.3, high * 1.3)
    if isinstance(axis, XAxis):
        axis.axes.set(xscale="log", xlim=limits)
    else:
        axis.axes.set(yscale="log", ylim=limits)
    decades = math.log10(high / low)
    axis.set_major_locator(LogLocator(subs=(1,) if decades > 2 else (1, 3) if decades > 1.2 else (1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
