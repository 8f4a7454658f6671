"""What Python callers give where a file or the command line has its own checks: whole numbers, and one thing or several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any

from .errors import BadInput
from .wording import shown

__all__ = ["several", "whole"]


def whole(value: Any, name: str, least: int = 1, *, where: str | None = None, next_step: str | None = None) -> int:
    """A whole number, also one of NumPy, as an int.

    Args:
        name: of the argument.
        least: smallest number.
        where: for the message; default: the name.

    Raises:
        BadInput: for anything else.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise BadInput(
            f"{name} cannot be {shown(value)}",
            where=where or name,
            expected=f"a whole number of {least} or more",
            next_step=next_step,
        )
    return int(value)


def several(given: Any, single: tuple[type, ...], name: str, expected: str) -> list[Any]:
    """What was given as a list: one thing (a text, a table, or of a type in `single`), or any number of them.

    Raises:
        BadInput: if it is neither.
    """
    if isinstance(given, (str, Mapping, *single)):
        return [given]
    if not isinstance(given, Iterable):
        raise BadInput(f"{name} cannot be {shown(given)}", where=name, expected=expected)
    return list(given)
