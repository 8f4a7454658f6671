"""The settings of an experiment: tables without named things, with defaults and ranges."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel, BeforeValidator, ConfigDict

from ..certificate.goal import Goal

__all__ = [
    "BestSettings",
    "EvaluationSettings",
    "OptimizerSettings",
    "ReconstructionSettings",
    "StartSettings",
    "StopSettings",
    "TrainingSettings",
]

Share = Annotated[float, Ge(0), Le(1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class StartSettings(_Table):
    """The keys of [model] that every model has.

    Args:
        weights: what to start from: a run folder, a .safetensors file, or the name of an operator, shipped or on the hub.
        weights_sha256: hash of that file, which a run writes into its resolved experiment.
        freeze: patterns of parameters that are not trained, for instance ``encoder.*``.
    """

    weights: Annotated[str, MinLen(1)] | None = None
    weights_sha256: Annotated[str, MinLen(64), MaxLen(64)] | None = None
    freeze: list[str] = []


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
            `muon`: Muon on matrices and AdamW on the rest, with the arguments in the table `adamw`; or one of a plugin.
        lr: highest learning rate.
        schedule: how the rate falls after the warm-up: `constant`, `cosine`, `linear`, `step`, or one of a plugin.
        warmup: share of the run over which the rate rises linearly from 0.
        final: final rate of a falling schedule, as a share of lr.
        clip: largest norm of the gradient; 0 switches clipping off.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    name: str = "adam"
    lr: Annotated[float, Ge(0)] = 1e-3
    schedule: Any = "constant"
    warmup: Share = 0.0
    final: Share = 0.0
    clip: Annotated[float, Ge(0)] = 0.0


class BestSettings(_Table):
    """Which evaluation of a run is the best.

    Args:
        metric: as in the log, ``noise/relative`` say; a metric alone takes its worst value over all inputs.
        maximize: a larger value is better; otherwise a smaller one is.
        minimum_spread: an operator that is narrower than this share of its inputs never counts as the best.
    """

    metric: Annotated[str, MinLen(1)]
    maximize: bool = False
    minimum_spread: Share = 0.05

    @property
    def goal(self) -> Goal:
        """What compares two evaluations."""
        return Goal(metric=self.metric, maximize=self.maximize, minimum_spread=self.minimum_spread)


class StopSettings(BestSettings):
    """When to end a run early.

    Args:
        patience: number of evaluations in a row without an improvement after which the run ends.
        margin: smallest change of the metric that counts as an improvement.
    """

    patience: Annotated[int, Gt(0)] = 5
    margin: Annotated[float, Ge(0)] = 0.0


def _metric_alone(value: Any) -> Any:
    """A metric's name is short for its table, and an empty one stands for none."""
    if not isinstance(value, str):
        return value
    return {"metric": value} if value else None


class TrainingSettings(_Table):
    """How long and how to train.

    Args:
        steps: optimiser steps; or give `epochs` or `flops`.
        epochs: passes over the training set; each pass takes one step per whole batch.
        flops: budget of counted floating-point operations; the preflight turns it into steps.
        batch_size: of the global batch, over all processes and micro-steps.
        micro_batches: number of parts of the global batch, processed one after the other (gradient accumulation).
        seed: of all random draws.
        dtype: of the parameters.
        precision: `bf16` computes the forward in mixed precision.
        compile: `torch.compile` the objective.
        log_every, checkpoint_every: steps between entries in metrics.jsonl and between checkpoints.
        keep: number of checkpoints kept.
        ema: decay of an exponential moving average of the weights; 0 keeps none. After n steps the decay is at most
            (1 + n) / (10 + n), so that the first weights are soon forgotten.
        best: metric whose best evaluation is kept, or a table with further keys (`BestSettings`).
        stop: metric that ends the run when it no longer improves, or a table with further keys (`StopSettings`).
        stop_on_collapse: end the run at the first evaluation that finds f constant at any of its inputs.
        trackers: services that receive the metrics besides metrics.jsonl.
    """

    steps: Annotated[int, Gt(0)] | None = None
    epochs: Annotated[int, Gt(0)] | None = None
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
    ema: Annotated[float, Ge(0), Lt(1)] = 0.0
    best: Annotated[BestSettings | None, BeforeValidator(_metric_alone)] = None
    stop: Annotated[StopSettings | None, BeforeValidator(_metric_alone)] = None
    trackers: list[Any] = []


class EvaluationSettings(_Table):
    """What is measured, where, how often.

    Args:
        every: steps between evaluations; there is always one at the end.
        split: data to evaluate on: the test split, or `validation`, every tenth training sample, which is then not trained
            on; use it to choose settings.
        points: largest number of test samples to use.
        batch_size: samples per forward.
        depth: largest k at which the error of f^k is measured.
        rank_points: samples at which the Jacobian is computed at the end.
        inputs: name -> source of evaluation inputs, besides the test data (`data`).
        metrics: named metrics.
        reject: share of the generated samples to leave out of a second set of metric values, named kept_...: those with
            the largest Jacobian of f, as between classes. 0 leaves out none.
    """

    every: Annotated[int, Gt(0)] = 1000
    split: Literal["test", "validation"] = "test"
    points: Annotated[int, Gt(1)] = 1000
    batch_size: Annotated[int, Gt(0)] = 250
    depth: Annotated[int, Gt(0), Le(10_000)] = 3
    rank_points: Annotated[int, Ge(0)] = 8
    inputs: dict[str, Any] = {"noise": "gaussian"}
    metrics: list[Any] = []
    reject: Annotated[float, Ge(0), Lt(1)] = 0.0
