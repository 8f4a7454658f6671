"""The description of a sweep: one experiment under many values of its keys, with many seeds."""

from __future__ import annotations

import itertools
import math
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
from ..wording import counted, shown, with_article
from .values import MOST_VALUES, RANGES, SEED, Range, distinct, listed_values, sampled

if TYPE_CHECKING:
    pass

__all__ = ["PRUNERS", "SAMPLERS", "Setting", "Sweep"]

SAMPLERS = ("grid", "random", "halton", "tpe")
PRUNERS = ("none", "median", "halving")


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
        if not 1 <= self.seeds <= MOST_VALUES:
            raise BadInput(counted(self.seeds, "seed"), where="seeds", expected=f"a number from 1 to {MOST_VALUES}")
        if self.sampler == "grid":
            if self.trials is not None:
                raise BadInput(
                    "a grid has as many trials as it has combinations",
                    where="trials",
                    next_step="leave `trials` out, or let a sampler choose: `sampler = random`, `halton` or `tpe`",
                )
            self.axes()
            return
        if self.trials is None or not 1 <= self.trials <= MOST_VALUES:
            raise BadInput(
                f"sampler '{self.sampler}' needs a number of settings"
                if self.trials is None
                else counted(self.trials, "trial"),
                where="trials",
                expected=f"`trials = N`, a whole number from 1 to {MOST_VALUES}",
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
        return {key: distinct(key, listed_values(key, values)) for key, values in self.over.items()}

    def space(self) -> dict[str, Range | list[Any]]:
        """The search space of a sampler: a range or values for each key.

        Raises:
            BadInput: as `axes`, or if a range cannot be read.
        """
        self._check_set()
        space: dict[str, Range | list[Any]] = {}
        for key, values in self.over.items():
            is_range = isinstance(values, str) and values.startswith(RANGES)
            space[key] = distinct(key, sampled(key, str(values)) if is_range else listed_values(key, values))
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
