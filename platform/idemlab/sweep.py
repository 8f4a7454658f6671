"""Sweeps: one experiment under many values of its keys and many seeds. What is to be tried; `sweeping` does it."""

from __future__ import annotations

import itertools
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .catalog import Catalog
from .errors import BadInput
from .experiment import Experiment, resolve
from .tables import toml_value

__all__ = ["Point", "Sweep", "parse_over", "parse_value"]

SEED = "training.seed"
_MOST_VALUES = 10_000
"""Of a range: more is a slip of the hand."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What is tried.

    Args:
        experiment: name of an experiment, path of a TOML file or of a run.
        set: key -> value, for all trials: ``{"model.depth": 2}``.
        over: key -> the values that are tried, in every combination: ``{"enforcer.name": ["cubic", "gradient"]}``;
            or a range as text, as `parse_over` takes it: ``{"optimizer.lr": "log:1e-5:1"}``.
        seeds: number of seeds, 0, 1, ...; each combination is run with each.
    """

    experiment: str
    set: Mapping[str, Any] = field(default_factory=dict)
    over: Mapping[str, Sequence[Any] | str] = field(default_factory=dict)
    seeds: int = 1

    def axes(self) -> dict[str, list[Any]]:
        """The values of each key.

        Raises:
            BadInput: if a key has none, or one twice, or the seed is among the keys.
        """
        axes = {}
        for key, values in self.over.items():
            where = f"--over {key}"
            listed = parse_over(f"{key}={values}")[1] if isinstance(values, str) else list(values)
            texts = [toml_value(value) for value in listed]
            if not listed:
                raise BadInput("there is nothing to try", where=where, expected=f"--over {key}=VALUE,VALUE")
            if len(set(texts)) < len(texts):
                twice = next(text for text in texts if texts.count(text) > 1)
                raise BadInput(f"{twice} is given twice", where=where, next_step="give each value once")
            if key == SEED:
                raise BadInput("seeds are not an axis", where=where, next_step="--seeds N")
            axes[key] = listed
        if self.seeds < 1:
            raise BadInput(f"{self.seeds} seeds", where="--seeds", expected="a number of 1 or more")
        return axes

    def points(self) -> list[Point]:
        """Every combination with every seed: the seeds of one combination stand together."""
        axes = self.axes()
        return [
            Point(dict(zip(axes, values, strict=True)), seed)
            for values in itertools.product(*axes.values())
            for seed in range(self.seeds)
        ]

    def resolve(self, point: Point, catalog: Catalog | None = None) -> Experiment:
        """The experiment at a point.

        Raises:
            BadInput: names the key.
        """
        overrides = self.set | point.values | {SEED: point.seed}  # type: ignore[operator]
        return resolve(self.experiment, [f"{k}={toml_value(v)}" for k, v in overrides.items()], catalog=catalog)

    def table(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Point:
    """One combination of values, and a seed."""

    values: Mapping[str, Any]
    seed: int

    @property
    def key(self) -> str:
        """A text that tells it from all others."""
        return ", ".join([*(f"{key}={toml_value(value)}" for key, value in self.values.items()), f"seed {self.seed}"])


def parse_over(text: str) -> tuple[str, list[Any]]:
    """``KEY=VALUES`` as (key, values).

    VALUES are ``a,b,c``; a TOML array ``[{name = "cubic"}, {name = "gradient"}]``; ``lin:LOW:HIGH:N``, N values at
    equal distances; or ``log:LOW:HIGH`` and ``log:LOW:HIGH:N``, at equal ratios, one in each decade if N is not given.

    Raises:
        BadInput: says what cannot be read.
    """
    key, equals, values = (part.strip() for part in text.partition("="))
    if not equals or not key or not values:
        raise BadInput(
            f"'{text}' is nothing to try",
            where="--over",
            expected="KEY=VALUES, for instance enforcer.name=cubic,gradient or optimizer.lr=log:1e-5:1",
        )
    if values.startswith(("log:", "lin:")):
        return key, _range(key, values)
    if values.startswith("["):
        try:
            array = tomllib.loads(f"value = {values}")["value"]
        except tomllib.TOMLDecodeError as error:
            raise BadInput(f"not a TOML array: {error}", where=f"--over {key}={values}") from None
        return key, list(array)
    return key, [parse_value(item.strip()) for item in values.split(",")]


def parse_value(text: str) -> Any:
    """A TOML value, or else text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _range(key: str, text: str) -> list[float]:
    kind, *numbers = text.split(":")
    expected = "log:LOW:HIGH, log:LOW:HIGH:N or lin:LOW:HIGH:N"
    wrong = BadInput(f"'{text}' is no range", where=f"--over {key}", expected=expected)
    if len(numbers) not in ((3,) if kind == "lin" else (2, 3)):
        raise wrong
    try:
        low, high, *count = (float(number) for number in numbers)
    except ValueError:
        raise wrong from None
    if not low < high or (kind == "log" and low <= 0) or not math.isfinite(high - low):
        raise BadInput(f"'{text}' is no range", where=f"--over {key}", expected="LOW < HIGH, and LOW > 0 with log")
    if count and not (2 <= count[0] <= _MOST_VALUES and count[0].is_integer()):
        raise BadInput(
            f"'{text}' has {numbers[2]} values",
            where=f"--over {key}",
            expected=f"N, a whole number from 2 to {_MOST_VALUES}",
        )
    steps = int(count[0]) - 1 if count else max(1, round(math.log10(high / low)))
    if kind == "lin":
        return [low + (high - low) * i / steps for i in range(steps + 1)]
    return [float(f"{low * (high / low) ** (i / steps):.12g}") for i in range(steps + 1)]
