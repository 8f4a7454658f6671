"""Wording shared by all messages: numbers, shares, durations, lists, commands and user input."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = [
    "AGAIN",
    "clipped",
    "command",
    "counted",
    "listed",
    "nothing_to_resume",
    "number",
    "percent",
    "plural",
    "shown",
    "time_span",
    "with_article",
]

AGAIN = "repeat the command with `resume`"
"""What to do after an interruption. The command line replaces fields in backquotes by its options."""


def nothing_to_resume(path: Path) -> str:
    """What is said where a folder to resume holds nothing yet, for instance because its name is misspelt."""
    return f"there is nothing to resume in '{path}': starting from the beginning"


def number(value: float | str | None) -> str:
    """A number with three significant digits; a dash for None. Whole numbers stay whole."""
    if value is None or isinstance(value, str):
        return value or "—"
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    if float(value).is_integer() and abs(value) < 1e12:
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.0f}"
    return f"{value:.3g}".replace("e+", "e")


def percent(share: float) -> str:
    """A share in per cent, with two significant digits and never an exponent."""
    value = 100 * share
    if not math.isfinite(value):
        return number(value)
    if 0 < abs(value) < 0.001:
        return "less than 0.001 %"
    if abs(value) >= 1e6:
        return "more than 1,000,000 %"
    decimals = 0 if abs(value) >= 10 or value == 0 else 1 - math.floor(math.log10(abs(value)))
    text = f"{value:,.{decimals}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def time_span(seconds: float | None) -> str:
    """A duration in seconds, minutes or hours."""
    if seconds is None:
        return "—"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def listed(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if items[1:] else items)


def plural(count: float, noun: str, more: str | None = None) -> str:
    """The noun for a count: `plural(1, "step")` is `step`; `more` is its plural if that is not the noun with an s."""
    return noun if count == 1 else more or f"{noun}s"


def counted(count: int, noun: str, more: str | None = None) -> str:
    """A count with its noun: `1 trial`, `0 trials`, `12,000 trials`."""
    return f"{number(count)} {plural(count, noun, more)}"


def with_article(noun: str) -> str:
    """`an enforcer`, `a model`."""
    return f"an {noun}" if noun[0].lower() in "aeiou" else f"a {noun}"


def command(verb: str, *arguments: str | Path, **options: str | Path | bool) -> str:
    """An `idemlab` command to copy into a shell: ``command("run", folder, resume=True)``."""
    words = ["idemlab", verb, *map(str, arguments)]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}"] * (value is not False)
        words += [] if isinstance(value, bool) else [str(value)]
    return shlex.join(words)


def clipped(text: str, length: int = 60) -> str:
    """User text on one line of a message: unprintable characters are escaped, long text is cut."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: length + 1])
    return line if len(line) <= length else line[: length - 3] + "..."


def shown(value: Any, length: int = 60) -> str:
    """A user's value as JSON, short enough for a message."""
    try:
        text = json.dumps(value, default=str)
    except (
        TypeError,
        ValueError,
        RecursionError,
    ):  # a key is not text, a number has too many digits, or the value contains itself
        text = with_article(type(value).__name__)
    return clipped(text, length)
