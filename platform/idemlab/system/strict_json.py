"""JSON that every reader takes. It has no numbers that are not finite: here they are the texts "Infinity", "-Infinity" and
"NaN", in every file and in everything that the command line prints."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["decoded", "dumps", "encoded", "loads"]

_TEXTS = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}


def dumps(content: Any, *, indent: int | None = None) -> str:
    """The JSON of plain values. What is no plain value, a path for instance, is written as its text."""
    return json.dumps(encoded(content), indent=indent, ensure_ascii=False, allow_nan=False, default=str)


def loads(text: str) -> Any:
    """What `dumps` was given. Reads the bare ``Infinity`` and ``NaN`` of Python's own writer as well.

    Raises:
        ValueError: if it is no JSON.
    """
    return decoded(json.loads(text))


def encoded(content: Any) -> Any:
    """The same with texts for numbers that are not finite."""
    if isinstance(content, float) and not math.isfinite(content):
        return "NaN" if math.isnan(content) else "Infinity" if content > 0 else "-Infinity"
    if isinstance(content, Mapping):
        return {str(key): encoded(value) for key, value in content.items()}
    return [encoded(value) for value in content] if isinstance(content, (list, tuple)) else content


def decoded(content: Any) -> Any:
    """The same with numbers for those texts."""
    if isinstance(content, str):
        return _TEXTS.get(content, content)
    if isinstance(content, dict):
        return {key: decoded(value) for key, value in content.items()}
    return [decoded(value) for value in content] if isinstance(content, list) else content
