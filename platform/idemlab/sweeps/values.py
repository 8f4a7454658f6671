"""The values of one key of a sweep: a list, or a range from which a sampler chooses; as text and as objects."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import BadInput
from ..experiment.toml import toml_value
from ..wording import plural

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = [
    "MOST_VALUES",
    "RANGES",
    "SEED",
    "Range",
    "distinct",
    "listed_values",
    "parse_over",
    "parse_value",
    "sampled",
]

SEED = "training.seed"
RANGES = ("log:", "lin:", "uniform:", "int:")
MOST_VALUES = 10_000
"""Largest number of values in a range, and of trials; more is taken for a typing error."""


@dataclass(frozen=True)
class Range:
    """A range from which a sampler chooses a value.

    Args:
        kind: "uniform"; "log", uniform in the logarithm; or "int", whole numbers.
        low, high: its ends, both included.
    """

    kind: str
    low: float
    high: float

    def distribution(self) -> BaseDistribution:
        """As Optuna has it."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.kind == "int":
            return IntDistribution(int(self.low), int(self.high))
        return FloatDistribution(self.low, self.high, log=self.kind == "log")

    def rounded(self, value: float) -> float:
        """The value rounded to six significant digits, inside the range."""
        return value if self.kind == "int" else min(self.high, max(self.low, float(f"{value:.6g}")))

    def at(self, share: float) -> float:
        """The value at a share of the range, from 0 to less than 1: in its logarithm, if it is uniform there."""
        if self.kind == "int":
            return int(self.low) + int(share * (int(self.high) - int(self.low) + 1))
        if self.kind == "log":
            return self.rounded(math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low))))
        return self.rounded(self.low + share * (self.high - self.low))

    def some(self) -> list[float]:
        """Sample values for checking a key: both ends, and for real numbers one that is not whole."""
        if self.kind == "int":
            return [int(self.low), int(self.high)]
        return [self.low, self.high, self.low + (self.high - self.low) * (math.sqrt(5) - 1) / 2]


def parse_over(text: str, sampler: str = "grid") -> tuple[str, list[Any] | str]:
    """``KEY=VALUES`` as (key, values).

    VALUES are ``a,b,c``; a TOML array ``[{name = "cubic"}, {name = "gradient"}]``; ``lin:LOW:HIGH:N``, N values at
    equal distances; ``log:LOW:HIGH:N``, N values at equal ratios; or ``log:LOW:HIGH``, one value per decade.

    For a sampler other than the grid, a range is ``log:LOW:HIGH``, ``uniform:LOW:HIGH`` or ``int:LOW:HIGH``, and stays text.

    Raises:
        BadInput: says what cannot be read.
    """
    key, equals, values = (part.strip() for part in text.partition("="))
    if not equals or not key or not values:
        raise BadInput(
            f"'{text}' does not say what to try",
            where="over",
            expected="KEY=VALUES, for instance enforcer.name=cubic,gradient or optimizer.lr=log:1e-5:1",
        )
    if sampler != "grid" and values.startswith(RANGES):
        sampled(key, values)
        return key, values
    return key, listed_values(key, values)


def listed_values(key: str, values: Sequence[Any] | str) -> list[Any]:
    """The values that a text describes; a list stays as it is."""
    if not isinstance(values, str):
        return list(values)
    if values.startswith(("log:", "lin:")):
        return _range(key, values)
    if values.startswith(("uniform:", "int:")):
        raise BadInput(
            f"'{values}' has infinitely many values, and a grid tries every value",
            where=f"over, key '{key}'",
            expected="lin:LOW:HIGH:N, log:LOW:HIGH[:N] or a,b,c",
            next_step="or let a sampler choose some values: `sampler = random`, `halton` or `tpe`, with `trials = N`",
        )
    if values.startswith("["):
        try:
            array = tomllib.loads(f"value = {values}")["value"]
        except tomllib.TOMLDecodeError as error:
            raise BadInput(f"not a TOML array: {error}", where=f"over, key '{key}', {values}") from None
        return list(array)
    return [parse_value(item.strip()) for item in values.split(",")]


def parse_value(text: str) -> Any:
    """A TOML value; otherwise the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _range(key: str, text: str) -> list[float]:
    kind, *numbers = text.split(":")
    expected = "log:LOW:HIGH, log:LOW:HIGH:N or lin:LOW:HIGH:N"
    wrong = BadInput(f"'{text}' is not a range", where=f"over, key '{key}'", expected=expected)
    if len(numbers) not in ((3,) if kind == "lin" else (2, 3)):
        raise wrong
    try:
        low, high, *count = (float(number) for number in numbers)
    except ValueError:
        raise wrong from None
    if not low < high or (kind == "log" and low <= 0) or not math.isfinite(high - low):
        raise BadInput(
            f"'{text}' is not a range", where=f"over, key '{key}'", expected="LOW < HIGH, and LOW > 0 with log"
        )
    if count and not (2 <= count[0] <= MOST_VALUES and count[0].is_integer()):
        raise BadInput(
            f"'{text}' has {numbers[2]} {plural(count[0], 'value')}",
            where=f"over, key '{key}'",
            expected=f"N, a whole number from 2 to {MOST_VALUES}",
        )
    steps = int(count[0]) - 1 if count else max(1, round(math.log10(high / low)))
    if kind == "lin":
        return [low + (high - low) * i / steps for i in range(steps + 1)]
    return [float(f"{low * (high / low) ** (i / steps):.12g}") for i in range(steps + 1)]


def distinct(key: str, values: Any) -> Any:
    """Check that the values can be tried, and return them."""
    where = f"over, key '{key}'"
    if key == SEED:
        raise BadInput("the seed cannot be varied this way", where=where, next_step="`seeds = N`")
    if isinstance(values, Range):
        return values
    texts = [toml_value(value) for value in values]
    if not values:
        raise BadInput("there is nothing to try", where=where, expected=f"{key}=VALUE,VALUE")
    if len(set(texts)) < len(texts):
        twice = next(text for text in texts if texts.count(text) > 1)
        raise BadInput(f"{twice} is given twice", where=where, next_step="give each value once")
    return values


def sampled(key: str, text: str) -> Range:
    """``KIND:LOW:HIGH`` as a range for a sampler."""
    kind, *ends = text.split(":")
    expected = "log:LOW:HIGH, uniform:LOW:HIGH or int:LOW:HIGH"
    if kind == "lin" or len(ends) == 3:
        raise BadInput(
            f"'{text}' is a list of values, as a grid takes it",
            where=f"over, key '{key}'",
            expected=expected,
            next_step=f"{key}={'uniform' if kind == 'lin' else kind}:{':'.join(ends[:2])}, or `sampler = grid`",
        )
    wrong = BadInput(f"'{text}' is not a range", where=f"over, key '{key}'", expected=expected)
    try:
        low, high = (float(end) for end in ends)
    except ValueError:
        raise wrong from None
    if kind == "int" and not (low.is_integer() and high.is_integer()):
        wrong.expected = "int:LOW:HIGH with whole numbers"
        raise wrong
    if not low < high or (kind == "log" and low <= 0) or not math.isfinite(high - low):
        wrong.expected = "LOW < HIGH, and LOW > 0 with log"
        raise wrong
    return Range(kind, low, high)
