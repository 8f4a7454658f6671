"""Test material for enforcers: operators that suit them, points, and a step that records how it is used.

Shapes: B samples of shape `*shape`, n entries each; K, P, Q are matrices [n, n].
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..contracts.enforcer import Enforcement, Enforcer, l2
from ..contracts.orbit import Operator, Orbit
from ..contracts.specs import EnforcerKind, Traits
from ..contracts.step import Shard, Step, generator
from ..errors import BadInput
from .kit import CheckFailed, must
from .operators import Linear, Mixer, Near, Scaled, Shear
from .subject import Subject

__all__ = [
    "SHAPES",
    "Pass",
    "Trial",
    "begun",
    "draws",
    "ended",
    "first_suitable",
    "generic",
    "has_loss",
    "one_pass",
    "pull",
    "residual_of",
    "shapes",
    "suitable",
    "white",
]

SHAPES: dict[str, tuple[int, ...]] = {"vector": (6,), "image": (2, 4, 4), "sequence": (5, 3)}
"""The shapes of sample that an enforcer must work on."""

DRAWS = 32
"""Number of random draws that are averaged for a stochastic enforcer."""


def has_loss(traits: Traits) -> bool:
    """Whether an enforcer with these traits has a loss."""
    return bool(traits.kinds & {EnforcerKind.LOSS, EnforcerKind.SUBSTITUTION})


def shapes(subject: Subject) -> dict[str, tuple[int, ...]]:
    """Shapes of sample with more entries than the subject's rank."""
    rank = subject.rank or 0
    return {"vector": (max(6, rank + 2),)} | {
        name: shape for name, shape in SHAPES.items() if name != "vector" and torch.Size(shape).numel() > rank
    }


# -- operators --------------------------------------------------------------------------------------------------------


def generic(subject: Subject, shape: tuple[int, ...]) -> Operator:
    """A fixed operator on samples of this shape in float64: a small network, or a linear map for `linear_only` enforcers.

    It is f(x, c) if the enforcer wraps such operators only.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        operator = _drawn(subject, shape)
        conditional = Scaled(operator).double()
        if _refused(subject, operator) and not _refused(subject, conditional):
            return conditional
        return operator


def _refused(subject: Subject, operator: Operator) -> bool:
    if EnforcerKind.ARCHITECTURE not in subject.traits.kinds:
        return False
    try:
        subject.enforcer().wrap(copy.deepcopy(operator))
    except (BadInput, ValueError):
        return True
    return False


def _drawn(subject: Subject, shape: tuple[int, ...]) -> Operator:
    if subject.traits.linear_only:
        return Linear(inside(subject.traits, torch.Size(shape).numel()))
    if "inverse" in subject.traits.wraps:
        return Shear(shape).double()
    network: nn.Module
    if len(shape) == 1:
        network = nn.Sequential(nn.Linear(shape[0], 9), nn.Tanh(), nn.Linear(9, shape[0]))
    elif len(shape) == 2:
        network = Mixer(*shape)
    else:
        c = shape[0]
        network = nn.Sequential(
            nn.Conv2d(c, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.SiLU(), nn.Conv2d(4, c, 3, padding=1)
        )
    return Near(shape, network).double()


def inside(traits: Traits, n: int) -> Tensor:
    """A symmetric matrix with eigenvalues spread over the inner half of the domain, or of [-0.2, 1.2]."""
    low, high = traits.domain or (-0.2, 1.2)
    Q = torch.linalg.qr(torch.randn(n, n, generator=generator("inside", n), dtype=torch.float64)).Q
    quarter = (high - low) / 4
    values = torch.linspace(low + quarter, high - quarter, n, dtype=torch.float64)
    spread: Tensor = Q @ torch.diag(values) @ Q.T
    return spread


def suitable(subject: Subject) -> Iterator[tuple[tuple[int, ...], Operator]]:
    """Pairs (shape, unwrapped operator), without operators that the enforcer refuses to wrap.

    Raises:
        CheckFailed: if the enforcer refuses every operator.
    """
    refusals = []
    for shape in shapes(subject).values():
        try:
            subject.enforcer().wrap(generic(subject, shape))
        except (BadInput, ValueError) as error:
            refusals.append(str(error))
            continue
        yield shape, generic(subject, shape)
    if len(refusals) == len(shapes(subject)):
        raise CheckFailed(f"it refuses every operator of the kit, the last one with: {refusals[-1]}")


def first_suitable(subject: Subject) -> tuple[tuple[int, ...], Operator]:
    """The first of `suitable`."""
    return next(suitable(subject))


def begun(
    subject: Subject, operator: Operator, dtype: torch.dtype = torch.float64, *, bare: bool = False
) -> tuple[Enforcer, Operator]:
    """(enforcer, operator) as at the start of training: a new enforcer that has wrapped the operator and run `on_start`.

    An architecture wraps a copy; every other enforcer returns the operator itself.

    Args:
        bare: leave out the architecture, to check the rest on this very operator.
    """
    enforcer = subject.enforcer(dtype)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        if EnforcerKind.ARCHITECTURE not in subject.traits.kinds:
            operator = enforcer.wrap(operator)
        elif not bare:
            operator = enforcer.wrap(copy.deepcopy(operator))
        enforcer.on_start(operator)
    return enforcer, operator


def ended(enforcer: Enforcer, operator: Operator, step: Step) -> None:
    """Call `after_step` as training does at the end of a step."""
    with torch.no_grad():
        enforcer.after_step(operator, Step(index=step.index, progress=step.progress, purpose="after step"))


# -- points and steps -------------------------------------------------------------------------------------------------


def draws(shape: tuple[int, ...], rows: int = 4, key: str = "points") -> Tensor:
    """Standard normal points [rows, *shape] in float64."""
    return torch.randn(rows, *shape, generator=generator(key, *shape), dtype=torch.float64)


def white(n: int, rows: int) -> Tensor:
    """Points X [rows, n] with X^T X / rows = I, rows >= n, for which the theory of linear maps is exact."""
    whitened: Tensor = rows**0.5 * torch.linalg.qr(draws((n,), rows, "white")).Q
    return whitened


class Trial(Step):
    """A step that offers everything an enforcer may use, and records what the enforcer uses.

    Args:
        operator: f; `reconstruction` is that of f at points other than the enforcer's.
        x: the enforcer's points.
        index: number of the step.
        progress: share of the run that is done.
        half: 0 or 1 for one half of the batch, None for the whole batch.
        turn: orthogonal matrix Q that rotates the random draws.
    """

    def __init__(
        self,
        operator: Callable[[Tensor], Tensor],
        x: Tensor,
        *,
        index: int = 0,
        progress: float = 0.5,
        half: int | None = None,
        turn: Tensor | None = None,
    ) -> None:
        shard = Shard() if half is None else Shard(micro=half, micros=2)
        super().__init__(index=index, progress=progress, purpose="conformance", shard=shard)
        self._operator, self._x, self._turn = operator, x, turn
        self.asked_reconstruction = False

    @property
    def drawn(self) -> int:
        """Number of draws so far."""
        return self._draws

    @property
    def reconstruction(self) -> Tensor:
        """|f(u) - u|^2 / n of each row, [B], at points u other than the enforcer's."""
        self.asked_reconstruction = True
        if self._reconstruction is None:
            u = self._x + 1
            self._reconstruction = l2(self._operator(u), u)
        return self._reconstruction

    @reconstruction.setter
    def reconstruction(self, value: Tensor) -> None:
        raise AttributeError("an enforcer reads step.reconstruction; it does not set it")

    def _draw(self, like: Tensor, sampler: object) -> Tensor:
        drawn = super()._draw(like, sampler)
        return drawn if self._turn is None or drawn.shape != self._x.shape else drawn @ self._turn.T.to(drawn)


# -- passes -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pass:
    """The results of one forward and backward of an enforcer's loss.

    Args:
        loss: per sample, [B], detached.
        gradients: gradients of the mean loss, in the order of `operator.parameters()`; None for a parameter without one.
        reported: the values that the enforcer reported, detached.
        orbit: the orbit that the enforcer received.
        step: the step that the enforcer received.
    """

    loss: Tensor
    gradients: list[Tensor | None]
    reported: dict[str, Tensor]
    orbit: Orbit
    step: Trial

    @property
    def flat(self) -> Tensor:
        """All gradients in one row; a single zero if there are none."""
        return torch.cat([g.flatten() for g in self.gradients if g is not None] or [self.loss.new_zeros(1)])


def enforce(enforcer: Enforcer, orbit: Orbit, step: Step) -> Enforcement:
    """Call the enforcer, and demand an `Enforcement` with a loss [B]."""
    enforcement: Enforcement = enforcer(orbit, step)
    must(isinstance(enforcement, Enforcement), f"forward returned {type(enforcement).__name__}, not an Enforcement")
    loss, rows = enforcement.loss, len(orbit.input)
    must(isinstance(loss, Tensor), "forward returned no loss, which its kinds promise")
    assert loss is not None
    must(loss.shape == (rows,), f"the loss of a batch of {rows} has the shape {list(loss.shape)}, not [{rows}]")
    return enforcement


def one_pass(
    enforcer: Enforcer, operator: Operator, x: Tensor, step: Trial | None = None, condition: Tensor | None = None
) -> Pass:
    """Run one forward and one backward, as in training; a loss without gradient is allowed."""
    step = step or Trial(operator, x)
    operator.zero_grad(set_to_none=True)
    orbit = Orbit(operator, x, condition)
    enforcement = enforce(enforcer, orbit, step)
    assert enforcement.loss is not None
    mean = enforcement.loss.mean()
    if mean.requires_grad:
        mean.backward()  # type: ignore[no-untyped-call]
    gradients = [None if p.grad is None else p.grad.clone() for p in operator.parameters()]
    reported = {name: value.detach() for name, value in enforcement.reported.items()}
    return Pass(enforcement.loss.detach(), gradients, reported, orbit, step)


def pull(subject: Subject, K: Tensor, *, x: Tensor | None = None, turn: Tensor | None = None) -> Tensor:
    """The gradient of the loss at a linear map K and white points (or x), [1, n, n]; for a stochastic enforcer one gradient
    per draw, [D, n, n]."""
    x = white(len(K), 2 * len(K)) if x is None else x
    x = x if turn is None else x @ turn.T
    pulls = []
    for index in range(DRAWS if subject.traits.stochastic else 1):
        enforcer, operator = begun(subject, Linear(K), bare=True)
        done = one_pass(enforcer, operator, x, Trial(operator, x, index=index, turn=turn))
        pulls.append(torch.zeros_like(K) if done.gradients[0] is None else done.gradients[0])
    return torch.stack(pulls)


def residual_of(K: Tensor) -> Tensor:
    """K^2 - K."""
    return K @ K - K
