"""Checks of sources: points have the batch's shape, are drawn through `step` only, and do not depend on micro-batches."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from safetensors.torch import load, save
from torch import Tensor

from ...contracts.dataset import Batch, Dataset
from ...contracts.source import Points, Source
from ...errors import BadInput
from ..kit import CheckFailed, at_most, check, must
from ..subject import Subject
from .settings import ROWS, batch_of, data, operator_for, step

__all__ = ["fitted"]


def fitted(subject: Subject) -> Iterator[tuple[Dataset, Source]]:
    """(data, a source fitted to them) for all data that it does not refuse.

    Raises:
        CheckFailed: if it refuses all.
    """
    taken, refusal = 0, ""
    for dataset in data():
        source: Source = subject.build()
        try:
            source.fit(dataset)
        except (BadInput, ValueError) as error:
            refusal = " ".join(str(error).split())
            continue
        taken += 1
        yield dataset, source
    if not taken:
        raise CheckFailed(f"it refuses all data of the kit, the last with: {refusal}")


def _sampled(source: Source, dataset: Dataset, index: int = 0) -> Points:
    return source.sample(batch_of(dataset), step(index), operator_for(dataset))


def _same(a: Points, b: Points) -> bool:
    """Whether two samples are the same, bit for bit."""
    if a.targets is None or b.targets is None:
        return a.targets is b.targets and torch.equal(a.points, b.points)
    return torch.equal(a.points, b.points) and torch.equal(a.targets, b.targets)


@check("source", cause="points must be [B, *shape] like the batch, in its precision, without gradient")
def points_have_the_shape(subject: Subject) -> None:
    """Points, and targets if any, have the batch's shape and precision, are finite and carry no gradient."""
    for dataset, source in fitted(subject):
        for rows in (1, 5):
            for dtype in (torch.float32, torch.float64):
                batch = batch_of(dataset, rows=rows, dtype=dtype)
                given = source.to(dtype).sample(batch, step(), operator_for(dataset).to(dtype))
                must(isinstance(given, Points), f"sample returned {type(given).__name__}, not idemlab.Points")
                fresh = source.fresh(batch, step())
                for name, value in (("points", given.points), ("targets", given.targets), ("fresh points", fresh)):
                    if value is None:
                        continue
                    shape = list(value.shape)
                    must(value.shape == batch.input.shape, f"{name} are {shape}, not {list(batch.input.shape)}")
                    must(value.dtype == dtype, f"{name} are {value.dtype} in a batch of {dtype}")
                    must(bool(torch.isfinite(value).all()), f"{name} are not finite")
                    must(not value.requires_grad, f"{name} carry a gradient: call the operator under no_grad")


@check("source", cause="torch.randn and the like instead of step.normal, step.uniform and step.signs")
def randomness_through_step_only(subject: Subject) -> None:
    """It does not use the global generator, nor depend on it."""
    for dataset, source in fitted(subject):
        samples = []
        for seed in (1, 2):
            torch.default_generator.manual_seed(seed)
            before = torch.get_rng_state()
            samples.append(_sampled(source, dataset))
            must(torch.equal(torch.get_rng_state(), before), "it drew from the global generator")
        must(_same(*samples), "it depends on the seed of the global generator")


@check("source", cause="`fit` or `sample` depends on something other than data and step")
def deterministic(subject: Subject) -> None:
    """Fitted twice, it gives the same points at the same step, and draws other points at other steps."""
    for dataset, source in fitted(subject):
        twin: Source = subject.build()
        twin.fit(dataset)
        first = _sampled(source, dataset)
        must(_same(first, _sampled(twin, dataset)), "two that were fitted to the same data differ")
        now = step()
        source.sample(batch_of(dataset), now, operator_for(dataset))
        if now._draws:
            must(not _same(first, _sampled(source, dataset, index=1)), "it draws, and gives the same at every step")


@check("source", cause="draws that do not have the batch's shape, or points that depend on other rows of the batch")
def cutting_the_batch_changes_nothing(subject: Subject) -> None:
    """The two halves of a batch give the points of the whole, so that the number of processes does not matter."""
    for dataset, source in fitted(subject):
        operator = operator_for(dataset)
        whole = source.sample(batch_of(dataset), step(), operator)
        parts = [batch_of(dataset, half * ROWS // 2, ROWS // 2) for half in (0, 1)]
        halves = [source.sample(part, step(half=half), operator) for half, part in enumerate(parts)]
        _alike("points", whole.points, [half.points for half in halves])
        if whole.targets is not None:
            targets = [half.targets for half in halves if half.targets is not None]
            must(len(targets) == 2, "it gives targets for the whole batch, and none for its halves")
            _alike("targets", whole.targets, targets)


def _alike(name: str, whole: Tensor, halves: list[Tensor]) -> None:
    off = (torch.cat(halves) - whole).norm() / whole.norm().clamp_min(1e-12)
    at_most(off, 1e-6, f"|{name} of the halves - {name} of the whole| / |{name}|")


@check("source", cause="`fresh` is for evaluation and must not depend on the operator: override it")
def fresh_points_need_no_operator(subject: Subject) -> None:
    """Fresh points are the same at the same step, whatever the operator has seen before."""
    for dataset, source in fitted(subject):
        batch = batch_of(dataset)
        before = source.fresh(batch, step())
        _sampled(source, dataset)
        must(torch.equal(source.fresh(batch, step()), before), "sampling changes what is fresh")


@check(
    "source", cause="an in-place operation on the batch, or a call of the operator without no_grad or in another mode"
)
def nothing_is_touched(subject: Subject) -> None:
    """Sampling does not change the batch or the operator."""
    for dataset, source in fitted(subject):
        batch, operator = batch_of(dataset), operator_for(dataset)
        kept = Batch(batch.input.clone(), batch.target.clone())
        state = {name: value.clone() for name, value in operator.state_dict().items()}
        source.sample(batch, step(), operator)
        must(torch.equal(batch.input, kept.input) and torch.equal(batch.target, kept.target), "it changed the batch")
        must(all(torch.equal(v, state[k]) for k, v in operator.state_dict().items()), "it changed the operator")
        must(operator.training, "it switched the operator to evaluation")
        must(all(p.grad is None for p in operator.parameters()), "it left gradients in the operator")


@check(
    "source",
    cause="`fit` keeps its state in a plain attribute: register a buffer, which checkpoints save",
)
def state_round_trips(subject: Subject) -> None:
    """Restored from its state, it gives the original's points, even if fitted to other data (unless it draws from them)."""
    datasets = [dataset for dataset, _ in fitted(subject)]
    for dataset in datasets:
        source, other = subject.build(), subject.build()
        source.fit(dataset)
        _sampled(source, dataset)
        shifted = Dataset.of_tensors(
            *(0.5 * batch_of(dataset, start).input for start in (0, ROWS)), range=(-2.0, 2.0), classes=None
        )
        other.fit(dataset if source.draws_from_data else shifted)
        other.load_state_dict(load(save({k: v.contiguous() for k, v in source.state_dict().items()})))
        expected, restored = _sampled(source, dataset, 1), _sampled(other, dataset, 1)
        must(_same(expected, restored), "restored from its state_dict it gives other points")
