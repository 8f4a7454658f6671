"""Converts the labels in files to class numbers. A label that is no class is reported before training, with its row."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import torch
from torch import Tensor

__all__ = ["Labels", "NoClass", "class_key", "count_classes", "short"]

_LISTED = 12
"""Up to so many classes are listed with their counts, and of more the first few names."""


class NoClass(ValueError):
    """A label that names no class; the text says why, and follows the words "its label"."""


def class_key(value: Any, names: Sequence[str] | None = None) -> int | str:
    """The class that a label names: a text, or a whole number from 0 up.

    Args:
        names: of the classes, where the labels are numbers into a list.

    Raises:
        NoClass: for nothing, for negative and fractional numbers, for several labels, and for what is no label at all.
    """
    if isinstance(value, list | tuple):
        if len(value) > 1:
            raise NoClass(f"is {len(value)} labels")
        return class_key(value[0] if value else None, names)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise NoClass("is missing")
    if isinstance(value, str):
        if not value.strip():
            raise NoClass("is empty")
        return value
    if not isinstance(value, int | float | Decimal):
        raise NoClass(f"is of type {type(value).__name__}")
    if not math.isfinite(value):
        raise NoClass(f"is {value}")
    if value != int(value):
        raise NoClass(f"is the fraction {value}")
    if value < 0:
        raise NoClass(f"is negative ({value})")
    if names is not None and value >= len(names):
        raise NoClass(f"is {int(value)}, and the number of classes is {len(names)}")
    return int(value)


@dataclass(frozen=True)
class Labels:
    """The classes that rows have.

    Args:
        names: of the classes, in the order of their numbers.
        numbers: of each split, class numbers [rows].
    """

    names: tuple[str, ...]
    numbers: tuple[Tensor, ...]

    @property
    def sentence(self) -> str:
        """Which classes there are, and how many rows of each."""
        counts = torch.bincount(torch.cat(self.numbers), minlength=len(self.names)).tolist()
        listed = [f"{short(name)} ({count})" for name, count in zip(self.names, counts, strict=True)]
        if len(listed) > _LISTED:
            listed = [short(name) for name in self.names[:3]] + ["..."]
        return f"{len(self.names)} {'class' if len(self.names) == 1 else 'classes'}: {', '.join(listed)}"


def count_classes(splits: Sequence[Sequence[int | str]], names: Sequence[str] | None = None) -> Labels:
    """Number the classes that occur, from 0 in the order of their numbers or of their texts.

    Args:
        splits: keys as `class_key` gives them.
        names: of the classes that keys are numbers of.
    """
    found = Counter(key for split in splits for key in split)
    as_text = any(isinstance(key, str) for key in found)
    order = sorted({str(key) for key in found}) if as_text else sorted(found)
    number: Mapping[int | str, int] = {key: place for place, key in enumerate(order)}
    return Labels(
        tuple(str(key) if names is None else names[int(key)] for key in order),
        tuple(torch.tensor([number[str(k) if as_text else k] for k in keys], dtype=torch.int64) for keys in splits),
    )


def short(text: str) -> str:
    """A name of a file or of a class for a sentence: printable, and cut in its middle where it is long."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in text)
    return printable if len(printable) <= 60 else f"{printable[:30]}...{printable[-27:]}"
