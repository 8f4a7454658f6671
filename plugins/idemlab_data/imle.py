"""Noise matched to data: for each x the z of a pool whose f(z) is nearest (implicit maximum likelihood, IMLE)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from idemlab import BadInput, Batch, Dataset, Points, Source, Step
from idemlab.orbit import Operator

__all__ = ["ImleSource"]


class ImleSource(Source):
    """z_i = argmin over the pool of |f(z) - x_i|_2, with x_i as its target (arXiv 2511.02614; Li & Malik 2018).

    x is the batch's target, so that it is clean where the reconstruction's inputs are corrupted. A z may be chosen
    for several x. The pool is the same in every process and micro-batch of a step, so that the choice depends on neither:
    each process computes f on its part of the pool, under `no_grad`, and the parts are gathered.

    Args:
        pool: number of z's drawn at each step.
        noise: what they are drawn from; a source that looks at the shape of a batch only.

    Raises:
        BadInput: at a batch with a condition, under which the pool would have to be drawn for each x.
    """

    row_by_row = False

    def __init__(self, pool: int, noise: Source) -> None:
        super().__init__()
        self.pool, self.noise = pool, noise

    def fit(self, dataset: Dataset) -> None:
        self.noise.fit(dataset)

    def sample(self, batch: Batch, step: Step, operator: Operator) -> Points:
        if batch.condition is not None:
            raise BadInput(
                "source 'imle' cannot choose noise for an operator with a condition", next_step="choose another source"
            )
        x = batch.target
        z = self._drawn(x, step)
        y = self._outputs(z, step, operator)
        distance = torch.cdist(x.flatten(1).float(), y.flatten(1).float())
        return Points(z[distance.argmin(1)], x)

    def fresh(self, batch: Batch, step: Step) -> Tensor:
        """Plain noise: nothing is chosen in evaluation."""
        return self.noise.fresh(batch, step)

    def _drawn(self, x: Tensor, step: Step) -> Tensor:
        """The whole pool, [pool, *shape]: a step that knows nothing of shares draws the same everywhere."""
        whole = Step(seed=step.seed, index=step.index, progress=step.progress, purpose=f"{step.purpose}, imle")
        blank = x.new_zeros((self.pool, *x.shape[1:]))
        return self.noise.fresh(Batch(blank, blank), whole)

    @torch.no_grad()
    def _outputs(self, z: Tensor, step: Step, operator: Operator) -> Tensor:
        """f(z) for the whole pool, each process computing an equal part (the last z repeated to fill it)."""
        world, rank = step.shard.world, step.shard.rank
        rows = -(-len(z) // world)
        mine = torch.arange(rank * rows, (rank + 1) * rows, device=z.device).clamp_max(len(z) - 1)
        with _still_statistics(operator):
            y: Tensor = operator(z[mine])
        if world == 1:
            return y
        parts = [torch.empty_like(y) for _ in range(world)]
        torch.distributed.all_gather(parts, y.contiguous())
        return torch.cat(parts)[: len(z)]


@contextmanager
def _still_statistics(operator: nn.Module) -> Iterator[None]:
    """Batch norms use the batch's statistics as in training, but do not learn from it."""
    norms = [
        module
        for module in operator.modules()
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.training and module.track_running_stats
    ]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
