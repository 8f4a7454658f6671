"""The settings of an experiment: tables without named things, with defaults and ranges."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, ConfigDict

__all__ = [
    "UNSUITABLE_OPTIMIZERS",
    "EvaluationSettings",
    "OptimizerSettings",
    "ReconstructionSettings",
    "TrainingSettings",
]

UNSUITABLE_OPTIMIZERS = {
    "lbfgs": "it evaluates the loss several times a step, but a training step has one batch and one backward",
    "sparseadam": "it takes sparse gradients only, but those of an operator are dense",
}
"""Classes of torch.optim, in lower case, that cannot train an operator, and why."""

Share = Annotated[float, Ge(0), Le(1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ReconstructionSettings(_Table):
    """The data term D(f(u, c), t).

    Args:
        weight: factor of the term; 0 leaves it out.
        distance: D, the mean absolute (`l1`) or mean squared (`l2`) difference.
        input: source that makes u from the batch, for instance `corrupted`; `data` is the batch itself.
    """

    weight: Annotated[float, Ge(0)] = 1.0
    distance: Literal["l1", "l2"] = "l2"
    input: Any = "data"


class OptimizerSettings(BaseModel):
    """The optimiser. Further keys are arguments of its class.

    Args:
        name: a class of torch.optim in any case (`adam`, `adamw`, `sgd`, ...; LBFGS and SparseAdam cannot be used), or
            `muon`: Muon on matrices and AdamW on the rest, with the arguments in the table `adamw`.
        lr: highest learning rate.
        schedule: `constant`, or `cosine` from lr down to final * lr.
        warmup: share of the run over which the rate rises linearly from 0.
        final: last rate of the cosine schedule, as a share of lr.
        clip: largest norm of the gradient; 0 switches clipping off.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    name: str = "adam"
    lr: Annotated[float, Ge(0)] = 1e-3
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: Share = 0.0
    final: Share = 0.0
    clip: Annotated[float, Ge(0)] = 0.0

    def share_of_rate(self, progress: float) -> float:
        """Learning rate as a share of the highest rate; `progress` is the share of the run that is done, in [0, 1)."""
        if progress < self.warmup:
            return progress / self.warmup
        if self.schedule == "constant":
            return 1.0
        done = (progress - self.warmup) / max(1 - self.warmup, 1e-12)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * done)) / 2


class TrainingSettings(_Table):
    """How long and how to train.

    Args:
        steps: optimiser steps; omit if `flops` is given.
        flops: budget of counted floating-point operations instead of steps; the preflight turns it into steps.
        batch_size: of the global batch, over all processes and micro-steps.
        micro_batches: number of parts of the global batch, processed one after the other (gradient accumulation).
        seed: of all random draws.
        dtype: of the parameters.
        precision: `bf16` computes the forward in mixed precision.
        compile: `torch.compile` the objective.
        log_every, checkpoint_every: steps between entries in metrics.jsonl and between checkpoints.
        keep: number of checkpoints kept.
        stop_on_collapse: end the run at the first evaluation that finds f constant at any of its inputs.
        trackers: services that receive the metrics besides metrics.jsonl.
    """

    steps: Annotated[int, Gt(0)] | None = None
    flops: Annotated[float, Gt(0)] | None = None
    batch_size: Annotated[int, Gt(0)] = 64
    micro_batches: Annotated[int, Gt(0)] = 1
    seed: Annotated[int, Ge(0)] = 0
    dtype: Literal["float32", "float64"] = "float32"
    precision: Literal["full", "bf16"] = "full"
    compile: bool = False
    log_every: Annotated[int, Gt(0)] = 50
    checkpoint_every: Annotated[int, Gt(0)] = 1000
    keep: Annotated[int, Gt(0)] = 2
    stop_on_collapse: bool = False
    trackers: list[Literal["tensorboard", "wandb", "trackio"]] = []


class EvaluationSettings(_Table):
    """What is measured, where, how often.

    Args:
        every: steps between evaluations; there is always one at the end.
        points: largest number of test samples to use.
        batch_size: samples per forward.
        depth: largest k at which the error of f^k is measured.
        rank_points: samples at which the Jacobian is computed at the end.
        inputs: name -> source of evaluation inputs, besides the test data (`data`).
        metrics: named metrics.
    """

    every: Annotated[int, Gt(0)] = 1000
    points: Annotated[int, Gt(1)] = 1000
    batch_size: Annotated[int, Gt(0)] = 250
    depth: Annotated[int, Gt(0)] = 3
    rank_points: Annotated[int, Ge(0)] = 8
    inputs: dict[str, Any] = {"noise": "gaussian"}
    metrics: list[Any] = []
