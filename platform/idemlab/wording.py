"""Numbers, durations and values from outside in words, the same in every message, table and page."""

from __future__ import annotations

import json
import math
from typing import Any

__all__ = ["clipped", "number", "shown", "time_span", "with_article"]


def number(value: float | str | None) -> str:
    """A figure with three significant digits; a dash for what is not there. Whole numbers stay whole."""
    if value is None or isinstance(value, str):
        return value or "—"
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    if float(value).is_integer() and abs(value) < 1e12:
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.0f}"
    return f"{value:.3g}".replace("e+", "e")


def time_span(seconds: float | None) -> str:
    """Seconds as one says them."""
    if seconds is None:
        return "—"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def with_article(noun: str) -> str:
    """`an enforcer`, `a model`."""
    return f"an {noun}" if noun[0].lower() in "aeiou" else f"a {noun}"


def clipped(text: str, length: int = 60) -> str:
    """Text from outside on one line of a message: what cannot be printed is escaped, what is too long is cut."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: length + 1])
    return line if len(line) <= length else line[: length - 3] + "..."


def shown(value: Any, length: int = 60) -> str:
    """A value from outside as JSON, short enough for a message."""
    try:
        text = json.dumps(value, default=str)
    except (
        TypeError,
        ValueError,
        RecursionError,
    ):  # its keys are no text, a number has too many digits, it holds itself
        text = with_article(type(value).__name__)
    return clipped(text, length)
