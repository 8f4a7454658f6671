"""Losses with one mistake each. Run by its path (`runpy`), it leaves `MUTANTS`."""

from __future__ import annotations

import random
import runpy
from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from idemlab import Enforcement, Enforcer, Orbit, Step, Traits
from idemlab.contracts.enforcer import half_squared_distance, l1, l2

_base = runpy.run_path(str(Path(__file__).with_name("mutants.py")))
MUTANTS, mutant = _base["MUTANTS"], _base["mutant"]
LOSS, SUBSTITUTION, PROJECTION = _base["LOSS"], _base["SUBSTITUTION"], _base["PROJECTION"]

CUBIC = Traits(kinds=SUBSTITUTION, orthogonally_equivariant=True)
CANONICAL = Traits(kinds=LOSS, orthogonally_equivariant=True, live_depth=1)
TIGHT = Traits(kinds=LOSS, live_depth=1, attracts=False, expands=True)
TRACE = Traits(kinds=LOSS, targets_rank=True, live_depth=1)


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


@mutant("rank-without-argument", TRACE, "rank-is-reached")
def rank_without_argument(orbit, step):
    return canonical(orbit)


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


@mutant("forgets-the-condition", CANONICAL, "a-condition-goes-with-its-samples")
def unconditioned(orbit, step):
    """It takes the class of the first sample for all."""
    if orbit.condition is None:
        return canonical(orbit)
    return canonical(Orbit(orbit.operator, orbit.input, orbit.condition[:1].expand(len(orbit.input))))


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
