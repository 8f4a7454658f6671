"""Checks under a condition: models, sources and enforcers of an operator f(x, c), c being the class of each sample."""

from __future__ import annotations

import torch
from torch import Tensor

from ...contracts.orbit import Operator
from ...contracts.source import Points, Source
from ...contracts.specs import EnforcerKind
from ...contracts.step import Step
from ...errors import BadInput
from ..callables import is_called
from ..kit import at_most, check, must
from ..operators import CLASSES, Scaled
from ..subject import Subject
from ..trials import Pass, Trial, begun, draws, has_loss, one_pass, suitable
from .models import taken
from .settings import ROWS, batch_of, conditioned, operator_for, step
from .sources import fitted

__all__: list[str] = []

# -- enforcers ----------------------------------------------------------------------------------------------------------


@check(
    "enforcer",
    applies=lambda traits: has_loss(traits) or EnforcerKind.ARCHITECTURE in traits.kinds,
    cause="it calls the operator itself, without the condition: use orbit.apply, live, ahead, frozen and call; a wrapped "
    "operator takes (x, *condition) and passes it on",
)
def a_condition_goes_with_its_samples(subject: Subject) -> None:
    """Under one class f(., c) is treated as the operator that it is, and each sample is treated under its own class."""
    if is_called(subject.enforcer()):
        return  # the loss of a loop of one's own gets f(x)
    for shape, operator in suitable(subject):
        x = draws(shape, 6)
        same = torch.ones(len(x), dtype=torch.long)
        if isinstance(operator, Scaled):  # the enforcer takes no f(x)
            _each_under_its_own(begun(subject, operator)[1], x)
            continue
        if EnforcerKind.ARCHITECTURE in subject.traits.kinds:
            with torch.no_grad():
                y, expected = begun(subject, Scaled(operator))[1](x, same), begun(subject, Scaled(operator, 1))[1](x)
            at_most(_off(y, expected), 1e-9, "|wrapped f(x, c) - wrapped f(., c) at x|, as a share")
        if not has_loss(subject.traits):
            continue
        under, alone = _enforced(subject, Scaled(operator), x, same), _enforced(subject, Scaled(operator, 1), x)
        at_most(_off(under.loss, alone.loss), 1e-9, "|losses under one class - losses of f(., c)|, as a share")
        at_most(_off(under.flat, alone.flat), 1e-8, "|gradient under one class - gradient of f(., c)|, as a share")
        if subject.traits.batch_coupled:
            continue
        mixed = torch.arange(len(x)) * CLASSES // len(x)
        whole = _enforced(subject, Scaled(operator), x, mixed).loss
        halves = [
            _enforced(subject, Scaled(operator), part, own, half).loss
            for half, (part, own) in enumerate(zip(x.chunk(2), mixed.chunk(2), strict=True))
        ]
        at_most(_off(torch.cat(halves), whole), 1e-8, "|losses in halves - losses in the whole|, as a share")


@torch.no_grad()
def _each_under_its_own(f: Operator, x: Tensor) -> None:
    """Check that f(x, c) differs by class, and that a batch of several classes is as its samples one by one."""
    mixed = torch.arange(len(x)) % CLASSES
    together, other = f(x, mixed), f(x, (mixed + 1) % CLASSES)
    alone = torch.cat([f(x[i : i + 1], mixed[i : i + 1]) for i in range(len(x))])
    at_most(_off(alone, together), 1e-9, "|wrapped f(batch, c) - one by one|, as a share")
    must(bool((other != together).flatten(1).any(1).all()), "another class gives the same wrapped f(x, c)")


def _enforced(
    subject: Subject, operator: Operator, x: Tensor, condition: Tensor | None = None, half: int | None = None
) -> Pass:
    enforcer, wrapped = begun(subject, operator)

    def under(points: Tensor) -> Tensor:
        y: Tensor = wrapped(points) if condition is None else wrapped(points, condition)
        return y

    return one_pass(enforcer, wrapped, x, Trial(under, x, half=half), condition)


def _off(value: Tensor, expected: Tensor) -> float:
    """|value - expected| / |expected|; 0 where both are zero."""
    difference = float((value - expected).norm())
    return difference and difference / max(float(expected.norm()), 1e-300)


# -- models -------------------------------------------------------------------------------------------------------------


@check(
    "model",
    cause="`classes` is not used, or forward mixes up the classes of its samples; give each class parameters, and take the "
    "class numbers [B] as second argument",
)
def takes_a_condition(subject: Subject) -> None:
    """A conditional model f(x, c) keeps the shape, differs by class, and treats each sample under its own class alone."""
    if not subject.conditional:
        return
    for shape, f in taken(subject, CLASSES):
        x, c = draws(shape, 6), torch.arange(6) % CLASSES
        y = f(x, c)
        must(y.shape == x.shape, f"samples {list(x.shape)} became {list(y.shape)}")
        y.square().mean().backward()
        without = [name for name, p in f.named_parameters() if p.requires_grad and p.grad is None]
        must(not without, f"no gradient reaches {', '.join(without)}")
        with torch.no_grad():
            f.eval()
            together, alone = f(x, c), torch.cat([f(x[i : i + 1], c[i : i + 1]) for i in range(len(x))])
            at_most(_off(alone, together), 1e-9, "|f(batch) - f(one by one)| / |f(batch)|")
            other = f(x, (c + 1) % CLASSES)
        must(bool((other != together).flatten(1).any(1).all()), "another class gives the same f(x)")


# -- sources ------------------------------------------------------------------------------------------------------------


@check(
    "source",
    cause="it calls the operator without the condition, or chooses points of other samples than those of its rows: return "
    "their conditions with them, Points(points, targets, condition)",
)
def conditions_go_with_the_points(subject: Subject) -> None:
    """Under a condition, points have that of their row, or come with one each, whatever part of a batch is seen."""
    for plain, _ in fitted(subject):
        dataset = conditioned(plain)
        source: Source = subject.build()
        source.fit(dataset)
        operator = Scaled(operator_for(dataset))
        batch = batch_of(dataset)

        def sampled(start: int, rows: int, at: Step) -> Points:
            return source.sample(batch_of(dataset, start, rows), at, operator)  # noqa: B023

        try:
            whole = sampled(0, ROWS, step())
        except BadInput:
            continue  # it refuses a condition
        halves = [sampled(half * ROWS // 2, ROWS // 2, step(half=half)) for half in (0, 1)]
        off = _off(torch.cat([half.points for half in halves]), whole.points)
        at_most(off, 1e-6, "|points of the halves - points of the whole|, as a share")
        if whole.condition is None:
            continue
        assert batch.condition is not None
        must(whole.condition.shape == batch.condition.shape, f"conditions are {list(whole.condition.shape)}, not [B]")
        must(whole.condition.dtype == batch.condition.dtype, f"conditions are {whole.condition.dtype}")
        parts = [half.condition for half in halves if half.condition is not None]
        must(len(parts) == 2, "it gives conditions for the whole batch, and none for its halves")
        must(
            torch.equal(torch.cat(parts), whole.condition), "the halves of a batch get other conditions than the whole"
        )
