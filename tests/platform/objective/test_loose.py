"""An enforcer in a loop of one's own: the trainer's values, the literal formulas, and errors that say what to do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import idemlab
from idemlab import BadInput, Batch, Enforcement, Enforcer, LooseEnforcer, Objective, Orbit, Step, l1, l2

B, N = 8, 6


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(N, 9), nn.Tanh(), nn.Linear(9, N)).double()


def points(key: int = 1) -> Tensor:
    return torch.randn(B, N, generator=torch.Generator().manual_seed(key), dtype=torch.float64)


def gradients(loss: Tensor, f: nn.Module) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(f.parameters()))])


def relative_error(f: nn.Module, x: Tensor) -> Tensor:
    y = f(x)
    return ((f(y) - y).square().mean() / (y - y.mean(0)).square().mean()).sqrt()


def cubic_pull(f: nn.Module, x: Tensor) -> Tensor:
    y = f(x)
    with torch.no_grad():
        target = 3 * f(y) - 2 * f(f(y))
    return (y - target).square().mean()


@pytest.mark.parametrize(
    ("name", "arguments", "literal"),
    [
        ("relative", {"weight": 0.5}, lambda f, x: 0.5 * relative_error(f, x)),
        ("gradient", {}, lambda f, x: (f(f(x)) - f(x)).square().mean()),
        ("cubic", {"weight": 2.0}, lambda f, x: 2 * cubic_pull(f, x)),
    ],
)
def test_the_loss_and_its_gradient_are_those_of_the_formula(
    name: str, arguments: dict[str, Any], literal: Callable[[nn.Module, Tensor], Tensor]
) -> None:
    f, x = network(), points()
    loss, formula = idemlab.enforcer(name, **arguments)(f, x), literal(f, x)
    assert loss.shape == ()
    if name != "cubic":  # its loss is a constant times the formula's, whose gradient alone is given
        torch.testing.assert_close(loss, formula, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradients(loss, f), gradients(formula, f), rtol=1e-10, atol=1e-14)


class Draws(Enforcer):
    """A loss that is random."""

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        return Enforcement(loss=(step.normal(orbit.input) * orbit.output).flatten(1).sum(1))


GIVEN: list[tuple[str | Enforcer, dict[str, Any]]] = [
    ("relative", {}),
    ("gradient", {"routing": "inner"}),
    ("cubic", {}),
    ("ign", {}),
    (Draws(), {}),
    ("hybrid", {"enforcers": [{"name": "cubic"}, {"name": "gradient", "distance": "l1"}], "warmup": 0.5}),
]


@pytest.mark.parametrize(("name", "arguments"), GIVEN, ids=[str(name) for name, _ in GIVEN])
def test_the_values_are_the_trainers(name: str | Enforcer, arguments: dict[str, Any]) -> None:
    """In the first step and in a later one, with its draws, its progress and its reconstruction."""
    f, x, target = network(), points(), points(2)
    loose = idemlab.enforcer(name, **arguments)
    objective = Objective(f, copy.deepcopy(loose.enforcer).double(), [None], weight=0.7, distance=l1).double()
    loose.seed, loose.steps = 5, 8
    for index in range(2):
        expected, _ = objective(Batch(x, target), Step(seed=5, index=index, progress=index / 8))
        reconstruction = l1(f(x), target)
        found = 0.7 * reconstruction.mean() + loose(f, x, reconstruction=reconstruction)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
        torch.testing.assert_close(gradients(found, f), gradients(expected, f), rtol=1e-9, atol=1e-13)
        loose.after_step(f)


def test_a_projection_is_made_after_the_step() -> None:
    f = nn.Linear(4, 4, bias=False).double()
    with torch.no_grad():
        f.weight.copy_(torch.diag(torch.tensor([0.9, 1.1, 0.2, -0.1])))
    K = f.weight.detach().clone()
    for enforce in (
        idemlab.enforcer("purification", step=0.5),
        idemlab.enforcer(idemlab.enforcer("purification", step=0.5).enforcer),
    ):
        with torch.no_grad():
            f.weight.copy_(K)
        loss = enforce(f, points()[:, :4])
        assert (float(loss), loss.requires_grad) == (0, False)
        enforce.after_step(f)
        torch.testing.assert_close(f.weight.detach(), 0.5 * K + 0.5 * (3 * K @ K - 2 * K @ K @ K))


class Follower(Enforcer):
    """Keeps a copy of the operator, which moves halfway to it after each step."""

    def on_start(self, operator: nn.Module) -> None:
        self.copy = copy.deepcopy(operator).requires_grad_(False)
        self.seen: list[tuple[int, float]] = []

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        return Enforcement(loss=l2(orbit.output, self.copy(orbit.input)))

    def after_step(self, operator: nn.Module, step: Step) -> None:
        assert not torch.is_grad_enabled()
        self.seen.append((step.index, step.progress))
        for mine, new in zip(self.copy.parameters(), operator.parameters(), strict=True):
            mine.lerp_(new, 0.5)


def test_a_stateful_enforcer_starts_by_itself_and_is_updated_and_saved() -> None:
    f, x = network(), points()
    enforce = idemlab.enforcer(Follower())
    enforce.steps = 4
    assert enforce(f, x).item() == 0, "the copy is f"
    with torch.no_grad():
        f[0].bias.add_(1)
    far = enforce(f, x).item()
    enforce.after_step(f)
    near = enforce(f, x).item()
    enforce.after_step(f)
    assert 0 < near < far
    assert enforce.enforcer.seen == [(0, 0.0), (1, 0.25)]
    again = idemlab.enforcer(Follower())
    again.on_start(network())
    again.load_state_dict(enforce.state_dict())
    assert again.index == 2
    assert again(f, x).item() == enforce(f, x).item()


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.long
def test_a_compiled_operator_is_followed_inside() -> None:
    f = network()
    enforce = idemlab.enforcer(Follower())
    enforce.on_start(torch.compile(f))
    assert type(enforce.enforcer.copy) is nn.Sequential


def test_a_step_may_be_given() -> None:
    f, x = network(), points()
    given = idemlab.enforcer(Draws())(f, x, step=Step(seed=3, index=7))
    own = idemlab.enforcer(Draws())
    own.seed, own.index = 3, 7
    assert own(f, x).item() == given.item() != idemlab.enforcer(Draws())(f, x).item()
    fades = {"enforcers": [{"name": "cubic"}, {"name": "gradient"}], "mode": "crossfade"}
    half = idemlab.enforcer("hybrid", **fades)(f, x, step=Step(progress=0.5))
    ends = [idemlab.enforcer("hybrid", **fades)(f, x, step=Step(progress=p)) for p in (0.0, 1.0)]
    torch.testing.assert_close(half, (ends[0] + ends[1]) / 2)


def test_random_draws_go_on_within_a_step_and_are_the_same_again() -> None:
    def run() -> list[float]:
        enforce, f, x = idemlab.enforcer(Draws()), network(), points()
        drawn = [enforce(f, x).item(), enforce(f, x).item()]
        enforce.after_step(f)
        return [*drawn, enforce(f, x).item()]

    assert run() == run()
    assert len(set(run())) == 3


def test_a_condition_reaches_the_operator() -> None:
    class Conditioned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, x: Tensor, c: Tensor) -> Tensor:
            return self.inner(x) + c

    f, x, c = Conditioned(), points(), points(3)
    loss = idemlab.enforcer("gradient")(f, x, condition=c)
    torch.testing.assert_close(loss, l2(f(f(x, c), c), f(x, c)).mean())


class Wraps(Enforcer):
    def wrap(self, operator: nn.Module) -> nn.Module:
        return nn.Sequential(operator, nn.Identity())


def test_an_architecture_says_that_the_operator_is_wrapped_first() -> None:
    f, enforce = network(), idemlab.enforcer(Wraps())
    for call in (lambda: enforce(f, points()), lambda: enforce.after_step(f)):
        with pytest.raises(BadInput, match="changes the operator itself") as refused:
            call()
        assert "enforce.wrap(f)" in str(refused.value)
    wrapped = enforce.wrap(f)
    assert enforce(wrapped, points()).item() == 0


class Trains(Enforcer):
    def on_start(self, operator: nn.Module) -> None:
        self.scale = nn.Parameter(torch.ones(3))


def test_own_parameters_are_not_forgotten() -> None:
    f, x = network(), points()
    with pytest.raises(BadInput, match="trains 3 parameters of its own") as refused:
        idemlab.enforcer(Trains())(f, x)
    assert "on_start" in str(refused.value)
    enforce = idemlab.enforcer(Trains())
    enforce.on_start(f)
    enforce(f, x)


def shrinking(x: Tensor) -> Tensor:
    return x[:, :3]


def make(name: str, /, **arguments: Any) -> Callable[[], object]:
    return lambda: idemlab.enforcer(name, **arguments)


def call(name: str | Enforcer, f: object, x: object, **more: Any) -> Callable[[], object]:
    return lambda: idemlab.enforcer(name)(f, x, **more)


X = torch.randn(4, 3)


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.double()


class Mixed(nn.Linear):
    """Computes in half precision by itself, as under FSDP2 with mixed precision."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(x)


def _of_no_steps() -> object:
    enforce = idemlab.enforcer("relative")
    enforce.steps = 0
    return enforce(nn.Identity(), X)


WRONG: list[tuple[str, Callable[[], object], str]] = [
    ("unknown name", make("relativ"), "there is no enforcer 'relativ'.*did you mean: relative"),
    ("unknown argument", make("relative", wait=0.5), "wait.*did you mean: weight"),
    ("value out of range", make("relative", weight=-1), "weight"),
    ("name given twice", make("relative", name="cubic"), "given twice"),
    ("arguments beside an instance", lambda: idemlab.enforcer(Enforcer(), weight=2), "built already"),
    ("neither name nor enforcer", lambda: idemlab.enforcer(7), "this is an int, not an enforcer"),
    ("no operator", call("relative", 7, X), "f is an int, which cannot be called"),
    ("no tensor", call("relative", nn.Identity(), [[1.0]]), "x is a list.*torch.as_tensor"),
    ("whole numbers", call("relative", nn.Identity(), X.int()), r"x is in int32.*x.float\(\)"),
    ("no batch", call("relative", nn.Identity(), X[0]), r"x has the shape \[3\]"),
    ("empty batch", call("relative", nn.Identity(), X[:0]), r"x has the shape \[0, 3\]"),
    ("shape is not kept", call("cubic", nn.Linear(3, 2), X), r"f returns points of the shape \[4, 2\] for points"),
    (
        "precision is not kept",
        call("relative", nn.Sequential(nn.Linear(3, 3), Doubled()), X),
        "f returns points in float64 for points in float32",
    ),
    (
        "whole numbers come back",
        lambda: idemlab.enforcer("rank", rank=1)(lambda x: x.int(), X),
        "f returns points in int32",
    ),
    ("a class", call("cubic", nn.Identity, X), r"f is the class Identity.*Identity\(...\)"),
    ("sparse", call("cubic", nn.Identity(), X.to_sparse()), r"x is a sparse tensor.*x.to_dense\(\)"),
    ("complex", call("cubic", nn.Identity(), X.to(torch.complex64)), "x is in complex64.*view_as_real"),
    (
        "statistics",
        lambda: idemlab.enforcer("rank", rank=1)(nn.BatchNorm1d(3), X),
        "'rank' is not exact on an operator with batch stat",
    ),
    ("steps", _of_no_steps, "enforce.steps is 0"),
    ("no tensor comes back", call("cubic", lambda x: (x, x), X), "f returns a tuple for points"),
    ("condition of another length", call("cubic", nn.Identity(), X, condition=X[:2]), "one condition for each of 4"),
    ("no reconstruction", call("ign", nn.Linear(3, 3), X), "reads your data term.*reconstruction=r"),
    ("no reconstruction", call("ign", nn.Linear(3, 3), X, step=Step()), "reads your data term.*reconstruction=r"),
    ("mean of it", call("ign", nn.Linear(3, 3), X, reconstruction=X.mean()), r"one value for each sample, \[4\]"),
    ("no code", call("alignment", nn.Linear(3, 3), X), "calls 'encode' and 'decode' of f, which Linear does not have"),
    ("no code of a function", call("alignment", lambda x: x, X), "which function does not have"),
    ("state without a module", call(Follower(), lambda x: x, X), "f is a plain function"),
    ("step of no module", lambda: idemlab.enforcer("relative").after_step(lambda x: x), "without parameters"),
    ("nothing to project", lambda: idemlab.enforcer("purification").after_step(nn.Linear(3, 2)), "f has none"),
]


@pytest.mark.parametrize(("wrong", "message"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_what_is_wrong_is_told(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(BadInput, match=f"(?s){message}"):
        wrong()


def test_an_operator_in_mixed_precision_is_taken() -> None:
    f = Mixed(3, 3)
    idemlab.enforcer("relative")(f, X).backward()
    assert f.weight.grad is not None
    assert bool(f.weight.grad.isfinite().all())


@pytest.mark.parametrize("steps", [10.0, 7.5, np.int64(10), 10])
def test_any_positive_number_of_steps_is_taken(steps: Any) -> None:
    enforce = idemlab.enforcer("relative")
    enforce.steps = steps
    assert enforce(nn.Identity(), X).item() == 0


def test_batch_statistics_are_seen_once_training_begins() -> None:
    enforce, f = idemlab.enforcer("rank", rank=1), nn.BatchNorm1d(3)
    enforce(f.eval(), X)
    with pytest.raises(BadInput, match="batch statistics"):
        enforce(f.train(), X)


def test_it_says_what_it_is() -> None:
    assert "'relative'" in repr(idemlab.enforcer("relative"))
    assert isinstance(idemlab.enforcer("relative"), LooseEnforcer)
