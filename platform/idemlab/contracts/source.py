"""The contract of a source: it supplies the points at which idempotence is enforced."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from .dataset import Batch, Dataset
from .orbit import Operator
from .step import Step

__all__ = ["Points", "Source"]


class Points(NamedTuple):
    """points [B, *shape] and, if the source knows what f should return for them, targets [B, *shape].

    Each point has the condition of its row of the batch, unless the source gives conditions of its own, [B, ...].
    """

    points: Tensor
    targets: Tensor | None = None
    condition: Tensor | None = None


class Source(nn.Module):
    """Base of all sources. A source is a module, so that buffers set by `fit` are checkpointed."""

    made_of_data: bool = False
    """Whether fresh points are made from the batch's samples, so that the batch's targets apply to them."""

    row_by_row: bool = True
    """Whether each point depends only on its own row of the batch and on draws for that row. False where points are chosen
    by comparison, or where draws differ in shape from the batch."""

    draws_from_data: bool = False
    """Whether `sample` draws from the fitted data set, so that the state alone does not restore the source."""

    def fit(self, dataset: Dataset) -> None:
        """Learn what the source needs from the data. Called once, before training."""

    def period(self, rows: int) -> int:
        """Number of steps that share one computation, with `rows` in the global batch."""
        return 1

    def sample(self, batch: Batch, step: Step, operator: Operator) -> Points:
        """Points for this batch. Where targets are given, D(f(points), targets) joins the reconstruction.

        It runs outside of autocast; `step.autocast` is what the operator computes in.

        Args:
            batch: floating-point batch on the device.
            step: the only randomness.
            operator: call it under `torch.no_grad()`, if at all.
        """
        raise NotImplementedError

    def fresh(self, batch: Batch, step: Step) -> Tensor:
        """Points for evaluation under the batch's conditions, [B, *shape]: like `sample`, but without the operator."""
        return self.sample(batch, step, nn.Identity()).points
