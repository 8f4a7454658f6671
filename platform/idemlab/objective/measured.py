"""The names of all that an evaluation measures; refuses a metric that no evaluation measures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch

from ..contracts.orbit import Operator
from ..errors import BadInput, nearest_match
from ..experiment.blame import blame
from ..experiment.experiment import Experiment
from .evaluation import evaluate
from .parts import Parts

__all__ = ["check_metric", "measured"]

_CERTIFIED = ("relative", "absolute", "spread", "input_spread", "rank", "trace")
"""What every evaluation measures at each set of inputs."""


def check_metric(
    metric: str, experiments: Sequence[Experiment], names: Callable[[], Collection[str]], where: str
) -> None:
    """Check that the evaluations of all experiments measure a metric, ``noise/relative`` or ``relative`` alone.

    Args:
        names: gives what an evaluation of the first experiment measures; called only for a name that is not always there.
        where: the key that names the metric.

    Raises:
        BadInput: names the choices and the nearest one.
    """
    inputs, slash, name = metric.rpartition("/")
    every = [{"data", *experiment.inputs} for experiment in experiments]
    if name in _CERTIFIED and (not slash or all(inputs in names for names in every)):
        return
    found = names()
    choices = sorted({*found, *(name.partition("/")[2] for name in found)})
    if metric not in choices:
        raise BadInput(
            f"no evaluation measures '{metric}'",
            where=where,
            choices=choices,
            nearest=nearest_match(metric, choices),
        )


def measured(experiment: Experiment, parts: Parts, operator: Operator, device: torch.device) -> set[str]:
    """Names of everything that an evaluation measures. One evaluation of the untrained operator shows what plugins do."""
    found = blame(
        experiment, lambda: evaluate(experiment, parts, operator.eval(), device, rank_points=1), "the evaluation"
    )
    return set(found.flat())
