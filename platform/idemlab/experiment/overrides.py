"""Overrides of single keys of an experiment, and merging of one table into another."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from ..contracts.specs import DatasetSpec
from ..errors import BadInput, nearest_match
from ..wording import clipped
from .files import entered
from .settings import EvaluationSettings, OptimizerSettings

__all__ = ["LENGTHS", "TABLES", "in_order", "merged", "written_out"]

TABLES = ("dataset", "model", "source", "enforcer", "reconstruction", "optimizer", "training", "evaluation")
"""The tables of an experiment."""
LENGTHS = ("steps", "epochs", "flops")
"""The keys for the length of the training, of which one replaces the others."""
_NAMED_BY = {"training.best": "metric", "training.stop": "metric"}
"""The key that a bare text stands for, where it is not `name`."""
_KEPT: Mapping[str, Iterable[str]] = {"optimizer": OptimizerSettings.model_fields, "dataset": DatasetSpec.reserved}
"""Keys of a table that stay if another name is laid over it."""
_LONGEST = 16
"""Largest number of parts in a dotted key, far above what any key has."""
_INDEX = re.compile(r"[0-9]{1,9}")
_EXPONENT = re.compile(r"[+-]?[0-9](_?[0-9])*[eE]\+?[0-9]{1,3}")
"""A whole number with an exponent, such as 1e3."""


def merged(base: Mapping[str, Any], top: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    """Merge `top` into `base`, key by key; `at` is the dotted key of both."""
    return dict(base) | {
        key: _laid_over(base.get(key), value, f"{at}.{key}" if at else key) for key, value in top.items()
    }


def _laid_over(below: Any, value: Any, at: str) -> Any:
    """Merge one value into the one below. Tables are merged, except that a table with another name replaces the one below,
    because arguments belong to the thing that takes them."""
    if isinstance(value, _Element):
        return value.laid_over(below, at)
    # A bare name is short for a table.
    name = _NAMED_BY.get(at, "name")
    if isinstance(below, str) and isinstance(value, Mapping):
        below = {name: below}
    elif isinstance(below, Mapping) and isinstance(value, str):
        if not value and at in _NAMED_BY:
            return value  # which switches it off
        value = {name: value}
    if not (isinstance(value, Mapping) and isinstance(below, Mapping)):
        return value
    if at == "evaluation.inputs" and not value:
        return {}  # an empty table removes all inputs
    if at == "training" and any(key in value for key in LENGTHS):
        below = {key: kept for key, kept in below.items() if key not in LENGTHS}
    if at == "model" and "weights" in value:
        below = {key: kept for key, kept in below.items() if key != "weights_sha256"}
    if name in value and value[name] != below.get(name):
        # Rate and schedule belong to the experiment and survive another optimiser, as the condition survives other data.
        # Other arguments do not.
        below = {key: below[key] for key in _KEPT.get(at, ()) if key in below}
    return merged(below, value, at)


@dataclass(frozen=True)
class _Element:
    """Override of one element of an array, ``source.0.pool=128``."""

    index: int
    value: Any

    def laid_over(self, below: Any, at: str) -> list[Any]:
        if at == "source" and isinstance(below, (str, Mapping)):
            below = [below]
        size = len(below) if isinstance(below, list) else 0
        if self.index >= size:
            raise BadInput(
                f"'{clipped(at)}' has no element {self.index}",
                where=f"the override of {clipped(at)}.{self.index}",
                expected=f"an element from 0 to {size - 1}" if size else "a list",
                next_step=None if size else f"write a new list: {clipped(at)} = [...]",
            )
        return [_laid_over(item, self.value, at) if i == self.index else item for i, item in enumerate(below)]


def written_out(table: Mapping[str, Any]) -> dict[str, Any]:
    """The table with the default of `evaluation.inputs` filled in, so that its keys can be overridden."""
    evaluation = table.get("evaluation", {})
    if not isinstance(evaluation, Mapping):
        return dict(table)
    return dict(table) | {"evaluation": {"inputs": EvaluationSettings().inputs} | dict(evaluation)}


def in_order(overrides: Sequence[str]) -> list[dict[str, Any]]:
    """Each override as a table, sorted so that the order in which they were written does not matter.

    Whole tables come before their parts, and names before arguments.

    Raises:
        BadInput: if one is not an override, or sets a key that no experiment has, or two give the length of the training in
            different units.
    """
    parsed = [_parsed(override) for override in overrides]
    _check_lengths(parsed)
    parsed.sort(key=lambda pair: (len(pair[0]), pair[0][-1] != "name"))
    tables = []
    for parts, value in parsed:
        for part in reversed(parts):
            value = _Element(int(part), value) if _INDEX.fullmatch(part) else {part: value}
        tables.append(value)
    return tables


def _check_lengths(parsed: Iterable[tuple[list[str], Any]]) -> None:
    """Refuse overrides of several keys for the length: each replaces that of the experiment, and only one can hold."""
    given = set[str]()
    for parts, value in parsed:
        if parts[0] == "training":
            given.update(parts[1:2] or (value if isinstance(value, Mapping) else ()))
    lengths = [f"training.{key}" for key in LENGTHS if key in given]
    if len(lengths) > 1:
        raise BadInput(
            f"the length of the training is set by {' and by '.join(lengths)}, and only one of them can hold",
            where="the overrides",
            next_step=f"set only one of them, {lengths[0]} for instance",
        )


def _parsed(override: str) -> tuple[list[str], Any]:
    """(parts of the key, value) of ``key=value``."""
    where = f"the override '{clipped(override)}'"
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts) or len(parts) > _LONGEST:
        raise BadInput(
            f"'{clipped(override)}' is not an override",
            expected="key=value, for instance enforcer.weight=0.5",
        )
    if parts[0] not in ("summary", *TABLES):
        raise BadInput(
            f"there is no key '{clipped(parts[0])}' to set",
            where=where,
            choices=TABLES,
            nearest=nearest_match(parts[0], TABLES),
            next_step="idemlab show EXPERIMENT prints all keys",
        )
    entries: dict[str, Any] = entered({"value": _value(text)}, Path(), where)
    return parts, entries["value"]


def _value(text: str) -> Any:
    """The value after the equals sign, as TOML or else as text.

    A whole number may be written 1e3. A file cannot do this, because 1e3 is a float in TOML.
    """
    text = text.strip()
    if _EXPONENT.fullmatch(text) and math.isfinite(float(text)):
        return int(Decimal(text.replace("_", ""))) if abs(float(text)) < 2**63 else float(text)
    try:
        loaded = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return loaded["value"] if len(loaded) == 1 else text
