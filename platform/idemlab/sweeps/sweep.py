"""The description of a sweep: one experiment under many values of its keys, with many seeds."""

from __future__ import annotations

import itertools
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence, ValuesView
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ..catalog.catalog import Catalog
from ..certificate.goal import Goal
from ..errors import BadInput, nearest_match
from ..experiment.experiment import Experiment
from ..experiment.resolution import resolve
from ..experiment.start import pinned
from ..experiment.toml import toml_value
from ..wording import counted, plural, shown, with_article

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["PRUNERS", "SAMPLERS", "Range", "Setting", "Sweep", "parse_over", "parse_value"]

SEED = "training.seed"
SAMPLERS = ("grid", "random", "halton", "tpe")
PRUNERS = ("none", "median", "halving")
_RANGES = ("log:", "lin:", "uniform:", "int:")
_MOST_VALUES = 10_000
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


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One experiment under many settings and seeds.

    Args:
        experiment: name of an experiment, path of a TOML file or of a run.
        set: key -> value, for all trials: ``{"model.depth": 2}``.
        over: key -> the values to try: ``{"enforcer.name": ["cubic", "gradient"]}``; or a range as text,
            ``{"optimizer.lr": "log:1e-5:1"}``. A grid takes ranges as `parse_over` does; the other samplers take
            ``log:LOW:HIGH``, ``uniform:LOW:HIGH`` or ``int:LOW:HIGH``.
        seeds: number of seeds, 0, 1, ...; each setting runs with every seed.
        sampler: "grid", every combination of the values; "random"; "halton", spread evenly (the sequence of Halton 1960);
            or "tpe", which learns from earlier settings where the good ones are (tree-structured Parzen estimator, Bergstra
            et al. 2011).
        trials: number of settings, for all but the grid. Seeds do not count: 10 trials with 3 seeds are 30 runs.
        metric: the metric that decides: at some inputs, as in the table (``noise/relative``), or alone, which means its
            worst value over all inputs. The value of a setting is the median over its seeds. A run that fails, is pruned or
            collapses counts as worse than all others.
        maximize: a larger value is better; otherwise a smaller one is.
        pruner: "none"; "median", which stops a run that is worse than the median of the others at the same step; or
            "halving", which keeps a quarter of the runs at 1, 4, 16, ... times `evaluation.every` steps.
    """

    experiment: str
    set: Mapping[str, Any] = field(default_factory=dict)
    over: Mapping[str, Sequence[Any] | str] = field(default_factory=dict)
    seeds: int = 1
    sampler: str = "grid"
    trials: int | None = None
    metric: str = "relative"
    maximize: bool = False
    pruner: str = "none"

    def __post_init__(self) -> None:
        for key in ("set", "over", "seeds", "trials"):
            object.__setattr__(self, key, _plain(getattr(self, key)))

    @property
    def goal(self) -> Goal:
        """How runs are compared."""
        return Goal(self.metric, self.maximize)

    @property
    def count(self) -> int:
        """Number of settings, each of which has `seeds` runs."""
        return math.prod(map(len, self.axes().values())) if self.sampler == "grid" else self.trials or 0

    def check(self) -> None:
        """Check that the parts fit each other.

        Raises:
            BadInput: names the option.
        """
        self._check_types()
        for field_, value, choices in (("sampler", self.sampler, SAMPLERS), ("pruner", self.pruner, PRUNERS)):
            if value not in choices:
                raise BadInput(
                    f"there is no {field_} '{value}'",
                    where=field_,
                    choices=choices,
                    nearest=nearest_match(value, choices),
                )
        if not 1 <= self.seeds <= _MOST_VALUES:
            raise BadInput(counted(self.seeds, "seed"), where="seeds", expected=f"a number from 1 to {_MOST_VALUES}")
        if self.sampler == "grid":
            if self.trials is not None:
                raise BadInput(
                    "a grid has as many trials as it has combinations",
                    where="trials",
                    next_step="leave `trials` out, or let a sampler choose: `sampler = random`, `halton` or `tpe`",
                )
            self.axes()
            return
        if self.trials is None or not 1 <= self.trials <= _MOST_VALUES:
            raise BadInput(
                f"sampler '{self.sampler}' needs a number of settings"
                if self.trials is None
                else counted(self.trials, "trial"),
                where="trials",
                expected=f"`trials = N`, a whole number from 1 to {_MOST_VALUES}",
            )
        if not self.space():
            raise BadInput(
                f"sampler '{self.sampler}' has nothing to choose",
                where="over",
                expected="a key with log:LOW:HIGH, uniform:LOW:HIGH, int:LOW:HIGH or values a,b,c",
            )

    def axes(self) -> dict[str, list[Any]]:
        """The values of each key of a grid.

        Raises:
            BadInput: if a key has none, or one twice, or is set for all trials, too, or the seed is among the keys.
        """
        self._check_set()
        return {key: _distinct(key, _listed(key, values)) for key, values in self.over.items()}

    def space(self) -> dict[str, Range | list[Any]]:
        """The search space of a sampler: a range or values for each key.

        Raises:
            BadInput: as `axes`, or if a range cannot be read.
        """
        self._check_set()
        space: dict[str, Range | list[Any]] = {}
        for key, values in self.over.items():
            is_range = isinstance(values, str) and values.startswith(_RANGES)
            space[key] = _distinct(key, _sampled(key, str(values)) if is_range else _listed(key, values))
        return space

    def _check_types(self) -> None:
        """Refuse values of types that Python lets pass."""
        for name, table, expected in (
            ("set", self.set, '{"model.depth": 2}'),
            ("over", self.over, '{"optimizer.lr": [0.1, 0.2]}'),
        ):
            if not isinstance(table, Mapping) or not all(isinstance(key, str) for key in table):
                what = f"'{name}' is {with_article(type(table).__name__)}"
                if isinstance(table, Mapping):
                    what = f"'{name}' has keys that are no texts"
                raise BadInput(what, where="the sweep", expected=f"a table with texts as keys, such as {expected}")
        for key, values in self.over.items():
            if not isinstance(values, (list, str)):
                raise BadInput(
                    f"{shown(values)} is no list of values to try",
                    where=f"over, key '{key}'",
                    expected="a list, or a range as text",
                    next_step=f"write [{shown(values)}], or set it for all trials with `set`",
                )
        for name, number in (("seeds", self.seeds), ("trials", 1 if self.trials is None else self.trials)):
            if type(number) is not int:
                raise BadInput(f"{shown(number)} is no number of {name}", where=name, expected="a whole number")

    def _check_set(self) -> None:
        """Refuse a key in `set` that the sweep itself sets in every trial."""
        for key in self.set:
            if key == SEED:
                raise BadInput("the seed cannot be set: each trial has its own", where="set", next_step="`seeds = N`")
            if key in self.over:
                raise BadInput(
                    f"'{key}' is set for all trials, and varied",
                    where="set and over",
                    next_step="leave it out of one of them",
                )

    def probes(self) -> list[Setting]:
        """Settings at the ends of the search space. If they resolve, the settings between them most likely do."""
        some = {key: v.some() if isinstance(v, Range) else v for key, v in self.space().items()}
        first = {key: values[0] for key, values in some.items()}
        others = [first | {key: value} for key, values in some.items() for value in values[1:]]
        return [Setting(values, 0) for values in (first, *others)]

    def settings(self) -> list[Setting]:
        """Every combination of a grid with every seed; the seeds of one combination are adjacent."""
        self.check()
        axes = self.axes()
        return [
            Setting(dict(zip(axes, values, strict=True)), seed)
            for values in itertools.product(*axes.values())
            for seed in range(self.seeds)
        ]

    def resolve(
        self, setting: Setting, catalog: Catalog | None = None, parts: Mapping[str, Any] | None = None
    ) -> Experiment:
        """The experiment at a setting.

        Args:
            parts: a table that is laid over the experiment first.

        Raises:
            BadInput: names the key.
        """
        overrides = self.set | setting.values | {SEED: setting.seed}  # type: ignore[operator]
        written = [f"{k}={toml_value(v)}" for k, v in overrides.items()]
        return pinned(resolve(self.experiment, written, catalog=catalog, parts=parts))

    def table(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self)

    def given(self) -> dict[str, Any]:
        """The fields that differ from their defaults, as plain values."""
        usual = Sweep(experiment=self.experiment).table()
        return {key: value for key, value in self.table().items() if key == "experiment" or value != usual[key]}


@dataclass(frozen=True)
class Setting:
    """One combination of values, with a seed. Sampled settings are numbered: a sampler may choose the same values again."""

    values: Mapping[str, Any]
    seed: int
    index: int | None = None

    @property
    def text(self) -> str:
        """As a person reads it."""
        return ", ".join([*(f"{key}={toml_value(value)}" for key, value in self.values.items()), f"seed {self.seed}"])

    @property
    def key(self) -> str:
        """A text that identifies the setting within its sweep."""
        return self.text if self.index is None else f"point {self.index}, seed {self.seed}"


def _plain(value: Any) -> Any:
    """A value without arrays, tensors and their scalars, tuples and ranges, none of which a file can hold."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (Sequence, ValuesView, Iterator)) and not isinstance(value, (str, bytes)):
        return [_plain(item) for item in value]
    return value


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
    if sampler != "grid" and values.startswith(_RANGES):
        _sampled(key, values)
        return key, values
    return key, _listed(key, values)


def _listed(key: str, values: Sequence[Any] | str) -> list[Any]:
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
    if count and not (2 <= count[0] <= _MOST_VALUES and count[0].is_integer()):
        raise BadInput(
            f"'{text}' has {numbers[2]} {plural(count[0], 'value')}",
            where=f"over, key '{key}'",
            expected=f"N, a whole number from 2 to {_MOST_VALUES}",
        )
    steps = int(count[0]) - 1 if count else max(1, round(math.log10(high / low)))
    if kind == "lin":
        return [low + (high - low) * i / steps for i in range(steps + 1)]
    return [float(f"{low * (high / low) ** (i / steps):.12g}") for i in range(steps + 1)]


def _distinct(key: str, values: Any) -> Any:
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


def _sampled(key: str, text: str) -> Range:
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
