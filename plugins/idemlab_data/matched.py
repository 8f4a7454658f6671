"""Noise matched to data: each noise sample z gets a training sample as the target of f(z)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from idemlab import BadInput, Batch, Dataset, Operator, Points, Source, Step, generator

from .averaged import Average
from .couplings import assignment, check_temperatures, distances, members, soft_coupling
from .spaces import Space, SpaceName

__all__ = ["ImleSource", "MatchedSource", "TransportSource"]


class MatchedSource(Source):
    """A pool of noises and its images under f, from which the subclasses choose.

    The pool is the same in every process and micro-batch of a step, so that the choice depends on neither: each process
    computes f on its part of the pool, under `no_grad`, and the parts are gathered. In evaluation it is plain noise.

    Args:
        pool: number of z's drawn at each step.
        noise: what they are drawn from; a source that looks at the shape of a batch only.

    Raises:
        BadInput: if the noise is made of the data, or is matched to them itself.
    """

    row_by_row = False

    def __init__(self, pool: int, noise: Source) -> None:
        super().__init__()
        if noise.made_of_data:  # there is no batch to make it of: all z would be zero
            raise BadInput(
                "noise that is made of the data cannot be matched to the data",
                where="[source], key 'noise'",
                expected="noise of its own, such as 'gaussian' or 'fourier'",
                next_step="leave 'noise' out for 'gaussian'; to train at the data, too, give several sources",
            )
        if isinstance(noise, MatchedSource):
            raise BadInput(
                "noise that is matched to the data already cannot be matched again: what is drawn of it is plain noise",
                where="[source], key 'noise'",
                expected="noise of its own, such as 'gaussian' or 'fourier'",
                next_step="leave 'noise' out for 'gaussian', or give both as several sources",
            )
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
    def _images(
        self,
        z: Tensor,
        step: Step,
        operator: Operator,
        condition: Tensor | None = None,
        call: Callable[..., Tensor] | None = None,
    ) -> Tensor:
        """f(z), [pool, *shape], as the step computes it, each process an equal part (the last z repeated to fill it).

        Args:
            condition: of the z's, [pool].
            call: another method of the operator that is called in its place.
        """
        world, rank = step.shard.world, step.shard.rank
        rows = -(-len(z) // world)
        mine = torch.arange(rank * rows, (rank + 1) * rows, device=z.device).clamp_max(len(z) - 1)
        autocast = torch.autocast(z.device.type, step.autocast) if step.autocast else nullcontext()
        with _still_statistics(operator), autocast:
            y: Tensor = (call or operator)(z[mine], *(() if condition is None else (condition[mine],))).to(z.dtype)
        if world > 1:
            parts = [torch.empty_like(y) for _ in range(world)]
            torch.distributed.all_gather(parts, y.contiguous())
            y = torch.cat(parts)[: len(z)]
        return y


class ImleSource(MatchedSource):
    """z_i = argmin over the pool of |f(z) - x_i|_2, with x_i as its target (arXiv 2511.02614; Li & Malik 2018).

    x is the batch's target, so that it is clean where the reconstruction's inputs are corrupted. A z may be chosen
    for several x, and a z that is near no x is never taught anything. Under a condition the classes of the data share the
    pool out evenly, and x gets the nearest f(z, c) among the z's of its own class c.
    """

    _classes: int | None = None

    def fit(self, dataset: Dataset) -> None:
        super().fit(dataset)
        self._classes = dataset.classes if dataset.conditions is None else dataset.conditions

    def sample(self, batch: Batch, step: Step, operator: Operator) -> Points:
        z = self._drawn(batch, step)
        if batch.condition is None:
            return Points(z[distances(batch.target, self._images(z, step, operator)).argmin(1)], batch.target)
        classes = self._shared_out(batch.condition)
        apart = distances(batch.target, self._images(z, step, operator, classes))
        others = batch.condition[:, None] != classes[None]
        if bool(others.all(1).any()):
            raise BadInput(
                "source 'imle' met a condition that it does not know",
                where="[dataset] and [source]",
                expected=f"whole numbers, each at least 0 and below {self._classes}",
                next_step="give the number of values of the condition as `conditions` of the idemlab.Dataset",
            )
        return Points(z[apart.masked_fill(others, torch.inf).argmin(1)], batch.target)

    def _shared_out(self, condition: Tensor) -> Tensor:
        """The class of each z, [pool]: the classes in turn, which is as good as drawing them, since the z's are alike.

        Raises:
            BadInput: if the pool has no z for some class.
        """
        count = self._classes
        if count is None:
            raise BadInput(
                "source 'imle' needs the number of classes to divide its pool among them",
                where="[source]",
                expected="an idemlab.Dataset with `conditions`, the number of values of its condition",
            )
        if self.pool < count:
            raise BadInput(
                f"a pool of {self.pool} has no noise for some of {count} classes",
                where="[source], key 'pool'",
                expected=f"a pool of {count} or more; each class gets its share of it",
                next_step=f"set 'pool' of the source to {32 * count}",
            )
        return torch.arange(self.pool, device=condition.device) % count


class TransportSource(MatchedSource):
    """Pairs (z, target) of a coupling that carries a pool of noises to as many training samples at a small total cost.

    **One to one.** sigma = argmin over permutations of sum_i c(f(z_sigma(i)), x_i), and x_i is the target of z_sigma(i),
    with the distance c(y, x) = |y - x|_2 of pixels, or of another `cost`: optimal transport between minibatches (Fatras et
    al. 2020, arXiv 1910.04091; noise as targets: Bojanowski & Joulin 2017). Every z is given a sample and every sample a z,
    so that each kind of sample gets its share of the noise, where the nearest z of `imle` serves as many x as come. The
    samples are its own draws from the training set.

    **Debiased.** The transport between two finite draws of one distribution is not zero: it pulls what f makes to the
    middle of the samples around it, the more so the smaller the pool. `debiased` takes that out by further noises z' with
    their coupling tau = argmin sum_i c(f(z'_tau(i)), f(z_sigma(i))):

        target_i = x_i + f(z_sigma(i)) - f(z'_tau(i)).

    **Soft.** With `temperatures`, the coupling of y = f(z) and x is that of entropic transport, P = N π with rows and
    columns that sum to 1, and the coupling Q of y and y' = f(z') likewise:

        target_i = y_i + Σ_j P_ij x_j - Σ_j Q_ij y'_j.

    Why this is right. The Sinkhorn divergence S(α, β) = OT(α, β) - ½ OT(α, α) - ½ OT(β, β) (Genevay et al. 2018, arXiv
    1706.00292) of α = Σ δ(y_i) / N has, for the cost ½ |y - x|² (`squared`), by the envelope theorem the gradient
    (Σ_j Q_ij y_j - Σ_j P_ij x_j) / N in y_i. So a target of y_i minus N times it makes the gradient of ½ |f(z_i) -
    target_i|² that of S. Two things differ from the formula. First, Q couples y with *other* draws y': with y itself, Q
    becomes the identity as the temperature falls, and nothing of the bias of finite pools is removed. Second, one
    temperature in units of cost serves P and Q: the given share of the mean of both costs. Then exchanging x and y' changes
    the sign of the displacement Px - Qy' and nothing else. So if f(z) has the distribution of the data, its mean is zero
    for every pool, cost and temperature; if x and y' are one cloud, it is zero itself. In the limit of temperature zero the
    targets are those one to one. With the plain distance the displacement is no gradient, but zero under the same
    conditions. Several temperatures use the mean of their couplings, which keeps the marginals. Soft couplings without
    `debiased` have averages of samples as targets, and are refused.

    What is owed, and what differs. Drifting (Deng et al. 2026, arXiv 2602.04770) moves samples by attraction to data minus
    attraction to other samples, with kernels normalised on one side and several temperatures. Sinkhorn-drifting (He et al.
    2026, arXiv 2603.12366) shows that with two-sided couplings, as here, no displacement means equal distributions. W-Flow
    (Han et al. 2026, arXiv 2605.11755) follows the Sinkhorn divergence with the two-batch estimator that is used here. They
    train generators from latents; here f is an operator on the samples' own space that must also keep its images, z has
    their shape, the targets join a reconstruction loss of any distance (the gradient is S's for squared ones), and a
    coupling serves many steps instead of one.

    A coupling serves for `passes` times pool // B steps, each of which takes the next B of its pairs, B being the global
    batch, in a new order in each pass. So a step costs B values of f or less, however large the pool, and the last of these
    steps uses a coupling for the f of that many steps ago. It is kept in buffers, so that a resumed run continues with it.

    Under a condition the i-th z has the class of the i-th sample, and couplings stay inside each class.

    Debiased targets are no samples, and may leave the data's range.

    Args:
        pool: number of z's and of samples in a coupling.
        noise: what they are drawn from.
        debiased: whether the bias of finite pools is taken out of the targets; costs another value of f for each pair.
        temperatures: of soft couplings, as shares of the mean cost; none couples one to one.
        cost: what is compared: `pixels`, the operator's `code`, or features (`pca`, `coarse`). Targets are always samples.
        squared: whether the cost is half the squared distance.
        passes: how often each pair of a coupling is used.
        ema: if positive, f(z) and codes are those of a moving average of the operator's weights with this decay.

    Raises:
        BadInput: if the global batch is larger than the pool, a temperature too small, or the cost does not fit.
    """

    draws_from_data = True
    order: Tensor
    """The coupling: [pool] positions of z's, in the order of the targets."""
    begun: Tensor
    """What it was made for: the seed of its draws."""
    aims: Tensor
    """The targets if `debiased`, [pool, *shape]."""
    _samples_at: Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]] | None = None
    _pairs: tuple[int, Points] | None = None

    def __init__(
        self,
        pool: int,
        noise: Source,
        debiased: bool = False,
        *,
        temperatures: Sequence[float] = (),
        cost: SpaceName = "pixels",
        squared: bool = False,
        passes: int = 1,
        ema: float = 0.0,
    ) -> None:
        super().__init__(pool, noise)
        check_temperatures(temperatures, "[source], key 'temperatures'")
        if temperatures and not debiased:
            raise BadInput(
                "the targets of a soft coupling that is not debiased are averages of samples: f would learn blurred ones",
                where="[source], keys 'temperatures' and 'debiased'",
                next_step="set 'debiased' of the source to true, or leave 'temperatures' out",
            )
        self.debiased, self.temperatures = debiased, tuple(temperatures)
        self.squared, self.passes = squared, passes
        self.space = Space(cost)
        self.average = Average(ema) if ema else None
        self.register_buffer("order", torch.arange(pool))
        self.register_buffer("begun", torch.tensor(-1))
        if debiased:
            self.register_buffer("aims", torch.zeros(0))  # takes the precision of the run before it is given its size

    def fit(self, dataset: Dataset) -> None:
        super().fit(dataset)
        self.space.fit(dataset)

        # A closure, so that copies of the source share the data.
        def samples_at(indices: Tensor, like: Tensor) -> tuple[Tensor, Tensor | None]:
            rows = dataset.train.__getitems__(indices.tolist()).to(like.device, like.dtype, dataset.range)
            return rows.target, rows.condition

        self._samples_at, self._samples = samples_at, len(dataset.train)
        if self.debiased:
            self.aims = self.aims.new_zeros(self.pool, *dataset.shape)

    def period(self, rows: int) -> int:
        return self.passes * max(1, self.pool // rows)

    def sample(self, batch: Batch, step: Step, operator: Operator) -> Points:
        rows, everyone = len(batch), len(batch) * step.shard.count
        if everyone > self.pool:
            raise BadInput(
                f"a pool of {self.pool} cannot serve a batch of {everyone}",
                where="[source], key 'pool'",
                expected="a pool at least as large as [training], key 'batch_size'",
                next_step=f"set 'pool' of the source to {everyone}",
            )
        if self.average is not None:
            self.average.follow(operator, step.index)
        turn = step.index % self.period(everyone)
        begin = step.index - turn
        pairs = self._coupled(batch, step, begin, operator)
        lap, turn = divmod(turn, self.pool // everyone)
        first = turn * everyone + step.shard.index * rows
        mine: slice | Tensor = slice(first, first + rows)
        if lap > 0:
            again = torch.randperm(self.pool, generator=generator(step.seed, begin, f"{step.purpose}, pass {lap}"))
            mine = again[mine].to(pairs.points.device)
        return Points(*(None if t is None else t[mine] for t in pairs))  # type: ignore[arg-type]

    def _coupled(self, batch: Batch, step: Step, begin: int, operator: Operator) -> Points:
        """z's [pool, *shape] with their targets and conditions, by the coupling that was made at step `begin`."""
        stream = generator(step.seed, begin, f"{step.purpose}, transport")
        key = stream.initial_seed()
        if self._pairs is None or self._pairs[0] != key or self._pairs[1].points.dtype != batch.target.dtype:
            assert self._samples_at is not None, "fit comes first"
            x, condition = self._samples_at(torch.randint(self._samples, (self.pool,), generator=stream), batch.target)
            z = self._drawn(batch, Step(seed=step.seed, index=begin, purpose=step.purpose, shard=step.shard))
            if self.begun.item() != key:
                inside = nullcontext() if self.average is None else self.average.inside(operator)
                with torch.no_grad(), inside:
                    self._couple(Points(z, x, condition), batch, step, begin, operator)
                self.begun.fill_(key)
            target = self.aims.to(x.dtype, copy=True) if self.debiased else x  # what was handed out stays
            self._pairs = key, Points(z[self.order], target, condition)
        return self._pairs[1]

    def _couple(self, drawn: Points, batch: Batch, step: Step, begin: int, operator: Operator) -> None:
        """The coupling of this step, into the buffers: f will have changed when the run continues from a checkpoint."""
        z, x, classes = drawn
        assert x is not None, "each z is coupled with samples"
        encode = self.space.encoder(operator)

        def seen(points: Tensor) -> Tensor:
            codes = points if encode is None else self._images(points, step, operator, classes, encode)
            rows: Tensor = self.space(codes)
            return rows

        y = self._images(z, step, operator, classes)
        of_x, of_y = seen(x), seen(y)
        if not self.debiased:
            self.order.copy_(assignment(distances(of_x, of_y, squared=self.squared), classes))
            return
        purpose = f"{step.purpose}, debiasing"
        again = self._drawn(batch, Step(seed=step.seed, index=begin, purpose=purpose, shard=step.shard))
        further = self._images(again, step, operator, classes)
        other = seen(further)
        if not self.temperatures:
            self.order.copy_(assignment(distances(of_x, of_y, squared=self.squared), classes))
            y, of_y = y[self.order], of_y[self.order]
            self.aims.copy_(x + (y - further[assignment(distances(of_y, other, squared=self.squared), classes)]))
            return
        for rows in members(classes, len(y)):
            to_data, to_itself = (distances(of_y[rows], p[rows], squared=self.squared) for p in (of_x, other))
            scale = float(to_data.mean() + to_itself.mean()) / 2 or 1.0
            heat = [scale * temperature for temperature in self.temperatures]
            drawn_to, repelled = (
                (soft_coupling(cost, heat).to(y.dtype) @ points[rows].flatten(1)).view(y[rows].shape)
                for cost, points in ((to_data, x), (to_itself, further))
            )
            self.aims[rows] = (y[rows] + (drawn_to - repelled)).to(self.aims.dtype)


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
