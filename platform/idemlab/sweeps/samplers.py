"""Which point of a sweep is tried next: Optuna's samplers, as functions of nothing but the points before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..experiment.toml import toml_value
from .sweep import Point, Range, Sweep

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

__all__ = ["Tried", "known_points", "propose"]


@dataclass(frozen=True)
class Tried:
    """A point that was proposed before: its values, and what it is worth; None while one of its seeds is not done."""

    values: dict[str, Any]
    value: float | None


def known_points(sweep: Sweep) -> list[Point]:
    """All points that need no results to be known, with every seed: those of a grid or of a random sample."""
    if sweep.sampler == "grid":
        return sweep.points()
    drawn = [propose(sweep, index, []) for index in range(sweep.count)] if sweep.sampler == "random" else []
    return [Point(values, seed, index) for index, values in enumerate(drawn) for seed in range(sweep.seeds)]


def propose(sweep: Sweep, index: int, history: Sequence[Tried]) -> dict[str, Any]:
    """The values of the point with a number, after those before it.

    The number is the seed of the sampler: the same history gives the same point, in whichever process and however often the
    sweep was resumed, and two machines that propose at once propose different ones. Points that are not done yet count as
    bad where they are (constant liar), so that several workers do not crowd.
    """
    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = sweep.space()
    distributions = {key: _distribution(values) for key, values in space.items()}
    study = optuna.create_study(sampler=_sampler(sweep, index), direction="maximize" if sweep.maximize else "minimize")
    for tried in history:
        study.add_trial(
            create_trial(
                state=TrialState.RUNNING if tried.value is None else TrialState.COMPLETE,
                value=tried.value,
                params={key: _coded(space[key], value) for key, value in tried.values.items()},
                distributions=distributions,
            )
        )
    asked = study.ask(distributions).params
    return {key: v.rounded(asked[key]) if isinstance(v, Range) else v[asked[key]] for key, v in space.items()}


def _sampler(sweep: Sweep, index: int) -> BaseSampler:
    from optuna.samplers import RandomSampler, TPESampler

    if sweep.sampler == "random":
        return RandomSampler(seed=index)
    return TPESampler(seed=index, constant_liar=True)


def _distribution(values: Range | list[Any]) -> BaseDistribution:
    """Of categories their numbers, as one may be a table."""
    from optuna.distributions import CategoricalDistribution

    return values.distribution() if isinstance(values, Range) else CategoricalDistribution(range(len(values)))


def _coded(values: Range | list[Any], value: Any) -> Any:
    return value if isinstance(values, Range) else [toml_value(each) for each in values].index(toml_value(value))
