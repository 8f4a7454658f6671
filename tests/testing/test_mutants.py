"""Tests of the tests: enforcers with one mistake each, and the checks that must catch it, by name.

The mistakes are those that public code and drafts have made, and those that a declaration can hide.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from idemlab import Enforcement, Enforcer, EnforcerKind, EnforcerSpec, Orbit, Step, Traits
from idemlab.contracts.enforcer import half_squared_distance, l1, l2
from idemlab.testing import check_enforcer
from idemlab.testing.kit import CHECKS, examine
from idemlab.testing.subject import Subject

LOSS, SUBSTITUTION, PROJECTION, ARCHITECTURE = (
    frozenset({kind})
    for kind in (EnforcerKind.LOSS, EnforcerKind.SUBSTITUTION, EnforcerKind.PROJECTION, EnforcerKind.ARCHITECTURE)
)
CUBIC = Traits(kinds=SUBSTITUTION, orthogonally_equivariant=True)
CANONICAL = Traits(kinds=LOSS, orthogonally_equivariant=True, live_depth=1)
TIGHT = Traits(kinds=LOSS, live_depth=1, attracts=False, expands=True)
PURE = Traits(kinds=PROJECTION, linear_only=True, orthogonally_equivariant=True)

Loss = Callable[[Orbit, Step], Tensor]


@dataclass(frozen=True)
class Mutant:
    """An enforcer with one mistake.

    Args:
        make: builds it.
        traits: as declared.
        caught_by: checks that must fail, among others perhaps.
        arguments: of the factory.
    """

    make: Callable[..., Enforcer]
    traits: Traits
    caught_by: tuple[str, ...]
    arguments: dict[str, Any] = field(default_factory=dict)


MUTANTS: dict[str, Mutant] = {}


def mutant(name: str, traits: Traits, *caught_by: str, **arguments: Any) -> Callable[[Any], Any]:
    """Put a class, or the loss of a stateless enforcer, on the list."""

    def register(made: Any) -> Any:
        if isinstance(made, type):
            MUTANTS[name] = Mutant(made, traits, caught_by, arguments)
            return made

        class Stateless(Enforcer):
            def forward(self, orbit: Orbit, step: Step) -> Enforcement:
                return Enforcement(loss=made(orbit, step))

        MUTANTS[name] = Mutant(Stateless, traits, caught_by, arguments)
        return made

    return register


def canonical(orbit: Orbit) -> Tensor:
    return l2(orbit.live(2), orbit.output)


# -- wrong formulas -----------------------------------------------------------------------------------------------------


@mutant("collapse-to-zero", Traits(kinds=LOSS, live_depth=1), "idempotents-stay")
def collapse(orbit, step):
    return orbit.live(2).flatten(1).square().mean(1)


@mutant("plus-sign", CUBIC, "idempotents-stay")
def plus_sign(orbit, step):
    return half_squared_distance(orbit.output, 3 * orbit.ahead(1) + 2 * orbit.ahead(2))


@mutant("power-too-few", CUBIC, "attracted-in-one-step", "attracted-to-the-end")
def power_too_few(orbit, step):
    return half_squared_distance(orbit.output, 3 * orbit.ahead(0) - 2 * orbit.ahead(1))


@mutant("ascent", CANONICAL, "attracted-in-one-step", "attracted-to-the-end")
def ascent(orbit, step):
    return -canonical(orbit)


@mutant("fading-pull", CUBIC, "attracted-to-the-end")
def fading_pull(orbit, step):
    pull = half_squared_distance(orbit.output, 3 * orbit.ahead(1) - 2 * orbit.ahead(2))
    return torch.where(l2(orbit.ahead(1), orbit.ahead(0)) > 1e-3, pull, 1e-12 * pull)


@mutant("surrogate-as-value", CUBIC, "loss-is-flat-at-idempotents")
def surrogate_as_value(orbit, step):
    g = orbit.ahead(0) - 3 * orbit.ahead(1) + 2 * orbit.ahead(2)
    return (orbit.output * g).flatten(1).sum(1)


def tightness(orbit: Orbit, *, idempotence: float, sign: float, frozen: bool, detached: bool) -> Tensor:
    """The two terms of the Idempotent Generative Network, with its mistakes."""
    y, still = orbit.output, orbit.ahead(0)
    at = still if detached else y
    outer = orbit.frozen(at) if frozen else orbit.apply(at)
    return idempotence * l2(orbit.frozen(y), y) + sign * 2.5 * l2(outer, at)


@mutant("tightness-with-the-wrong-sign", TIGHT, "expands-where-the-point-is-fixed")
def wrong_sign(orbit, step):
    return tightness(orbit, idempotence=20, sign=1, frozen=False, detached=True)


@mutant("tightness-through-a-frozen-copy", TIGHT, "expands-where-the-point-is-fixed")
def no_op(orbit, step):
    return tightness(orbit, idempotence=20, sign=-1, frozen=True, detached=True)


@mutant("tightness-not-detached", TIGHT, "expands-where-the-point-is-fixed")
def not_detached(orbit, step):
    return tightness(orbit, idempotence=2, sign=-1, frozen=False, detached=False)


@mutant("quintic-with-a-wrong-coefficient", PURE, "attracted-in-one-step", "attracted-to-the-end")
class WrongQuintic(Enforcer):
    """10 X^3 - 15 X^4 + 6 X^5 with -14 and 5: 0 and 1 still stay, but 1 no longer attracts."""

    def project(self, matrix: Tensor) -> Tensor:
        K = matrix
        return K @ K @ K @ (10 * torch.eye(K.shape[-1], dtype=K.dtype) - 14 * K + 5 * K @ K)


STEERED = Traits(kinds=PROJECTION, linear_only=True, targets_rank=True, domain=(0.0, 1.0))


@mutant("trace-steered-the-wrong-way", STEERED, "rank-is-reached", rank=2)
class WrongWay(Enforcer):
    """SP2 with the two polynomials exchanged."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self._rank = rank

    def project(self, matrix: Tensor) -> Tensor:
        K = matrix
        return 2 * K - K @ K if float(K.trace()) > self._rank else K @ K


TRACE = Traits(kinds=LOSS, targets_rank=True, live_depth=1)


@mutant("a-rank-that-is-only-a-trace", TRACE, "attracted-to-the-end", rank=2)
class OnlyATrace(Enforcer):
    """(tr J - r)^2 by exact products J e_i: many small eigenvalues meet it, too."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self._rank = rank

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        y = orbit.output
        n = y[0].numel()
        unit = torch.eye(n, dtype=y.dtype, device=y.device).view(n, *y.shape[1:])
        trace = sum(((orbit.apply(y + e) - orbit.apply(y)) * e).flatten(1).sum(1) for e in unit)
        return Enforcement(loss=(trace - self._rank).square())


# -- gradients ----------------------------------------------------------------------------------------------------------


@mutant("detached-loss", CUBIC, "gradient-reaches-every-parameter")
def detached(orbit, step):
    return half_squared_distance(orbit.ahead(0), 3 * orbit.ahead(1) - 2 * orbit.ahead(2))


@mutant("two-backwards", CANONICAL, "accumulates-once", "gradient-reaches-nothing-else")
def two_backwards(orbit, step):
    loss = canonical(orbit)
    if loss.requires_grad:
        loss.mean().backward(retain_graph=True)
    return loss


@mutant("parameters-left-frozen", CUBIC, "gradient-reaches-nothing-else")
def left_frozen(orbit, step):
    orbit._operator.requires_grad_(False)
    return half_squared_distance(orbit.output, 3 * orbit.ahead(1) - 2 * orbit.ahead(2))


@mutant("mean-inside-the-penalty", CANONICAL, "batch-is-the-mean-of-its-halves", "samples-are-independent")
def mean_inside(orbit, step):
    change = (orbit.live(2) - orbit.output).flatten(1)
    return change.mean(0).square().sum().expand(len(change))


@mutant("batch-mean-as-loss", CANONICAL, "samples-are-independent")
def batch_mean(orbit, step):
    return canonical(orbit).mean().expand(len(orbit.input))


@mutant("scaled-by-batch-size", CANONICAL, "batch-is-the-mean-of-its-halves")
def batch_size(orbit, step):
    return len(orbit.input) * canonical(orbit)


@mutant("more-live-than-declared", Traits(kinds=LOSS), "live-depth-as-declared")
def more_live(orbit, step):
    return canonical(orbit)


@mutant("undeclared-double-backward", CANONICAL, "double-backward-as-declared")
def double_backward(orbit, step):
    loss = canonical(orbit)
    if not loss.requires_grad:
        return loss
    (slope,) = torch.autograd.grad(loss.sum(), orbit.output, create_graph=True)
    return loss + slope.flatten(1).square().mean(1)


# -- citizenship --------------------------------------------------------------------------------------------------------


@mutant("global-generator", CANONICAL, "randomness-through-step-only")
def global_generator(orbit, step):
    return canonical(orbit) * (1 + 0.01 * torch.rand(len(orbit.input)))


@mutant("python-random", CANONICAL, "randomness-through-step-only")
def python_random(orbit, step):
    return canonical(orbit) * (1 + 0.01 * random.random())


@mutant("undeclared-draws", CANONICAL, "stochastic-as-declared")
def undeclared_draws(orbit, step):
    return canonical(orbit) * (1 + 0.01 * step.uniform(orbit.input.new_empty(len(orbit.input))))


@mutant("undeclared-reconstruction", CANONICAL, "reconstruction-as-declared")
def undeclared_reconstruction(orbit, step):
    return canonical(orbit) * (1 + step.reconstruction.detach())


@mutant("input-in-place", CANONICAL, "nothing-is-touched")
def input_in_place(orbit, step):
    with torch.no_grad():
        orbit.input.clamp_(-1, 1)
    return canonical(orbit)


@mutant("nan-at-zero", CANONICAL, "finite-at-extremes", "idempotents-stay")
def nan_at_zero(orbit, step):
    return (orbit.live(2) - orbit.output).flatten(1).square().mean(1).sqrt()


@mutant("vectors-only", CANONICAL, "any-shape-and-batch")
def vectors_only(orbit, step):
    return (orbit.live(2) - orbit.output).square().mean(1)


@mutant("scalar-loss", CANONICAL, "any-shape-and-batch")
def scalar_loss(orbit, step):
    return canonical(orbit).mean()


@mutant("double-precision-only", CANONICAL, "every-precision")
def double_only(orbit, step):
    weights = torch.ones(orbit.input[0].numel(), dtype=torch.float64)
    return (orbit.live(2) - orbit.output).flatten(1).square() @ weights


@mutant("false-report", CUBIC, "reported-values-are-true")
def false_report(orbit, step):
    orbit.note(2, orbit.output)
    y = orbit.output.detach()
    with torch.no_grad():
        once = orbit.apply(y)
        twice = orbit.apply(once)
    return half_squared_distance(orbit.output, 3 * once - 2 * twice)


@mutant("l1-declared-smooth", CANONICAL, "loss-is-flat-at-idempotents", "orthogonally-equivariant")
def declared_smooth(orbit, step):
    return l1(orbit.live(2), orbit.output)


class Counting(Enforcer):
    """Canonical, with a weight that grows with the number of steps."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        self.steps += 1
        return Enforcement(loss=self.steps * canonical(orbit))


@mutant("state-not-registered", CANONICAL, "state-round-trips")
class NotRegistered(Counting):
    pass


@mutant("state-of-the-class", CANONICAL, "deterministic")
class OfTheClass(Enforcer):
    calls = count(1)

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        return Enforcement(loss=(1 + 0.01 * (next(self.calls) % 7)) * canonical(orbit))


@mutant(
    "kinds-that-are-not-there", Traits(kinds=LOSS | PROJECTION, linear_only=True, live_depth=1), "kinds-as-declared"
)
class NoProjection(Enforcer):
    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        return Enforcement(loss=canonical(orbit))


# -- projections and architectures ----------------------------------------------------------------------------------------


@mutant("projection-with-plus-sign", PURE, "idempotents-stay", "attracted-to-the-end")
class PlusProjection(Enforcer):
    def project(self, K: Tensor) -> Tensor:
        return 3 * K @ K + 2 * K @ K @ K


@mutant("projection-in-place", PURE, "projection-is-pure")
class InPlace(Enforcer):
    def project(self, K: Tensor) -> Tensor:
        return K.copy_(3 * K @ K - 2 * K @ K @ K)


@mutant("projection-that-turns-stacks", PURE, "projection-is-pure")
class TurnsStacks(Enforcer):
    def project(self, K: Tensor) -> Tensor:
        return (3 * K.T @ K.T - 2 * K.T @ K.T @ K.T).T if K.ndim == 2 else 3 * K @ K - 2 * K @ K


@mutant("trace-not-kept", Traits(kinds=PROJECTION, linear_only=True, preserves_rank=True), "trace-is-kept")
class TraceNotKept(Enforcer):
    def project(self, K: Tensor) -> Tensor:
        return 3 * K @ K - 2 * K @ K @ K


@mutant(
    "rank-ignored",
    Traits(kinds=PROJECTION, linear_only=True, targets_rank=True, domain=(0.0, 1.0)),
    "rank-is-reached",
    rank=2,
)
class RankIgnored(Enforcer):
    def __init__(self, rank: int) -> None:
        super().__init__()

    def project(self, K: Tensor) -> Tensor:
        return 3 * K @ K - 2 * K @ K @ K


@mutant("rank-without-argument", Traits(kinds=LOSS, targets_rank=True, live_depth=1), "rank-is-reached")
def rank_without_argument(orbit, step):
    return canonical(orbit)


@mutant("domain-not-declared", PURE, "defined-on-its-domain")
class DomainNotDeclared(Enforcer):
    def project(self, K: Tensor) -> Tensor:
        scale = K.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True).unsqueeze(-1).sqrt()
        return (3 * K @ K - 2 * K @ K @ K) * scale / scale


@mutant("infinite", Traits(kinds=PROJECTION, linear_only=True, domain=(0.0, 1.0)), "defined-on-its-domain")
class Infinite(Enforcer):
    """Whose spectrum ends the process where LAPACK is oneMKL's."""

    def project(self, K: Tensor) -> Tensor:
        return K / 0


@mutant("projection-divided-by-its-size", PURE, "finite-at-extremes")
class DividedBySize(Enforcer):
    def project(self, K: Tensor) -> Tensor:
        size = K.square().sum((-2, -1), keepdim=True)  # of tiny entries 0 in float32
        return (3 * K @ K - 2 * K @ K @ K) * size / size


class Selected(nn.Module):
    """Keeps every other entry, times a weight that is 1 and is there to be trained."""

    def __init__(self, dtype: torch.dtype | None, used: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.dtype, self.used = dtype, used

    def forward(self, x: Tensor) -> Tensor:
        keep = (torch.arange(x[0].numel()) % 2).view_as(x[0]).to(self.dtype or x.dtype)
        return keep * x * (self.weight / self.weight.detach() if self.used else 1)


@mutant("architecture-in-double-precision-only", Traits(kinds=ARCHITECTURE), "wrapped-can-be-trained")
class DoubleOnly(Enforcer):
    def wrap(self, operator: nn.Module) -> nn.Module:
        return Selected(torch.float64, used=True)


@mutant("architecture-without-gradient", Traits(kinds=ARCHITECTURE), "wrapped-can-be-trained")
class WithoutGradient(Enforcer):
    def wrap(self, operator: nn.Module) -> nn.Module:
        return Selected(None, used=False)


@mutant("not-idempotent-by-construction", Traits(kinds=ARCHITECTURE, exact=True), "wrapped-is-idempotent")
class Doubled(Enforcer):
    def wrap(self, operator: nn.Module) -> nn.Module:
        return nn.Sequential(operator, operator)


CONJUGATED = Traits(kinds=ARCHITECTURE, exact=True, wraps=("inverse",))


class Conjugated(nn.Module):
    """g^-1 A g on the invertible operator g of the kit, where A keeps every other entry."""

    def __init__(self, g: nn.Module) -> None:
        super().__init__()
        self.g = g

    def kept(self, z: Tensor) -> Tensor:
        return (torch.arange(z[0].numel()) % 2).view_as(z[0]).to(z.dtype)

    def inverse(self, z: Tensor) -> Tensor:
        return self.g.inverse(z)

    def forward(self, x: Tensor) -> Tensor:
        z = self.g(x)
        return self.inverse(z * self.kept(z))


@mutant("inverse-only-approximate", CONJUGATED, "wrapped-is-idempotent")
class ApproximateInverse(Enforcer):
    class Iterated(Conjugated):
        """Solves g(x) = z by three steps x <- x + z - g(x)."""

        def inverse(self, z: Tensor) -> Tensor:
            x = z
            for _ in range(3):
                x = x + z - self.g(x)
            return x

    def wrap(self, operator: nn.Module) -> nn.Module:
        return self.Iterated(operator)


@mutant("forgets-the-condition", CANONICAL, "a-condition-goes-with-its-samples")
def unconditioned(orbit: Orbit, step: Step) -> Tensor:
    """It takes the class of the first sample for all."""
    if orbit.condition is None:
        return canonical(orbit)
    return canonical(Orbit(orbit.operator, orbit.input, orbit.condition[:1].expand(len(orbit.input))))


@mutant("diagonal-not-of-zeros-and-ones", CONJUGATED, "wrapped-is-idempotent")
class SoftDiagonal(Enforcer):
    class Soft(Conjugated):
        def kept(self, z: Tensor) -> Tensor:
            return (20 * super().kept(z) - 10).sigmoid()

    def wrap(self, operator: nn.Module) -> nn.Module:
        return self.Soft(operator)


def spec_of(name: str) -> EnforcerSpec:
    """A spec of the mutant, whose factory is a function as a plugin would have it."""
    made = MUTANTS[name]

    def factory() -> Any:
        return made.make()

    def ranked(rank: int = 2) -> Any:
        return made.make(rank)

    return EnforcerSpec(
        name=name, factory=ranked if made.arguments else factory, summary="A mutant.", traits=made.traits
    )


# -- the matrix -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(MUTANTS))
def test_the_mutant_is_caught_by_name(name: str) -> None:
    mutant = MUTANTS[name]
    subject = Subject.of("enforcer", spec_of(name), mutant.arguments)
    checks = [check for check in CHECKS if check.name in mutant.caught_by and check.kind == "enforcer"]
    assert all(check.applies(subject.traits) for check in checks)
    assert not [check.name for check in checks if examine(check, subject, quick=True, shrink=False) is None]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(MUTANTS))
def test_what_else_catches_the_mutant(name: str, record_property: Callable[[str, object], None]) -> None:
    mutant = MUTANTS[name]
    report = check_enforcer(spec_of(name), mutant.arguments, quick=True)
    caught = {check: "#" if check in mutant.caught_by else "X" for check in report.failed}
    record_property("mutant against checks", (name, {row.check: caught.get(row.check, ".") for row in report.rows}))
    assert not report.passed
    assert set(mutant.caught_by) <= set(report.failed), str(report)


def test_every_check_must_catch_a_mutant() -> None:
    named = {check for mutant in MUTANTS.values() for check in mutant.caught_by}
    assert named == {check.name for check in CHECKS if check.kind == "enforcer"}


def test_the_conjugation_without_its_mistakes_passes() -> None:
    class Right(Enforcer):
        def wrap(self, operator: nn.Module) -> nn.Module:
            return Conjugated(operator)

    def right() -> Any:
        return Right()

    report = check_enforcer(EnforcerSpec(name="right", factory=right, summary="", traits=CONJUGATED), quick=True)
    assert report.passed, str(report)


def test_without_their_mistake_they_pass() -> None:
    """The kit does not fail whatever it sees: what the mutants are made of, made right."""

    class Right(Counting):
        def __init__(self) -> None:
            super().__init__()
            del self.steps
            self.register_buffer("steps", torch.zeros((), dtype=torch.float64))

        def forward(self, orbit: Orbit, step: Step) -> Enforcement:
            self.steps += 1
            return Enforcement(loss=self.steps * canonical(orbit), reported={"error": canonical(orbit).detach()})

    def right() -> Any:
        return Right()

    report = check_enforcer(EnforcerSpec(name="right", factory=right, summary="", traits=CANONICAL), quick=True)
    assert report.passed, str(report)
