"""Report errors raised inside plugins, with the distribution and version of the plugin at fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..catalog.faults import compiling, one_line, out_of_memory, running
from ..catalog.named import unless_extreme
from ..errors import Failure, IdemlabError
from ..wording import clipped
from .experiment import Experiment

__all__ = ["blame", "suspects"]

T = TypeVar("T")


def blame(experiment: Experiment, call: Callable[[], T], doing: str = "the training step") -> T:
    """Run code that calls plugins. If one raises, report the plugin with its distribution and version.

    An operating-system error outside plugin code is passed on unchanged, because its cause is the machine.
    """
    try:
        return call()
    except IdemlabError:
        raise
    except Exception as error:
        through = running(error, {thing.plugin for thing in experiment.things})
        if isinstance(error, OSError) and not through:
            raise
        if experiment.training.compile and compiling(error):
            raise Failure(
                f"torch.compile could not compile {doing}: {clipped(one_line(error), 300)}",
                where="[training], key 'compile'",
                next_step="set training.compile = false, or install a C++ compiler that works",
            ) from error
        whose = f", and {through[0][0].remedy}" if through else ""
        smaller = "there is too little memory: lower training.batch_size, or the sizes of what is named under 'where'"
        raise Failure(
            f"{doing} raised {one_line(error)}",
            where=", called by ".join(f"{plugin} ({line})" for plugin, line in through) or suspects(experiment),
            next_step=smaller
            if out_of_memory(error)
            else unless_extreme(experiment.things, f"{experiment.enforcer.how_to_check}{whose}"),
        ) from error


def suspects(experiment: Experiment) -> str:
    """Enforcer and model with their plugins: the places to look when the culprit is unknown."""
    return ", ".join(f"{thing} ({thing.plugin})" for thing in (experiment.enforcer, experiment.model))
