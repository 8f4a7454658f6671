"""The steps of a run, one at a time: several runs can take turns, so that a busy machine slows all of them alike."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate.state import PartialState
from torch import Tensor

from ..contracts.dataset import Dataset
from ..experiment.experiment import Experiment
from ..objective.preflight import Plan
from ..runs.run import Run
from .batches import batches
from .loop import built

__all__ = ["Steps", "on_device"]


class Steps:
    """The steps of a run as `train` makes them, logging included, without its evaluations and checkpoints.

    Args:
        experiment: `training.steps` is the largest number of steps.
        folder: where the log is written; it must exist.
        dataset: to train on, in place of the experiment's.

    Raises:
        BadInput, Failure: as `train`.
    """

    def __init__(self, experiment: Experiment, folder: Path, dataset: Dataset) -> None:
        self._loop = built(experiment, Run(folder), dataset=dataset)
        self._loop.prepare(resume=False)
        steps, engine = range(self.plan.steps), self._loop.engine
        self._stream = batches(dataset, experiment.training, steps, rank=engine.rank, world=engine.world)
        self._steps = iter(steps)

    @property
    def plan(self) -> Plan:
        """What the preflight computed."""
        return self._loop.plan

    @property
    def state(self) -> list[Tensor]:
        """All tensors that are kept from step to step: parameters, buffers and the state of the optimisers."""
        objective, optimizers = self._loop.bare, self._loop.optimizers
        kept = [value for o in optimizers for values in o.state.values() for value in values.values()]
        return [*objective.parameters(), *objective.buffers(), *(t for t in kept if isinstance(t, Tensor))]

    def step(self) -> None:
        """Make the next step."""
        self._loop.train_at(next(self._steps), self._stream)


@contextmanager
def on_device(kind: str) -> Iterator[None]:
    """Let the runs of the block train on `cpu`, or on the accelerator, whatever the environment says."""
    key = "ACCELERATE_USE_CPU"
    before = os.environ.get(key)
    os.environ[key] = "true" if kind == "cpu" else "false"
    _forget_the_device()
    try:
        yield
    finally:
        del os.environ[key]
        if before is not None:
            os.environ[key] = before
        _forget_the_device()


def _forget_the_device() -> None:
    """Let Accelerate choose the device again, where there are two."""
    if torch.accelerator.is_available():
        PartialState._reset_state()
