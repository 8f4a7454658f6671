"""Noise matched to data: z's whose f(z) become samples of the training set, so that noise has something to become."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from idemlab import BadInput, Batch, Dataset, Operator, Points, Source, Step, generator

__all__ = ["ImleSource", "MatchedSource", "TransportSource"]

_Matrix = npt.NDArray[np.float32]


class MatchedSource(Source):
    """A pool of noises and its images under f, from which the subclasses choose.

    The pool is the same in every process and micro-batch of a step, so that the choice depends on neither: each process
    computes f on its part of the pool, under `no_grad`, and the parts are gathered. In evaluation it is plain noise.

    Under a condition, which must be a class number for each sample, each z has a class, and is matched inside it alone.

    Args:
        pool: number of z's drawn at each step.
        noise: what they are drawn from; a source that looks at the shape of a batch only.
    """

    row_by_row = False

    def __init__(self, pool: int, noise: Source) -> None:
        super().__init__()
        self.pool, self.noise = pool, noise

    def fit(self, dataset: Dataset) -> None:
        self.noise.fit(dataset)

    def fresh(self, batch: Batch, step: Step) -> Tensor:
        """Plain noise: nothing is chosen in evaluation."""
        return self.noise.fresh(batch, step)

    def _drawn(self, batch: Batch, step: Step) -> Tensor:
        """The whole pool, [pool, *shape]: a step that knows nothing of shares draws the same everywhere.

        Raises:
            BadInput: at a batch whose condition is no class.
        """
        c = batch.condition
        if c is not None and (c.ndim != 1 or c.is_floating_point() or c.is_complex()):
            raise BadInput(
                f"noise is matched to data inside classes, and the condition has the shape {list(c.shape)} and the type "
                f"{str(c.dtype).removeprefix('torch.')}",
                where="[source]",
                expected="a class number for each sample",
                next_step="choose another source, 'gaussian' say",
            )
        whole = Step(seed=step.seed, index=step.index, progress=step.progress, purpose=f"{step.purpose}, imle")
        blank = batch.target.new_zeros((self.pool, *batch.target.shape[1:]))
        return self.noise.fresh(Batch(blank, blank), whole)

    @torch.no_grad()
    def _images(self, z: Tensor, step: Step, operator: Operator, condition: Tensor | None = None) -> Tensor:
        """f(z), [pool, *shape], each process computing an equal part (the last z repeated to fill it).

        Args:
            condition: of the z's, [pool].
        """
        world, rank = step.shard.world, step.shard.rank
        rows = -(-len(z) // world)
        mine = torch.arange(rank * rows, (rank + 1) * rows, device=z.device).clamp_max(len(z) - 1)
        with _still_statistics(operator):
            y: Tensor = operator(z[mine], *(() if condition is None else (condition[mine],)))
        if world > 1:
            parts = [torch.empty_like(y) for _ in range(world)]
            torch.distributed.all_gather(parts, y.contiguous())
            y = torch.cat(parts)[: len(z)]
        return y


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """|y_j - x_i|_2, [N, M]."""
    return torch.cdist(x.flatten(1).float(), y.flatten(1).float())


def _carried(x: Tensor, y: Tensor, classes: Tensor | None = None) -> Tensor:
    """sigma = argmin over permutations of sum_i |y_sigma(i) - x_i|_2, as numbers [N].

    Args:
        classes: of both the i-th y and the i-th x, [N]; sigma then stays inside each class.
    """
    if classes is not None:
        within = torch.empty_like(classes, dtype=torch.long)
        for each in classes.unique():  # type: ignore[no-untyped-call]
            rows = (classes == each).nonzero()[:, 0]
            within[rows] = rows[_carried(x[rows], y[rows])]
        return within
    _, order = linear_sum_assignment(_reduced(_distances(x, y).cpu().numpy()))
    return torch.as_tensor(order, device=x.device)


def _reduced(cost: _Matrix, *, steps: int = 50) -> _Matrix:
    """cost_ij - u_i - v_j, [N, N]: it has the same best permutations, and SciPy finds them several times as fast.

    u and v are nearly the dual solution, by Sinkhorn's iteration at a temperature far below the spread of the costs. The
    search for shortest augmenting paths would otherwise begin with u = v = 0.
    """
    temperature = 0.1 * cost.std()
    if not temperature > 0:  # one pair, or all costs equal
        return cost
    u = cost.min(1)
    kernel = np.exp((u[:, None] - cost) / temperature)
    tiny = np.finfo(kernel.dtype).tiny
    b = np.ones_like(u)
    for _ in range(steps):
        a = 1 / np.maximum(kernel @ b, tiny)
        b = 1 / np.maximum(a @ kernel, tiny)
    reduced: _Matrix = cost - (u + temperature * np.log(a))[:, None] - temperature * np.log(b)
    return reduced


class ImleSource(MatchedSource):
    """z_i = argmin over the pool of |f(z) - x_i|_2, with x_i as its target (arXiv 2511.02614; Li & Malik 2018).

    x is the batch's target, so that it is clean where the reconstruction's inputs are corrupted. A z may be chosen
    for several x, and a z that is near no x is never taught anything. Under a condition the classes of the data share the
    pool out evenly, and x gets the nearest f(z, c) among the z's of its own class c.
    """

    _classes: int | None = None

    def fit(self, dataset: Dataset) -> None:
        super().fit(dataset)
        self._classes = dataset.classes

    def sample(self, batch: Batch, step: Step, operator: Operator) -> Points:
        z = self._drawn(batch, step)
        if batch.condition is None:
            return Points(z[_distances(batch.target, self._images(z, step, operator)).argmin(1)], batch.target)
        classes = self._shared_out(batch.condition)
        distances = _distances(batch.target, self._images(z, step, operator, classes))
        others = batch.condition[:, None] != classes[None]
        return Points(z[distances.masked_fill(others, torch.inf).argmin(1)], batch.target)

    def _shared_out(self, condition: Tensor) -> Tensor:
        """The class of each z, [pool]: the classes in turn, which is as good as drawing them, since the z's are alike.

        Raises:
            BadInput: if the pool has no z for some class.
        """
        count = self._classes
        if count is None:
            raise BadInput(
                "source 'imle' needs the number of classes to share its pool out",
                where="[source]",
                expected="an idemlab.Dataset with `classes`",
            )
        if self.pool < count:
            raise BadInput(
                f"a pool of {self.pool} has no noise for some of {count} classes",
                where="[source], key 'pool'",
                expected=f"a pool of {count} or more; each class gets its share of it",
                next_step=f"set source.pool = {32 * count}",
            )
        return torch.arange(self.pool, device=condition.device) % count


class TransportSource(MatchedSource):
    """Pairs (z, x) of the plan that carries a pool of noises to as many training samples at the least total distance.

    sigma = argmin over permutations of sum_i |f(z_sigma(i)) - x_i|_2: optimal transport between minibatches (Fatras et al.
    2020, arXiv 1910.04091; noise as targets: Bojanowski & Joulin 2017). Every z is given a sample and every sample a z, so
    that each kind of sample gets its share of the noise, where the nearest z of `imle` serves as many x as come.
    The samples are its own draws from the training set. A plan serves for pool // B steps, each of which takes the next B
    of its pairs, B being the global batch: so a step costs B values of f, however large the pool, and the last of these
    steps uses a plan for the f of that many steps ago. The plan is kept in buffers: a run goes on with it. Under a
    condition the i-th z has the class of the i-th sample, and pairs are made inside each class.

    The transport between two finite draws of one distribution is not zero: it pulls what f makes to the middle of the
    samples around it, the more so the smaller the pool. `debiased` takes that out, as a Sinkhorn divergence does (Genevay et
    al. 2018, arXiv 1706.00292), by further noises z' with their plan tau = argmin sum_i |f(z'_tau(i)) - f(z_sigma(i))|_2:

        target_i = x_i + f(z_sigma(i)) - f(z'_tau(i)),

    as the gradient of ½ |f(z) - target|^2 is that of W(f(z), x) - ½ W(f(z), f(z')) where W sums ½ |.|^2. If f(z) has the
    distribution of the data, then x_i and f(z'_tau(i)) have one, too, and what is added has mean and median zero. These
    targets are no samples, and may leave the data's range.

    Args:
        pool: number of z's and of samples in a plan.
        noise: what they are drawn from.
        debiased: whether the bias of finite pools is taken out of the targets; costs another value of f for each pair.

    Raises:
        BadInput: if the global batch is larger than the pool.
    """

    draws_from_data = True
    order: Tensor
    """The plan: [pool] positions of z's, in the order of the samples."""
    begun: Tensor
    """What it was made for: the seed of its draws."""
    shift: Tensor
    """f(z) - f(z'), [pool, *shape], in the order of the samples; there if `debiased`."""
    _targets: Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]] | None = None
    _pairs: tuple[int, Points] | None = None

    def __init__(self, pool: int, noise: Source, debiased: bool = False) -> None:
        super().__init__(pool, noise)
        self.debiased = debiased
        self.register_buffer("order", torch.zeros(pool, dtype=torch.long))
        self.register_buffer("begun", torch.tensor(-1))
        if debiased:
            self.register_buffer("shift", torch.zeros(0))  # takes the precision of the run before it is given its size

    def fit(self, dataset: Dataset) -> None:
        super().fit(dataset)

        # A closure, so that copies of the source share the data.
        def targets(indices: Tensor, like: Tensor) -> tuple[Tensor, Tensor | None]:
            rows = dataset.train.__getitems__(indices.tolist()).to(like.device, like.dtype, dataset.range)
            return rows.target, rows.condition

        self._targets, self._samples = targets, len(dataset.train)
        if self.debiased:
            self.shift = self.shift.new_zeros(self.pool, *dataset.shape)

    def period(self, rows: int) -> int:
        return max(1, self.pool // rows)

    def sample(self, batch: Batch, step: Step, operator: Operator) -> Points:
        rows, everyone = len(batch), len(batch) * step.shard.count
        if everyone > self.pool:
            raise BadInput(
                f"a pool of {self.pool} cannot serve a batch of {everyone}",
                where="[source], key 'pool'",
                expected="a pool at least as large as [training], key 'batch_size'",
                next_step=f"set source.pool = {everyone}",
            )
        turn = step.index % self.period(everyone)
        z, x, condition = self._plan(batch, step, step.index - turn, operator)
        first = turn * everyone + step.shard.index * rows
        mine = slice(first, first + rows)
        return Points(z[mine], None if x is None else x[mine], None if condition is None else condition[mine])

    def _plan(self, batch: Batch, step: Step, begin: int, operator: Operator) -> Points:
        """z's [pool, *shape] with their targets and conditions, by the plan that was made at step `begin`."""
        stream = generator(step.seed, begin, f"{step.purpose}, transport")
        key = stream.initial_seed()
        if self._pairs is None or self._pairs[0] != key or self._pairs[1].points.dtype != batch.target.dtype:
            assert self._targets is not None, "fit comes first"
            x, condition = self._targets(torch.randint(self._samples, (self.pool,), generator=stream), batch.target)
            z = self._drawn(batch, Step(seed=step.seed, index=begin, purpose=step.purpose, shard=step.shard))
            if self.begun.item() != key:
                self._find(Points(z, x, condition), batch, step, begin, operator)
                self.begun.fill_(key)
            target = x + self.shift.to(x.dtype) if self.debiased else x
            self._pairs = key, Points(z[self.order], target, condition)
        return self._pairs[1]

    def _find(self, drawn: Points, batch: Batch, step: Step, begin: int, operator: Operator) -> None:
        """The plan of this step, into the buffers: f will be another when the run goes on from a checkpoint."""
        z, x, classes = drawn
        assert x is not None, "each z is paired with a sample"
        y = self._images(z, step, operator, classes)
        self.order.copy_(_carried(x, y, classes))
        if self.debiased:
            y = y[self.order]
            purpose = f"{step.purpose}, debiasing"
            further = self._drawn(batch, Step(seed=step.seed, index=begin, purpose=purpose, shard=step.shard))
            other = self._images(further, step, operator, classes)
            self.shift.copy_(y - other[_carried(y, other, classes)])


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
