"""Strict JSON, for every file and for all that the command line prints.

JSON has no infinity and no NaN. They are written as the texts "Infinity", "-Infinity" and "NaN".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["decoded", "dumps", "encoded", "loads"]

_TEXTS = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}


def dumps(content: Any, *, indent: int | None = None) -> str:
    """Plain values as JSON. Anything else, such as a path, is written as text."""
    return json.dumps(encoded(content), indent=indent, ensure_ascii=False, allow_nan=False, default=str)


def loads(text: str) -> Any:
    """Parse JSON that `dumps` wrote. Also reads the bare ``Infinity`` and ``NaN`` of Python's `json`.

    Raises:
        ValueError: if the text is not JSON.
    """
    content = json.loads(text)
    is_plain = not any(f'"{name}"' in text for name in _TEXTS)  # most are, and a certificate has many numbers
    return content if is_plain else decoded(content)


def encoded(content: Any) -> Any:
    """Plain values with infinities and NaN replaced by their texts."""
    if isinstance(content, float) and not math.isfinite(content):
        return "NaN" if math.isnan(content) else "Infinity" if content > 0 else "-Infinity"
    if isinstance(content, Mapping):
        return {str(key): encoded(value) for key, value in content.items()}
    return [encoded(value) for value in content] if isinstance(content, (list, tuple)) else content


def decoded(content: Any) -> Any:
    """Plain values with the texts of infinities and NaN replaced by numbers."""
    if isinstance(content, str):
        return _TEXTS.get(content, content)
    if isinstance(content, dict):
        return {key: decoded(value) for key, value in content.items()}
    return [decoded(value) for value in content] if isinstance(content, list) else content
