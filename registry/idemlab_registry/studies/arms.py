"""Arms of a comparison: one method at one configuration, over its learning rates and seeds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from idemlab import Results, Sweep, Trial, Verdict
from idemlab.wording import number

__all__ = ["Arm", "Outcome", "Pair", "arms_of", "pairs", "range_of"]

INPUTS = "noise"
"""Evaluation inputs that are reported."""
BATCH = 64
"""A weight as large makes the mean over the batch a sum."""


@dataclass(frozen=True)
class Outcome:
    """The result of one trial.

    Args:
        seed, rate: of the trial.
        absolute: mean |f(f(x)) - f(x)|; infinite where the trial has none, so that medians over seeds count it.
        relative: relative error, or NaN.
        rank: of the Jacobian at f(x), or NaN.
        distance: to the manifold, where there is one, or NaN.
        verdict: empty where there is none.
        trial: with its curves.
    """

    seed: int
    rate: float
    absolute: float
    relative: float
    rank: float
    distance: float
    verdict: str
    trial: Trial

    @classmethod
    def of(cls, trial: Trial) -> Outcome:
        """The outcome of a trial in any state."""

        def figure(name: str) -> float:
            value = trial.metrics.get(f"{INPUTS}/{name}") if trial.state == "complete" else None
            return math.nan if value is None else float(value)

        absolute = figure("absolute")
        finite = math.isfinite(absolute)
        return cls(
            seed=trial.seed,
            rate=float(trial.values["optimizer.lr"]),
            absolute=absolute if finite else math.inf,
            relative=figure("relative") if finite else math.nan,
            rank=figure("rank") if finite else math.nan,
            distance=figure("manifold-distance") if finite else math.nan,
            verdict=trial.verdict if finite else "",
            trial=trial,
        )

    @property
    def projecting(self) -> float:
        """The relative error if f projects; infinite for a constant and for the identity."""
        collapsed = self.verdict in ("", Verdict.CONSTANT, Verdict.IDENTITY)
        return math.inf if collapsed or math.isnan(self.relative) else self.relative

    @property
    def failed(self) -> bool:
        """Whether there is no error to report: in these studies, nearly always divergence."""
        return math.isinf(self.absolute)


@dataclass(frozen=True)
class Arm:
    """One method at one configuration.

    Args:
        group: of sweeps: "paper", "search", "control-adam", ...
        configuration: what both methods share, in words.
        method: "gradient" or "cubic".
        constant: in front of the cubic cotangent; empty for the gradient.
        outcomes: of all rates and seeds.
    """

    group: str
    configuration: str
    method: str
    constant: str
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def label(self) -> str:
        """As in legends."""
        return f"{self.method} ({self.constant})" if self.constant else self.method

    @property
    def rates(self) -> list[float]:
        """Learning rates, ascending."""
        return sorted({outcome.rate for outcome in self.outcomes})

    def at(self, rate: float) -> list[Outcome]:
        """Outcomes at a rate, by seed."""
        return sorted((o for o in self.outcomes if o.rate == rate), key=lambda o: o.seed)

    def median(self, figure: str, rate: float) -> float:
        """Over the seeds that have the figure; of the absolute error, over all, failures being infinite. NaN if none."""
        values = [value for o in self.at(rate) if not math.isnan(value := getattr(o, figure))]
        return median(values) if values else math.nan

    def best(self, figure: str = "absolute", among: Sequence[float] | None = None) -> float | None:
        """The rate at which the median over seeds is lowest and at least half of the seeds have a result, or None."""
        candidates = {}
        for rate in self.rates if among is None else [rate for rate in self.rates if rate in among]:
            outcomes = self.at(rate)
            if 2 * sum(o.failed for o in outcomes) < len(outcomes):
                value = self.median(figure, rate)
                if not math.isnan(value):
                    candidates[rate] = value
        return min(candidates, key=candidates.__getitem__) if candidates else None

    def verdicts(self, rate: float) -> str:
        """The number of seeds with each verdict."""
        counts = Counter(o.verdict or "diverged" for o in self.at(rate))
        return ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())

    def joined(self, other: Arm) -> Arm:
        """With further outcomes of the same arm, at other rates."""
        return Arm(self.group, self.configuration, self.method, self.constant, self.outcomes + other.outcomes)


@dataclass(frozen=True)
class Pair:
    """The gradient and the cubic iteration at one configuration, each at its best rate.

    Args:
        gradient, cubic: the two arms.
        figure: by which the best rate is chosen.
        among: rates that may be chosen; None for all.
    """

    gradient: Arm
    cubic: Arm
    figure: str = "absolute"
    among: tuple[float, ...] | None = None

    @property
    def rates(self) -> tuple[float, float] | None:
        """Best rate of the gradient and of the cubic iteration; None where one of them has none."""
        gradient, cubic = (arm.best(self.figure, self.among) for arm in (self.gradient, self.cubic))
        return None if gradient is None or cubic is None else (gradient, cubic)

    def ratios(self, figure: str | None = None) -> list[float]:
        """Error of the gradient over that of the cubic iteration, seed by seed; above 1 the cubic iteration is better."""
        rates = self.rates
        if rates is None:
            return []
        name = figure or self.figure
        cubic = {o.seed: getattr(o, name) for o in self.cubic.at(rates[1])}
        both = [(getattr(o, name), cubic[o.seed]) for o in self.gradient.at(rates[0]) if o.seed in cubic]
        if name == "projecting":  # a seed at which one of them has collapsed is won by the other
            both = [(a, b) for a, b in both if not (math.isinf(a) and math.isinf(b))]
        else:
            both = [(a, b) for a, b in both if math.isfinite(a) and math.isfinite(b)]
        return [a / b if b > 0 else math.inf if a > 0 else 1.0 for a, b in both]

    @property
    def ratio(self) -> float:
        """Median over the seeds, or NaN."""
        ratios = self.ratios()
        return median(ratios) if ratios else math.nan


def arms_of(results: Mapping[str, Results], sweeps: Mapping[str, Sweep]) -> list[Arm]:
    """The arms of all sweeps named GROUP-gradient and GROUP-cubic.

    Args:
        results: by name of the sweep.
        sweeps: their definitions: what a whole sweep has in common is not among the values of its trials.
    """
    arms: dict[tuple[str, str, str, str], Arm] = {}
    for name, one in results.items():
        group, _, method = name.rpartition("-")
        for trial in one.trials:
            settings = {**sweeps[name].set, **trial.values}
            constant = _constant(settings) if method == "cubic" else ""
            configuration = _configuration(sweeps[name].experiment, settings)
            key = (group, configuration, method, constant)
            arms.setdefault(key, Arm(*key)).outcomes.append(Outcome.of(trial))
    return list(arms.values())


def pairs(arms: Iterable[Arm], among: tuple[float, ...] | None = None, figure: str = "absolute") -> list[Pair]:
    """Each cubic arm with the gradient of its group and configuration."""
    found = list(arms)
    gradients = {(a.group, a.configuration): a for a in found if a.method == "gradient"}
    return [
        Pair(gradients[a.group, a.configuration], a, figure, among)
        for a in found
        if a.method == "cubic" and (a.group, a.configuration) in gradients
    ]


def range_of(values: Sequence[float], times: str = "") -> str:
    """Median and range of some values, in words."""
    if not values:
        return "none"
    middle = f"{number(median(values))}{times if math.isfinite(median(values)) else ''}"
    return middle if len(values) == 1 else f"{middle} ({number(min(values))} to {number(max(values))})"


def _constant(settings: Mapping[str, Any]) -> str:
    """What stands in front of the cotangent, averaged over the batch."""
    name, weight = str(settings.get("enforcer.cotangent", "unit")), settings.get("enforcer.weight", 1.0)
    if weight == 1:
        return name
    return "sum" if name == "unit" and weight == BATCH else f"{weight:g} {name}"


def _configuration(experiment: str, settings: Mapping[str, Any]) -> str:
    """Network and dimension in words."""
    shape = settings.get("dataset.shape")
    dimension = f", d = {math.prod(shape)}" if shape else ""
    activation = settings.get("model.activation")
    kind = f", {activation}" if activation else ""
    if experiment == "noise-conv":
        return f"conv 8 x 2{kind}"
    return f"{settings.get('model.width', 32)} x {settings.get('model.depth', 2)}{kind}{dimension}"
