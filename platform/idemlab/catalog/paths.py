"""Paths in experiment files, which are relative to the file that contains them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, Literal, get_args, get_origin

__all__ = ["Placed", "located"]


class Placed(str):
    """Text from a file, with the folder of the file in case the text is a path. Paths in other text are relative to the
    working directory."""

    __slots__ = ("folder",)

    def __new__(cls, text: str, folder: Path) -> Placed:
        placed = super().__new__(cls, text)
        placed.folder = folder
        return placed

    def __getnewargs__(self) -> tuple[str, Path]:  # type: ignore[override]  # for copies, and for workers of a sweep
        return str(self), self.folder

    folder: Path


def located(annotation: Any, written: Any, value: Any) -> Any:
    """A checked value with absolute paths wherever its annotation allows a path.

    An argument annotated `Path` is a path. One annotated `Path | str` may be a name as well: it is a path if it begins with
    `/`, `./`, `../` or `~`, or if a file or folder of that name exists.

    Args:
        written: the value as written, with its folder if it came from a file.

    Raises:
        ValueError: if a path is an address or holds a null character, or the working directory is gone.
    """
    kinds = _kinds(annotation)
    if not any(issubclass(kind, PurePath) for kind in kinds):
        return value
    return _located(written, value, named=str in kinds)


def _kinds(annotation: Any) -> set[type]:
    """The classes of values in an annotation, at any depth."""
    if isinstance(annotation, type) and not get_args(annotation):
        return {annotation}
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        return set(map(type, arguments))
    if get_origin(annotation) is dict:
        arguments = arguments[1:]
    return set[type]().union(*map(_kinds, arguments))


def _located(written: Any, value: Any, *, named: bool) -> Any:
    if isinstance(value, (list, tuple)):
        matched: Any = written if isinstance(written, (list, tuple)) else value
        return type(value)(_located(w, v, named=named) for w, v in zip(matched, value, strict=True))
    if isinstance(value, Mapping):
        by_key: Any = written if isinstance(written, Mapping) else value
        return {key: _located(by_key[key], item, named=named) for key, item in value.items()}
    if not isinstance(value, (str, PurePath)):
        return value
    if "\0" in str(value):
        raise ValueError("no path holds a null character")
    text = os.path.expanduser(str(value))
    # A `Path` has lost its "./", so it is the text that says whether a name is meant.
    if named and not os.path.lexists(_absolute(written, text)) and not str(written).startswith(("/", "./", "../", "~")):
        return str(value)
    if "://" in str(written):
        raise ValueError(f"{str(written)!r} is an address, not a path")
    return Path(_absolute(written, text))


def _absolute(written: Any, text: str) -> str:
    folder = written.folder if isinstance(written, Placed) else Path()
    try:
        return os.path.abspath(folder / text)
    except FileNotFoundError:
        raise ValueError("the working directory no longer exists") from None
