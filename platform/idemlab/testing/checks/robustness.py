"""Checks that an enforcer works with any batch, shape and precision, reports true values and has no side effects."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy
import torch
from safetensors.torch import load, save
from torch import Tensor

from ...contracts.enforcer import Enforcement, Enforcer
from ...contracts.orbit import Operator, Orbit
from ...contracts.specs import EnforcerKind, Traits
from ...contracts.step import Step
from ...wording import counted
from ..exactness import exact_whatever_the_weights
from ..kit import at_most, check, must
from ..operators import Linear
from ..subject import Subject
from ..trials import (
    Trial,
    begun,
    draws,
    ended,
    enforce,
    first_suitable,
    generic,
    has_loss,
    inside,
    one_pass,
    shapes,
    suitable,
)

__all__: list[str] = []

_RESERVED = {"loss", "reconstruction", "idempotence", "relative", "spread"}
"""Names that the objective itself reports."""


def _projects(traits: Traits) -> bool:
    return EnforcerKind.PROJECTION in traits.kinds


@check("enforcer", cause="the kinds in its traits are not those of the methods that it overrides")
def kinds_as_declared(subject: Subject) -> None:
    """It has a loss, a projection or an architecture if, and only if, its kinds say so."""
    traits = subject.traits
    shape, given = first_suitable(subject)
    enforcer, operator = begun(subject, given)
    x = draws(shape)
    enforcement = enforcer(Orbit(operator, x), Trial(operator, x))
    must(isinstance(enforcement, Enforcement), f"forward returned {type(enforcement).__name__}, not an Enforcement")
    loss = enforcement.loss
    must(
        (loss is not None) == has_loss(traits),
        f"kinds are {_kinds(traits)}, and forward returns {'a' if loss is not None else 'no'} loss",
    )
    K = inside(traits, 4)
    moved = not torch.equal(enforcer.project(K), K)
    must(
        moved == _projects(traits),
        f"kinds are {_kinds(traits)}, and project {'changes' if moved else 'leaves'} a matrix",
    )
    if EnforcerKind.ARCHITECTURE not in traits.kinds:
        must(operator is given, f"kinds are {_kinds(traits)}, and wrap changes the operator")


def _kinds(traits: Traits) -> str:
    return ", ".join(sorted(traits.kinds)) or "none"


@check("enforcer", applies=has_loss, cause="it assumes vectors, or a batch of more than one; sum over flatten(1)")
def any_shape_and_batch(subject: Subject) -> None:
    """Loss and reported values are [B] and finite, for vectors, images and sequences and for batches of 1, 2 and 5."""
    for shape, operator in suitable(subject):
        for rows in (1, 2, 5):
            enforcer, wrapped = begun(subject, operator)
            done = one_pass(enforcer, wrapped, draws(shape, rows))
            ended(enforcer, wrapped, done.step)
            at = f"for {counted(rows, 'sample')} of shape {list(shape)}"
            must(bool(torch.isfinite(done.loss).all()), f"the loss {at} is not finite")
            must(bool(torch.isfinite(done.flat).all()), f"the gradient {at} is not finite")
            for name, value in done.reported.items():
                must(value.shape == (rows,), f"'{name}' reported {at} has the shape {list(value.shape)}, not [{rows}]")


@check(
    "enforcer",
    applies=has_loss,
    cause="orbit.note is called with something other than f^k(x), so that the log does not show the idempotence error; or "
    "the loss is a surrogate whose value differs under no_grad; or a reported name belongs to the objective",
)
def reported_values_are_true(subject: Subject) -> None:
    """The orbit holds the true points afterwards, and all values are the same under no_grad."""
    for shape, operator in suitable(subject):
        x = draws(shape)
        enforcer, operator = begun(subject, operator)
        done = one_pass(enforcer, operator, x)
        point = x
        with torch.no_grad():
            for k in range(1, 6):
                point = operator(point)
                if done.orbit.known(k):
                    off = (done.orbit.ahead(k - 1) - point).norm() / point.norm()
                    at_most(off, 1e-9, f"|what the orbit has as f^{k}(x) - f^{k}(x)| / |f^{k}(x)|")
            still = enforce(begun(subject, operator, bare=True)[0], Orbit(operator, x), Trial(operator, x))
        assert still.loss is not None
        at_most((still.loss - done.loss).norm(), 1e-9 * float(done.loss.norm()), "|loss under no_grad - loss|")
        must(set(still.reported) == set(done.reported), "under no_grad it reports other names")
        for name, value in done.reported.items():
            must(name not in _RESERVED, f"'{name}' is a name that the objective itself reports")
            off, bound = (still.reported[name] - value).norm(), 1e-9 * float(value.norm())
            at_most(off, bound, f"|'{name}' under no_grad - '{name}'|")


@check(
    "enforcer",
    applies=lambda traits: has_loss(traits) or _projects(traits),
    cause="a division by zero, a root or norm of zero, or squares that overflow: put an epsilon into the root",
)
def finite_at_extremes(subject: Subject) -> None:
    """Loss, gradient and projection are finite in float32 on zero, tiny and large points, and at the zero map."""
    if has_loss(subject.traits):
        _loss_at_extremes(subject)
    if _projects(subject.traits):
        for size in (0.0, 1e-20, 1e-4, 1.0):
            K = (size * inside(subject.traits, max(4, (subject.rank or 0) + 2))).float()
            projected = subject.enforcer(torch.float32).project(K)
            must(bool(torch.isfinite(projected).all()), f"the projection of a matrix of size {size:g} is not finite")


def _loss_at_extremes(subject: Subject) -> None:
    shape = next(iter(shapes(subject).values()))
    n = shape[0]
    zero = torch.zeros(n, n, dtype=torch.float64)
    operators: dict[str, Callable[[], Operator]] = {
        "a small network": lambda: generic(subject, shape),
        "a linear map": lambda: Linear(inside(subject.traits, n)),
        "the zero map": lambda: Linear(zero),
    }
    for called, make in operators.items():
        operator = make().float()
        for size in (0.0, 1e-20, 1e-4, 1.0, 1e4):
            for rows in (1, 4):
                for progress in (0.0, 1.0):
                    x = (size * draws(shape, rows)).float()
                    enforcer, _ = begun(subject, operator, torch.float32, bare=True)
                    done = one_pass(enforcer, operator, x, Trial(operator, x, progress=progress))
                    at = f"of {called} at {counted(rows, 'point')} of size {size:g}, progress {progress:g},"
                    must(bool(torch.isfinite(done.loss).all()), f"the loss {at} is not finite")
                    must(bool(torch.isfinite(done.flat).all()), f"the gradient {at} is not finite")


@check(
    "enforcer",
    applies=has_loss,
    cause="a tensor made without dtype= and device= of the points, or sums over entries in half precision; use "
    "idemlab.enforcer.rows",
)
def every_precision(subject: Subject) -> None:
    """It works in float64, float32, bfloat16 and under autocast, with nearly the same gradient."""
    shape, _ = first_suitable(subject)
    exact: Tensor | None = None
    # (precision of parameters and points, autocast, largest 1 - cosine with the gradient in float64)
    for dtype, autocast, bound in (
        (torch.float64, False, 0.0),
        (torch.float32, False, 1e-3),
        (torch.float32, True, 0.25),
        (torch.bfloat16, False, 0.25),
    ):
        enforcer, operator = begun(subject, generic(subject, shape).to(dtype), dtype)
        x = draws(shape, 16).to(dtype)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            done = one_pass(enforcer, operator, x)
        ended(enforcer, operator, done.step)
        at = f"in {str(dtype).removeprefix('torch.')}{' under autocast' if autocast else ''}"
        must(done.loss.dtype.is_floating_point, f"the loss {at} is of {done.loss.dtype}")
        must(bool(torch.isfinite(done.loss).all() and torch.isfinite(done.flat).all()), f"it is not finite {at}")
        gradient = done.flat.double()
        exact = gradient if exact is None else exact
        if gradient.norm() > 0 and not subject.traits.stochastic:  # draws differ between precisions
            cosine = (gradient * exact).sum() / (gradient.norm() * exact.norm())
            at_most(1 - cosine, max(bound, 1e-9), f"1 - cosine of the gradient {at} with that in float64")


@check(
    "enforcer",
    applies=has_loss,
    cause="an in-place operation on x, on a point of the orbit, or on a weight, in forward or in a hook; or the operator is "
    "kept as an attribute, which makes it a part of the enforcer: keep a copy.deepcopy of it",
)
def nothing_is_touched(subject: Subject) -> None:
    """Points, orbit and operator stay unchanged, and the operator does not become a part of the enforcer."""
    for shape, given in suitable(subject):
        x = draws(shape)
        before = copy.deepcopy(given.state_dict())
        enforcer, operator = begun(subject, given)
        kept, state = x.clone(), before if operator is given else copy.deepcopy(operator.state_dict())
        with torch.no_grad():
            output = operator(x).clone()
        done = one_pass(enforcer, operator, x)
        ended(enforcer, operator, done.step)
        must(torch.equal(x, kept), "it changed the points of the batch")
        must(all(torch.equal(v, state[k]) for k, v in operator.state_dict().items()), "it changed the operator")
        must(not set(operator.parameters()) & set(enforcer.parameters()), "the operator has become a part of it")
        at_most(
            (done.orbit.ahead(0) - output).norm(), 1e-9 * float(output.norm()), "|f(x) of the orbit afterwards - f(x)|"
        )


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are equal bit for bit. NaN equals NaN here, since other checks look for NaN."""
    return a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)


def _generators() -> tuple[Any, ...]:
    """The state of every global generator."""
    return torch.get_rng_state().tolist(), random.getstate(), repr(numpy.random.get_state())


@check(
    "enforcer",
    cause="torch.randn, numpy.random or random instead of step.normal, step.uniform and step.signs: then a run depends on "
    "the number of processes, and cannot be resumed",
)
def randomness_through_step_only(subject: Subject) -> None:
    """It leaves the global generators alone, and does not depend on them."""
    shape, given = first_suitable(subject)
    x = draws(shape)
    results = []
    for seed in (1, 2):
        enforcer, operator = begun(subject, given)
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        numpy.random.seed(seed)
        before = _generators()
        if has_loss(subject.traits):
            done = one_pass(enforcer, operator, x)
            results.append(torch.cat([done.loss, done.flat]))
        else:
            results.append(enforcer.project(inside(subject.traits, 4)).flatten())
        ended(enforcer, operator, Trial(operator, x))
        must(_generators() == before, "it drew from a global generator")
    must(_same(*results), "it depends on the seed of a global generator")


@check(
    "enforcer",
    applies=has_loss,
    cause="the trait `stochastic` says whether it draws through step: the checks, and those who repeat a run, rely on it",
)
def stochastic_as_declared(subject: Subject) -> None:
    """It draws through step if, and only if, it declares that."""
    shape, operator = first_suitable(subject)
    step = one_pass(*begun(subject, operator), draws(shape)).step
    declared = subject.traits.stochastic
    must(step.drawn == 0 or declared, f"it draws {step.drawn} times through step, and stochastic is not declared")
    must(step.drawn > 0 or not declared, "stochastic is declared, and it draws nothing through step")


@check(
    "enforcer",
    applies=has_loss,
    cause="the trait `needs_reconstruction` says whether step.reconstruction is read: where it is not declared, an "
    "experiment without a reconstruction fails only when it trains",
)
def reconstruction_as_declared(subject: Subject) -> None:
    """It reads step.reconstruction if, and only if, it declares that."""
    shape, operator = first_suitable(subject)
    asked = one_pass(*begun(subject, operator), draws(shape)).step.asked_reconstruction
    declared = subject.traits.needs_reconstruction
    must(declared or not asked, "it reads step.reconstruction, and needs_reconstruction is not declared")
    must(asked or not declared, "needs_reconstruction is declared, and step.reconstruction is not read")


@check(
    "enforcer",
    applies=has_loss,
    cause="something that is not a function of points, operator and step: time, hash order, a shared cache",
)
def deterministic(subject: Subject) -> None:
    """Two fresh enforcers give the same at the same step, bit for bit."""
    for shape, operator in suitable(subject):
        a, b = (one_pass(*begun(subject, operator), draws(shape)) for _ in range(2))
        must(_same(a.loss, b.loss), "the loss differs")
        must(_same(a.flat, b.flat), "the gradient differs")


@check(
    "enforcer",
    cause="state that is kept in a plain attribute: register it as a buffer, so that checkpoints have it; or a module that "
    "is made in forward: make it in on_start, so that there is something to load the state into",
)
def state_round_trips(subject: Subject) -> None:
    """Restored from its state, or copied, it continues exactly like the original."""
    shape, given = first_suitable(subject)
    used, operator = begun(subject, given)

    def step(enforcer: Enforcer, index: int) -> Tensor:
        x = (1 + index) * draws(shape, 4, f"points {index}")
        if has_loss(subject.traits):
            done = one_pass(enforcer, operator, x, Trial(operator, x, index=index))
            return torch.cat([done.loss, done.flat])
        return enforcer.project(inside(subject.traits, 4 + index)).flatten()

    def end(enforcers: list[Enforcer], index: int) -> None:
        """Move the operator as an optimiser would, and call `after_step` of every enforcer."""
        with torch.no_grad():
            for p in operator.parameters():
                p.mul_(0.9)
        for enforcer in enforcers:
            ended(enforcer, operator, Step(index=index))

    for index in range(3):
        step(used, index)
        end([used], index)
    restored, _ = begun(subject, generic(subject, shape))
    restored.load_state_dict(load(save({k: v.contiguous() for k, v in used.state_dict().items()})))
    copied = copy.deepcopy(used)
    for index in (3, 4):
        expected = step(used, index)
        must(_same(step(restored, index), expected), "restored from its state_dict, its next steps differ")
        must(_same(step(copied, index), expected), "its deep copy's next steps differ")
        end([used, restored, copied], index)


@check(
    "enforcer",
    applies=_projects,
    cause="project is a pure function of matrices [..., n, n]: nothing in place, and products over the last two dimensions",
)
def projection_is_pure(subject: Subject) -> None:
    """A projection does not change its argument, and treats each matrix of a stack separately, in any precision."""
    traits = subject.traits
    for dtype, bound in ((torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.1)):
        K = inside(traits, max(4, (subject.rank or 0) + 2)).to(dtype)
        stack = torch.stack([K, 0.9 * K, K.mT]).reshape(3, 1, *K.shape)
        kept = stack.clone()
        enforcer = subject.enforcer(dtype)
        with torch.no_grad():
            together = enforcer.project(stack)
            alone = torch.stack([subject.enforcer(dtype).project(one[0].clone()) for one in stack]).unsqueeze(1)
        must(torch.equal(stack, kept), "it changed the matrix that it was given")
        must(
            together.shape == stack.shape and together.dtype == dtype,
            f"a stack {list(stack.shape)} of {dtype} became {list(together.shape)} of {together.dtype}",
        )
        at_most((together - alone).norm() / alone.norm(), bound, f"|stack - one by one| / |one by one| in {dtype}")


@check(
    "enforcer",
    applies=lambda traits: EnforcerKind.ARCHITECTURE in traits.kinds,
    cause="a constant made without the precision of the input, or a parameter that nothing uses or that is detached",
)
def wrapped_can_be_trained(subject: Subject) -> None:
    """A wrapped operator keeps shapes and precision, and a finite gradient reaches its parameters."""
    for shape, operator in suitable(subject):
        _, operator = begun(subject, operator)
        for dtype, rows in ((torch.float64, 4), (torch.float64, 1), (torch.float32, 4)):
            operator.to(dtype).zero_grad(set_to_none=True)
            x = draws(shape, rows).to(dtype)
            y = operator(x)
            must(y.shape == x.shape, f"{counted(rows, 'sample')} {list(x.shape)} became {list(y.shape)}")
            must(y.dtype == dtype, f"samples of {dtype} became {y.dtype}")
            trained = {name: p for name, p in operator.named_parameters() if p.requires_grad}
            must(bool(trained), "it has no parameters that could be trained")
            if y.requires_grad:
                y.square().mean().backward()
            for name, p in trained.items():
                must(p.grad is not None and bool(torch.isfinite(p.grad).all()), f"no finite gradient reaches {name}")


@check(
    "enforcer",
    applies=lambda traits: EnforcerKind.ARCHITECTURE in traits.kinds and traits.exact,
    cause="the wrapped operator is not idempotent by construction: an inverse that is only approximate, a diagonal with "
    "other entries than 0 and 1, or float32 left under autocast; declare exact=False, or mend it",
)
def wrapped_is_idempotent(subject: Subject) -> None:
    """A wrapped operator is idempotent to rounding, at depth 1 and at f^50, whatever its weights."""
    for shape, operator in suitable(subject):
        exact_whatever_the_weights(begun(subject, operator)[1], shape)
