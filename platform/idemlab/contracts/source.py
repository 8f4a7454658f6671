"""The contract of a source: where the points come from at which idempotence is enforced."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from .dataset import Batch, Dataset
from .orbit import Operator
from .step import Step

__all__ = ["Points", "Source"]


class Points(NamedTuple):
    """points [B, *shape] and, if the source knows what f should make of them, targets [B, *shape]."""

    points: Tensor
    targets: Tensor | None = None


class Source(nn.Module):
    """Base of all sources. It is a module so that what `fit` learns is kept in buffers and checkpointed."""

    made_of_data: bool = False
    """Whether its fresh points are made of the batch's own samples, so that the batch's targets are theirs."""

    row_by_row: bool = True
    """Whether each point depends on its own row of the batch and on draws for that row alone; not where points are chosen
    by comparison, or draws have other shapes than the batch."""

    draws_from_data: bool = False
    """Whether `sample` draws from the data set that it was fitted to, so that its state alone does not restore it."""

    def fit(self, dataset: Dataset) -> None:
        """Learn what is needed of the data, once, before training."""

    def period(self, rows: int) -> int:
        """Over how many steps, with `rows` in the global batch, what the first of them computes is spread."""
        return 1

    def sample(self, batch: Batch, step: Step, operator: Operator) -> Points:
        """Points for this batch. Where targets are given, D(f(points), targets) joins the reconstruction.

        Args:
            batch: floating-point batch on the device.
            step: the only randomness.
            operator: call it under `torch.no_grad()`, if at all.
        """
        raise NotImplementedError

    def fresh(self, batch: Batch, step: Step) -> Tensor:
        """Points for evaluation, [B, *shape]: like `sample`, but never chosen with the operator's help."""
        return self.sample(batch, step, nn.Identity()).points
