"""The objective: operator, enforcer and sources in one module that turns one batch into one loss.

The objective is the only module that is prepared and wrapped, because data-parallel engines, autocast and compilers expect
one forward per micro-step. In a distributed run, only the objective calls the operator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial, reduce

import torch
from torch import Tensor, nn

from ..contracts.dataset import Batch
from ..contracts.enforcer import Distance, Enforcer, rows
from ..contracts.joined import Joined
from ..contracts.orbit import Operator, Orbit
from ..contracts.source import Points, Source
from ..contracts.step import Step
from ..system.phases import phase

__all__ = ["Objective", "Through", "Values"]

Values = dict[str, Tensor]
"""Detached measured values of one step, by name: scalars, or one value for each replica, [R]."""


class Objective(nn.Module):
    """The training loss: mean(weight * reconstruction + sum over sources of the enforcement).

    Args:
        operator: f; the enforcer may wrap it (kind architecture).
        enforcer: makes it idempotent at the points of the sources.
        sources: where idempotence is enforced. None in the list stands for the inputs of the reconstruction, whose orbit
            is then shared.
        corruption: makes the reconstruction's inputs u from the batch; None uses the batch itself.
        weight: of the reconstruction; 0 leaves it out.
        distance: D of the reconstruction.
        replicas: R, where the operator stands for R independent ones (`Stacked`): batches are [R*B, *shape], the loss is
            the sum over replicas of their batch means, and values are [R].

    Attributes:
        prefix: of the names of the model's tensors in the state of the operator, which the enforcer may have wrapped; None
            if the wrapping renamed them otherwise, or replaced some.
        added: the names of what the enforcer added to the model's tensors, in the state of the operator.
        joins: whether all orbits of a step go through the operator in the same calls. The preflight sets it where that
            changes nothing but rounding.
    """

    def __init__(
        self,
        operator: Operator,
        enforcer: Enforcer,
        sources: list[Source | None],
        *,
        corruption: Source | None = None,
        weight: float = 1.0,
        distance: Distance,
        replicas: int | None = None,
    ) -> None:
        super().__init__()
        model = operator.state_dict(keep_vars=True)
        self.operator = enforcer.wrap(operator)
        wrapped, own = self.operator.state_dict(keep_vars=True), set(map(id, model.values()))
        self.prefix = prefix_in(wrapped, model)
        self.added = tuple(name for name, tensor in wrapped.items() if id(tensor) not in own)
        self.enforcer = enforcer
        self.corruption = corruption
        self.sources = nn.ModuleList([source for source in sources if source is not None])
        self._at_data = any(source is None for source in sources)
        self._weight = weight
        self._distance = distance
        self._replicas = replicas
        self.joins = False

    def forward(self, batch: Batch, step: Step | None = None, mode: str = "train") -> tuple[Tensor, Values]:
        """One loss and its values (mode "train"), f(input) and no values (mode "apply"), or another method of the operator
        at the input, and no values (mode "encode", say).

        `batch` is a `Batch` in floating point on the module's device.
        """
        if mode == "apply":
            return Orbit(self.operator, batch.input, batch.condition).output, {}
        if mode != "train":
            return Orbit(self.operator, batch.input, batch.condition).call(mode, batch.input), {}
        assert step is not None, "training needs a step"
        return self._train(batch, step)

    def _train(self, batch: Batch, step: Step) -> tuple[Tensor, Values]:
        points: list[tuple[Tensor, Tensor | None, bool]] = []
        targets: list[Tensor | None] = []
        if self._weight > 0 or self._at_data:
            batch = self._inputs(batch, step)
            points.append((batch.input, batch.condition, self._at_data))
            targets.append(batch.target)
        for source in self.sources:
            x, target, condition = self._sampled(source, batch, step)  # type: ignore[arg-type]
            points.append((x, batch.condition if condition is None else condition, True))
            targets.append(target)
        goals = [target if self._weight > 0 else None for target in targets]
        needed = [goal is not None for goal in goals]
        orbits, enforcing = self._orbits(points, needed)
        enforced = [orbit for orbit, (_, _, enforced) in zip(orbits, points, strict=True) if enforced]
        pairs = [(orbit, goal) for orbit, goal in zip(orbits, goals, strict=True) if goal is not None]
        if pairs:
            step.reconstruct_by(partial(self._reconstruction, pairs, torch.is_grad_enabled()))
        if pairs and (all(needed) or not self.joins):
            _ = step.reconstruction  # before the enforcer's loss, as in the formulas: the order decides the rounding
        # Otherwise the enforcer comes first. What it asks for, f computes in one call with what the reconstruction needs.
        with enforcing:
            enforcements = [self.enforcer(orbit, step) for orbit in enforced]
        values: Values = {}
        losses: list[Tensor] = []
        if pairs:
            reconstruction = step.reconstruction
            losses.append(reconstruction if self._weight == 1 else self._weight * reconstruction)
            values["reconstruction"] = self._mean(reconstruction.detach())
        for enforcement in enforcements:
            if enforcement.loss is not None:
                losses.append(enforcement.loss)
            for name, value in enforcement.reported.items():
                values[name] = values.get(name, 0) + self._mean(value.detach()) / len(enforced)
        loss = self._mean(_total(losses) if losses else batch.input.new_zeros(len(batch)))
        values["loss"] = loss.detach()
        if step.measured:
            values |= self._idempotence(enforced, step)
        return loss if self._replicas is None else loss.sum(), values

    def _reconstruction(self, pairs: Sequence[tuple[Orbit, Tensor]], graded: bool) -> Tensor:
        """D(f(u), t) of orbits and their targets, summed, [B]; with its gradient even where an enforcer reads it without."""
        with torch.set_grad_enabled(graded):
            return _total([self._distance(orbit.output, target) for orbit, target in pairs])

    def _orbits(
        self, points: list[tuple[Tensor, Tensor | None, bool]], needed: list[bool]
    ) -> tuple[Sequence[Orbit], AbstractContextManager[None]]:
        """The orbits of points, joined where that is possible, and the block in which the enforcer uses them."""
        if not self.joins or len(points) == 1:
            return [Orbit(self.operator, x, condition) for x, condition, _ in points], nullcontext()
        group = Joined(self.operator, [(*point, need) for point, need in zip(points, needed, strict=True)])
        return group.orbits, group.enforced()

    def _inputs(self, batch: Batch, step: Step) -> Batch:
        """The batch as the reconstruction sees it, after any corruption."""
        if self.corruption is None:
            return batch
        points, targets, condition = self._sampled(self.corruption, batch, step)
        return batch.replace(
            input=points,
            target=batch.target if targets is None else targets,
            condition=batch.condition if condition is None else condition,
        )

    def _sampled(self, source: Source, batch: Batch, step: Step) -> Points:
        """What a source makes, outside of autocast: samples are turned, blurred and compared in their own precision."""
        kind = batch.input.device.type
        with phase("source"):
            if not torch.is_autocast_enabled(kind):
                return source.sample(batch, step, self.operator)
            step.autocast = torch.get_autocast_dtype(kind)
            with torch.autocast(kind, enabled=False):
                return source.sample(batch, step, self.operator)

    def _mean(self, values: Tensor) -> Tensor:
        """The mean over the batch, [], or over each replica's batch, [R]."""
        return values.mean() if self._replicas is None else values.view(self._replicas, -1).mean(1)

    @torch.no_grad()
    def _idempotence(self, orbits: list[Orbit], step: Step) -> Values:
        """Absolute and relative idempotence error over the rows of all processes, and the spread of f(x) as a share of the
        spread of x. Empty if the enforcer did not compute f(f(x))."""
        triples = [(rows(o.input.detach()), rows(o.ahead(0)), rows(o.ahead(1))) for o in orbits if o.known(2)]
        if not triples:
            return {}
        absolute, change, spread, given = [], [], [], []
        for x, y, after in triples:
            difference = after - y
            absolute.append(self._mean_absolute(difference))
            change.append(self._squares(difference))
            spread.append(self._squares(self._around(y, step)))
            given.append(self._squares(self._around(x, step)))
        sums = [_total(each) for each in (change, spread, given)]
        changes, spreads, inputs = sums if step.shard.world == 1 else step.mean(torch.stack(sums)[None])
        relative = (changes / spreads.clamp_min(1e-24)).sqrt()
        share = (spreads / inputs.clamp_min(1e-24)).sqrt()
        return {"idempotence": _total(absolute) / len(triples), "relative": relative, "spread": share}

    def _mean_absolute(self, points: Tensor) -> Tensor:
        """The mean of |p_i| over the entries of the rows p of [B, n], or of each replica's batch."""
        return points.abs().mean() if self._replicas is None else self._mean(points.abs().mean(1))

    def _squares(self, points: Tensor) -> Tensor:
        """The sum of |p|^2 over the rows p of [B, n], or of each replica's batch."""
        if self._replicas is None:  # one product, which takes a third of the time
            flat = points.reshape(-1)
            return torch.dot(flat, flat)
        return points.square().reshape(self._replicas, -1).sum(1)

    def _around(self, points: Tensor, step: Step) -> Tensor:
        """Points [B, n] less their mean over the rows of all processes, or over each replica's batch."""
        if self._replicas is None:
            return points - (points.mean(0) if step.shard.world == 1 else step.mean(points))
        own = points.view(self._replicas, -1, points.shape[1])
        return (own - own.mean(-2, keepdim=True)).reshape(points.shape)


def _total(terms: Sequence[Tensor]) -> Tensor:
    """Their sum. One term is its own: most steps have one, and on small networks each operation is a share of the step."""
    return reduce(torch.add, terms)


def prefix_in(wrapped: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> str | None:
    """What stands before the names of a model's tensors in the state of the operator that was made of it."""
    for name in wrapped if model else ():
        first = next(iter(model))
        prefix = name.removesuffix(first)
        same = (wrapped.get(prefix + key) is tensor or key.endswith("_extra_state") for key, tensor in model.items())
        if name.endswith(first) and all(same):
            return prefix
    return None if model else ""


class Through:
    """f and the operator's other methods, called through the wrapped objective, as distributed engines require.

    Args:
        objective: as the engine wrapped it.
        operator: the operator inside, which says what methods there are.
    """

    def __init__(self, objective: nn.Module, operator: Operator) -> None:
        self._objective, self._operator = objective, operator

    def __call__(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return self._run("apply", x, condition)

    def __getattr__(self, name: str) -> Callable[..., Tensor]:
        if name.startswith("_") or not callable(getattr(self._operator, name, None)):
            raise AttributeError(f"the operator has no method '{name}'")
        return lambda x, condition=None: self._run(name, x, condition)

    def _run(self, mode: str, x: Tensor, condition: Tensor | None) -> Tensor:
        out: Tensor = self._objective(Batch(x, x, condition), mode=mode)[0]
        return out
