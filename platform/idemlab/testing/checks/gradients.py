"""Checks of gradients: every parameter gets one, once, sample by sample, through as many applications as declared."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor

from ...contracts.orbit import Operator, Orbit
from ..kit import CheckFailed, at_most, check, must
from ..operators import Coded
from ..subject import Subject
from ..trials import Trial, begun, draws, enforce, generic, has_loss, one_pass, shapes, suitable

__all__: list[str] = []


@check(
    "enforcer",
    applies=has_loss,
    cause="the loss is detached, is computed under no_grad, or does not read the orbit that forward receives",
)
def gradient_reaches_every_parameter(subject: Subject) -> None:
    """Every parameter of the operator gets a gradient, finite and not zero."""
    for shape, operator in suitable(subject):
        enforcer, operator = begun(subject, operator)
        done = one_pass(enforcer, operator, draws(shape))
        for (name, _), gradient in zip(operator.named_parameters(), done.gradients, strict=True):
            must(gradient is not None, f"no gradient reaches {name}")
            assert gradient is not None
            must(bool(torch.isfinite(gradient).all()), f"the gradient of {name} is not finite")
            must(bool(gradient.abs().max() > 0), f"the gradient of {name} is zero")


@check(
    "enforcer",
    applies=has_loss,
    cause="forward calls backward() itself, or switches requires_grad or train/eval of the operator and leaves it so",
)
def gradient_reaches_nothing_else(subject: Subject) -> None:
    """Before the backward pass no parameter has a gradient; frozen parameters get none and stay frozen."""
    for shape, operator in suitable(subject):
        enforcer, operator = begun(subject, operator)
        parameters = dict(operator.named_parameters())
        fixed = next(iter(parameters))
        if len(parameters) > 1:
            parameters[fixed].requires_grad_(False)
        flags = {name: p.requires_grad for name, p in parameters.items()}
        x = draws(shape)
        enforcement = enforce(enforcer, Orbit(operator, x), Trial(operator, x))
        for name, p in parameters.items():
            must(p.grad is None, f"after forward alone there is a gradient in {name}")
            must(p.requires_grad == flags[name], f"forward switched requires_grad of {name}")
        must(operator.training, "forward switched the operator to evaluation")
        assert enforcement.loss is not None
        if enforcement.loss.requires_grad:
            enforcement.loss.mean().backward()  # type: ignore[no-untyped-call]
        must(len(parameters) == 1 or parameters[fixed].grad is None, f"{fixed} is fixed, and yet gets a gradient")
        must(x.grad is None, "the points of the batch got a gradient")


@check(
    "enforcer",
    applies=has_loss,
    cause="it calls backward() itself, in forward or in a hook: under DistributedDataParallel two backwards on one graph "
    "give silently wrong gradients; use torch.autograd.grad to the points instead",
)
def accumulates_once(subject: Subject) -> None:
    """One step adds to each parameter's gradient once."""
    for shape, operator in suitable(subject):
        enforcer, operator = begun(subject, operator)
        counted: Counter[Tensor] = Counter()
        for p in operator.parameters():
            p.register_post_accumulate_grad_hook(lambda p, counted=counted: counted.update([p]))  # type: ignore[no-untyped-call]
        one_pass(enforcer, operator, draws(shape))
        for name, p in operator.named_parameters():
            at_most(counted[p], 1, f"accumulations into {name}")


@check(
    "enforcer",
    applies=lambda traits: has_loss(traits) and not traits.batch_coupled,
    cause="a mean over the batch inside a penalty, a sum instead of a mean, or a factor that depends on the batch size: "
    "keep the loss per sample, or declare batch_coupled=True",
)
def batch_is_the_mean_of_its_halves(subject: Subject) -> None:
    """The gradient on a batch is the mean of the gradients on its halves."""
    for shape, operator in suitable(subject):
        whole, halves = _whole_and_halves(subject, operator, draws(shape, 8))
        mean = (halves[0].flat + halves[1].flat) / 2
        at_most(_relative(mean, whole.flat), 1e-8, "|mean of the halves' gradients - gradient| / |gradient|")


@check(
    "enforcer",
    applies=lambda traits: has_loss(traits) and not traits.batch_coupled,
    cause="the loss of a sample depends on the others of its batch: keep it per sample, or declare batch_coupled=True",
)
def samples_are_independent(subject: Subject) -> None:
    """The loss of each sample is the same in half a batch as in the whole."""
    for shape, operator in suitable(subject):
        whole, halves = _whole_and_halves(subject, operator, draws(shape, 8))
        apart = torch.cat([half.loss for half in halves])
        at_most(_relative(apart, whole.loss), 1e-8, "|losses in halves - losses in the whole| / |losses|")


def _whole_and_halves(subject: Subject, operator: Operator, x: Tensor) -> tuple[Any, list[Any]]:
    """A pass over the batch and one over each of its halves, as micro-batches of one step."""

    def alone(points: Tensor, half: int | None) -> Any:
        enforcer, wrapped = begun(subject, operator)
        return one_pass(enforcer, wrapped, points, Trial(wrapped, points, half=half))

    return alone(x, None), [alone(part, half) for half, part in enumerate(x.chunk(2))]


def _relative(a: Tensor, b: Tensor) -> float:
    """|a - b| / |b|; 0 where both are zero."""
    difference = float((a - b).norm())
    return difference and difference / max(float(b.norm()), 1e-300)


class _Watched(Coded):
    """An operator that records through which applications a gradient passes, and whether the gradient has its own graph.

    Two applications are consecutive if the input of one was computed from the output of the other, with gradient.
    """

    def __init__(self, operator: Operator, x: Tensor) -> None:
        super().__init__()
        self.operator = operator
        self._x = x
        self._depths: dict[Any, int] = {}  # of each application, by the node of its output
        self.reached: set[int] = set()
        self.readable = True
        self.double_backward = False

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.operator(x)
        if torch._C._functorch.is_functorch_wrapped_tensor(y):
            self.readable = False  # inside torch.func there are no hooks
        elif y.requires_grad:
            depth = 0 if torch.equal(x, self._x) else self._behind(x.grad_fn) + 1
            self._depths[y.grad_fn] = depth
            y.register_hook(lambda _: self._reached(depth))  # type: ignore[no-untyped-call]
        return y

    def _behind(self, node: Any) -> int:
        """Depth of the deepest application from which a tensor was computed; 0 for f(x), and without any."""
        seen, waiting, deepest = set(), [node], 0
        while waiting:
            here = waiting.pop()
            if here is None or here in seen:
                continue
            seen.add(here)
            if here in self._depths:
                deepest = max(deepest, self._depths[here])
            else:
                waiting.extend(parent for parent, _ in here.next_functions)
        return deepest

    def _reached(self, depth: int) -> None:
        self.reached.add(depth)
        self.double_backward |= torch.is_grad_enabled()


def _watched_pass(subject: Subject) -> _Watched:
    shape = next(iter(shapes(subject).values()))
    x = draws(shape)
    operator = _Watched(generic(subject, shape), x)
    enforcer, _ = begun(subject, operator, bare=True)
    # The reconstruction is of the same operator, but no business of this check.
    one_pass(enforcer, operator, x, Trial(operator.operator, x))
    return operator


@check(
    "enforcer",
    applies=has_loss,
    cause="live_depth counts the applications of f behind f(x) that a gradient passes, frozen ones too: orbit.ahead has "
    "none, orbit.live(2) and orbit.frozen(orbit.output) have one",
)
def live_depth_as_declared(subject: Subject) -> None:
    """It differentiates through as many applications of f behind f(x) as it declares."""
    operator = _watched_pass(subject)
    found, declared = max(operator.reached, default=0), subject.traits.live_depth
    if operator.readable and found != declared:
        raise CheckFailed(f"the gradient passes {found} applications of f behind f(x), and live_depth is {declared}")


@check(
    "enforcer",
    applies=has_loss,
    cause="create_graph=True, which FSDP2 and torch.compile cannot do: declare needs_double_backward, or do without it "
    "(orbit.jvp and finite differences need none)",
)
def double_backward_as_declared(subject: Subject) -> None:
    """It differentiates a derivative only if it declares that."""
    operator = _watched_pass(subject)
    declared = subject.traits.needs_double_backward
    must(declared or not operator.double_backward, "it uses create_graph, and needs_double_backward is not declared")
    must(
        operator.double_backward or not declared or not operator.readable,
        "needs_double_backward is declared, and no derivative is differentiated",
    )
