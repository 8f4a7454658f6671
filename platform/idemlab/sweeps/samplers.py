"""Which setting of a sweep is tried next: samplers as pure functions of the earlier settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..experiment.toml import toml_value
from .sweep import Setting, Sweep
from .values import Range

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

__all__ = ["Tried", "known_settings", "propose"]


@dataclass(frozen=True)
class Tried:
    """A setting that was proposed before: its values, and its value for the goal, None while a seed is not done."""

    values: dict[str, Any]
    value: float | None


def known_settings(sweep: Sweep) -> list[Setting]:
    """All settings, with every seed, of a sampler that needs no results first; of tpe, which does, none."""
    if sweep.sampler == "grid":
        return sweep.settings()
    if sweep.sampler == "halton":
        drawn = _spread(sweep)
    else:
        drawn = [propose(sweep, index, []) for index in range(sweep.count)] if sweep.sampler == "random" else []
    return [Setting(values, seed, index) for index, values in enumerate(drawn) for seed in range(sweep.seeds)]


def _spread(sweep: Sweep) -> list[dict[str, Any]]:
    """The first points of the Halton sequence, without the corner 0, in the order of the keys.

    The first key has base 2, the next one 3, and so on. So two sweeps try the same values of the keys that both begin with.
    Fewer points than the base fill the lower part of a range only, and neighbouring bases go together: from the fourth key
    on, base 7, the digits are scrambled.
    """
    from scipy.stats.qmc import Halton

    space = sweep.space()
    plain = Halton(len(space), scramble=False)
    shares = plain.fast_forward(1).random(sweep.count)
    scrambled = Halton(len(space), scramble=True, seed=0).random(sweep.count)
    shares[:, 3:] = scrambled[:, 3:]
    return [
        {
            key: values.at(share) if isinstance(values, Range) else values[int(share * len(values))]
            for (key, values), share in zip(space.items(), point, strict=True)
        }
        for point in shares.tolist()
    ]


def propose(sweep: Sweep, index: int, history: Sequence[Tried]) -> dict[str, Any]:
    """The values of setting number `index`, given the settings before it.

    The number seeds the sampler. The same history therefore gives the same setting, in any process and after any number of
    resumes, and two machines that propose at once propose different settings. A setting that is not done yet counts as bad
    (constant liar), so that several workers do not crowd at one place.
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
    """As Optuna has it. Categories are given by number, since a value may be a table."""
    from optuna.distributions import CategoricalDistribution

    return values.distribution() if isinstance(values, Range) else CategoricalDistribution(range(len(values)))


def _coded(values: Range | list[Any], value: Any) -> Any:
    return value if isinstance(values, Range) else [toml_value(each) for each in values].index(toml_value(value))
