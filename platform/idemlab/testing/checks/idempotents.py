"""Checks of an enforcer at linear maps: idempotents stay, nearby maps approach them, ranks are kept.

N = K^2 - K is the residual. The pull of a loss at K is its gradient at white points; the pull of a weight projection
K -> K' is K - K'.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from ...contracts.enforcer import Enforcer
from ...contracts.orbit import Operator
from ...contracts.specs import EnforcerKind, Traits
from ..bases import exact_bases, oblique_bases
from ..kit import CheckFailed, at_most, check, must
from ..linear_map import Block
from ..operators import Coded, Linear
from ..spectrum import eigenvalues, spectra
from ..strategies import idempotents, linear_maps, near_idempotents
from ..subject import Subject
from ..trials import (
    Trial,
    begun,
    draws,
    ended,
    generic,
    has_loss,
    one_pass,
    pull,
    residual_of,
    shapes,
    white,
)

__all__: list[str] = []

Maps = st.SearchStrategy[Any]

_NEAR = 0.1
"""Largest distance from an idempotent at which attraction is checked."""
_SIGMA = 6.0
"""Allowed error of the mean of random draws, in standard errors."""


def _moves(traits: Traits) -> bool:
    """Whether it has a loss or a projection."""
    return has_loss(traits) or _projects(traits)


def _projects(traits: Traits) -> bool:
    return EnforcerKind.PROJECTION in traits.kinds


def _pulls(subject: Subject, K: Tensor, x: Tensor | None = None) -> list[Tensor]:
    """The updates that its loss, its projection or both subtract from K, each [draws, n, n]."""
    pulls = []
    if has_loss(subject.traits):
        pulls.append(pull(subject, K, x=x))
    if _projects(subject.traits):
        pulls.append((K - _project(subject.enforcer(), K)).unsqueeze(0))
    return pulls


def _project(enforcer: Enforcer, K: Tensor) -> Tensor:
    with torch.no_grad():
        return enforcer.project(K.clone())


# -- the maps ---------------------------------------------------------------------------------------------------------


def _mild(n: int) -> Maps:
    """Bases with cond(S) <= 2."""
    return oblique_bases(n, 2.0)


def _sized(subject: Subject, maps: Callable[[int, int | None], Maps]) -> Maps:
    """Maps of 1 to 4 rows, of the subject's rank if it targets one; larger maps would show nothing new.

    `maps` is given n and the rank.
    """
    rank = subject.rank if subject.traits.targets_rank else None
    sizes = st.integers(1, 4) if rank is None else st.integers(max(rank, 1), rank + 2)
    return sizes.flatmap(lambda n: maps(n, rank))


def _idempotent(subject: Subject) -> Maps:
    """Exactly representable idempotents."""
    return _sized(subject, lambda n, rank: idempotents(size=n, rank=rank, basis=exact_bases))


def _near_idempotent(subject: Subject) -> Maps:
    """Maps near an idempotent, but not idempotent, within the domain; with the idempotent's trace, if the trace is kept.
    Maps near the constant map are left out: a penalty relative to the size of the outputs rightly leads away from it."""

    def maps(n: int, rank: int | None) -> Maps:
        ranks = st.integers(1, n) if rank is None else st.just(rank)
        if subject.traits.preserves_rank:
            return ranks.flatmap(lambda r: linear_maps(_balanced(n + 1, r), _mild))
        if subject.traits.domain is None:
            return ranks.flatmap(lambda r: near_idempotents(_NEAR, size=n, rank=r, basis=_mild))
        return ranks.flatmap(lambda r: linear_maps(_inward(n, r), _mild))

    return _sized(subject, maps).filter(lambda K: float(residual_of(K.matrix).norm()) > 1e-3)


def _inward(n: int, r: int) -> st.SearchStrategy[tuple[Block, ...]]:
    """Spectra within [0, 1]: r eigenvalues near 1, the others near 0."""
    ones = st.lists(st.floats(1 - _NEAR, 1.0), min_size=r, max_size=r)
    zeros = st.lists(st.floats(0.0, _NEAR), min_size=n - r, max_size=n - r)
    return st.tuples(ones, zeros).map(lambda both: tuple(Block(value) for value in both[0] + both[1]))


def _balanced(n: int, r: int) -> st.SearchStrategy[tuple[Block, ...]]:
    """Spectra of trace r within [0, 1]: r eigenvalues are a little below 1, and one more makes up the difference."""
    lacks = st.lists(st.floats(0.0, _NEAR / r), min_size=r, max_size=r)
    return lacks.map(lambda a: (*[Block(1 - lack) for lack in a], Block(sum(a)), *[Block(0.0)] * (n - r - 1)))


def _anywhere(subject: Subject) -> Maps:
    """Maps with eigenvalues anywhere in the domain, or in [-2, 2] and complex."""
    domain = subject.traits.domain
    values = eigenvalues() if domain is None else eigenvalues(*domain, pairs=False)
    bases = partial(oblique_bases, condition=3.0)
    return _sized(subject, lambda n, _: linear_maps(spectra(values, size=n), bases))


# -- checks -----------------------------------------------------------------------------------------------------------


@check(
    "enforcer",
    applies=_moves,
    maps=_idempotent,
    cause="the fixed points are not the idempotents: a wrong sign or coefficient (3 f(y) + 2 f(f(y)), say), "
    "a pull towards something else (to 0, say), or 0/0 at an idempotent",
)
def idempotents_stay(subject: Subject, K: Tensor) -> None:
    """At an idempotent nothing moves."""
    n = len(K)
    x = draws((n,), 2 * n).mul(4).round()  # of integers: nothing is rounded, so that L1 losses have no stray signs
    inward = 0.9 * K + 0.03 * torch.eye(n, dtype=K.dtype)
    for here, there in zip(_pulls(subject, K, x), _pulls(subject, inward, x), strict=True):
        must(bool(torch.isfinite(here).all()), "its update at an idempotent is not finite")
        if len(here) == 1:
            scale = float(there.norm()) or 1.0
            at_most(here.norm() / scale, 1e-8, "|update| at the idempotent, divided by that nearby")
        else:
            error = here.std(0) / len(here) ** 0.5 + 1e-8 * there.norm()
            at_most((here.mean(0).abs() / error).max(), _SIGMA, "|mean update| at the idempotent, in standard errors")


@check(
    "enforcer",
    applies=lambda traits: _moves(traits) and traits.attracts and not traits.targets_rank,
    maps=_near_idempotent,
    cause="it moves away from idempotents, or not at all: a wrong sign, a power of f too few or too many, or a part of "
    "the gradient that is missing; if it needs a reconstruction beside it, declare attracts=False",
)
def attracted_in_one_step(subject: Subject, K: Tensor) -> None:
    """One small step from near an idempotent brings ||K^2 - K|| down."""
    N = residual_of(K)
    if has_loss(subject.traits):
        G = pull(subject, K).mean(0)
        change = K @ G + G @ K - G  # how N changes along G
        cosine = (N * change).sum() / (N.norm() * change.norm()).clamp_min(1e-300)
        at_most(-cosine, -0.02, "rate of ||K^2 - K|| along the update, as a cosine")
    if _projects(subject.traits):
        after = residual_of(_project(subject.enforcer(), K))
        at_most(after.norm() / N.norm(), 0.9999, "||K'^2 - K'|| / ||K^2 - K||")


@check(
    "enforcer",
    applies=lambda traits: _moves(traits) and traits.attracts,
    maps=_near_idempotent,
    examples=(20, 2),
    cause="near an idempotent its pull is too weak, or points elsewhere: check whether it fades in some directions, "
    "or depends on the scale of the outputs",
)
def attracted_to_the_end(subject: Subject, K: Tensor) -> None:
    """Many steps from near an idempotent end at an idempotent of the same rank: ||K^2 - K|| <= 0.01 (1e-6 by projection)."""
    rank = round(float(K.trace()))
    for ending, bound in _endings(subject, K):
        at_most(residual_of(ending).norm(), bound, "||K^2 - K|| in the end")
        at_most((ending.trace() - rank).abs(), 0.1, f"|trace - {rank}| in the end")


def _endings(subject: Subject, K: Tensor, steps: int = 100) -> list[tuple[Tensor, float]]:
    """(end point of its loss or its projection, bound of the residual there), for each that it has."""
    endings = []
    if has_loss(subject.traits):
        stochastic = subject.traits.stochastic  # noise is averaged away, not pulled at
        endings.append((_trained(subject, K, 4 * steps if stochastic else steps), 0.05 if stochastic else 0.01))
    if _projects(subject.traits):
        endings.append((_iterated(subject, K), 1e-6))
    return endings


def _iterated(subject: Subject, K: Tensor, steps: int = 3000) -> Tensor:
    """The limit of the projection from K. A single step may increase the residual (SP2's does, to reach the rank), so this
    iterates to the end, unlike `purify`."""
    enforcer = subject.enforcer()
    for _ in range(steps):
        if not float(residual_of(K).norm()) > 1e-9:
            break
        K = _project(enforcer, K)
    return K


def _trained(subject: Subject, K: Tensor, steps: int) -> Tensor:
    """The end of gradient descent from K with the enforcer's loss alone. The length of the steps falls to 0, whatever the
    scale of the loss. Their direction is the gradient's, unlike Adam's: entries with a small gradient hardly move, and a
    vanishing gradient is not scaled up."""
    operator = Linear(K)
    enforcer, _ = begun(subject, operator, bare=True)
    weight = operator.linear.weight
    x = white(len(K), 128 if subject.traits.stochastic else 4 * len(K))
    largest = 1e-300
    for index in range(steps):
        step = Trial(operator, x, index=index, progress=0.5 + 0.5 * index / steps)
        done = one_pass(enforcer, operator, x, step)
        gradient = torch.zeros_like(K) if done.gradients[0] is None else done.gradients[0]
        largest = max(largest, float(gradient.norm()))
        with torch.no_grad():
            weight -= 0.06 * (1 - index / steps) * gradient / gradient.norm().clamp_min(1e-3 * largest)
        ended(enforcer, operator, step)
    reached: Tensor = weight.detach()
    return reached


@check(
    "enforcer",
    applies=lambda traits: _moves(traits) and traits.preserves_rank,
    maps=_anywhere,
    cause="its update changes the trace: preserves_rank is declared, but the coefficients are not those that keep it",
)
def trace_is_kept(subject: Subject, K: Tensor) -> None:
    """The update of a map has trace 0."""
    for update in _pulls(subject, K):
        traces, scale = update.diagonal(dim1=-2, dim2=-1).sum(-1), float(update.norm(dim=(-2, -1)).mean())
        if scale <= 1e-14 * float(K.norm()):  # nothing but rounding
            continue
        if len(update) == 1:
            at_most(traces.abs() / scale, 1e-8, "|trace of the update| / |update|")
        else:
            error = traces.std() / len(traces) ** 0.5 + 1e-8 * scale
            at_most(traces.mean().abs() / error, _SIGMA, "|mean trace of the update|, in standard errors")


@check(
    "enforcer",
    applies=lambda traits: _moves(traits) and traits.targets_rank,
    cause="it does not steer to the rank: the estimate of the trace is wrong or biased, the sign is wrong, or no argument "
    "named `rank` says which rank",
)
def rank_is_reached(subject: Subject) -> None:
    """From eigenvalues between 0 and 1, it leads to the trace given by the argument `rank`."""
    rank = subject.rank
    if rank is None:
        raise CheckFailed("it declares targets_rank, and has no argument named 'rank'")
    n = rank + 2
    low, high = subject.traits.domain or (0.0, 1.0)
    margin = 0.1 * (high - low)
    for start in (rank - 1, rank + 1):
        share = min(max(start / n, margin), 1 - margin)
        spread = torch.linspace(-margin / 2, margin / 2, n, dtype=torch.float64)
        Q = torch.linalg.qr(draws((n,), n, "rank")).Q
        K = Q @ torch.diag(low + share * (high - low) + spread) @ Q.T
        for ending, _ in _endings(subject, K, 200):
            at_most(
                (ending.trace() - rank).abs(), 0.25, f"|trace - {rank}| in the end, from trace {float(K.trace()):.3g}"
            )


@check(
    "enforcer",
    applies=lambda traits: _moves(traits) and traits.orthogonally_equivariant,
    maps=_anywhere,
    cause="it does not treat all coordinates alike, as with L1 distances, masks and clamps of entries: "
    "declare orthogonally_equivariant=False",
)
def orthogonally_equivariant(subject: Subject, K: Tensor) -> None:
    """For an orthogonal Q, the update of Q K Q^T is Q U Q^T, where U is the update of K."""
    n = len(K)
    if float(residual_of(K).norm()) < 1e-9 * max(1.0, float(K.norm()) ** 2):
        return  # what moves an idempotent is rounding, which turns as it likes; an exact penalty makes a whole step of it
    Q = torch.linalg.qr(draws((n,), n, "turn")).Q
    turned = Q @ K @ Q.T
    updates = []
    if has_loss(subject.traits):
        updates.append((pull(subject, K), pull(subject, turned, turn=Q)))
    if _projects(subject.traits):
        enforcer = subject.enforcer()
        updates.append((_project(enforcer, K) - K, _project(subject.enforcer(), turned) - turned))
    for plain, other in updates:
        scale = float(plain.norm())
        if scale > 1e-9:
            at_most((other - Q @ plain @ Q.T).norm() / scale, 1e-6, "|update of Q K Q^T - Q update Q^T| / |update|")


@check(
    "enforcer",
    applies=_moves,
    maps=_anywhere,
    cause="it divides by what may be 0, overflows, or is not defined for all these eigenvalues: declare its domain",
)
def defined_on_its_domain(subject: Subject, K: Tensor) -> None:
    """The update is finite in the declared domain, and a projection does not leave it."""
    for update in _pulls(subject, K):
        must(bool(torch.isfinite(update).all()), "its update is not finite")
    domain = subject.traits.domain
    if domain is not None and _projects(subject.traits):
        low, high = domain
        projected = _project(subject.enforcer(), K)
        must(bool(torch.isfinite(projected).all()), "its projection is not finite")
        values = torch.linalg.eigvals(projected).real
        at_most(max(low - values.min(), values.max() - high), 1e-3, "how far eigenvalues leave the domain in one step")


@check(
    "enforcer",
    applies=lambda traits: has_loss(traits) and traits.smooth and not (traits.stochastic or traits.targets_rank),
    maps=lambda subject: _sized(subject, lambda n, _: idempotents(size=n, basis=_mild)),
    cause="the value of the loss does not belong to its gradient, as for a surrogate such as (y * g).sum(); or the loss "
    "has a kink at idempotents (L1, a root): declare smooth=False",
)
def loss_is_flat_at_idempotents(subject: Subject, K: Tensor) -> None:
    """Near an idempotent the loss is quadratic: at a tenth of the distance it is a hundredth."""
    n = len(K)
    x = white(n, 2 * n)
    away = residual_of(K + 0.1 * draws((n,), n, "away") / n)  # a direction in which the residual grows
    away = away / away.norm().clamp_min(1e-12)
    values = []
    for distance in (1e-2, 1e-3):
        beside = K + distance * away
        enforcer, operator = begun(subject, Linear(beside), bare=True)
        values.append(one_pass(enforcer, operator, x).loss.abs().sum())
    if float(values[0]) > 1e-18:
        at_most(values[1] / values[0], 0.03, "loss at distance 0.001 / loss at 0.01")


class _TwoPlaces(Coded):
    """An operator with separate weights for f(x) and for later applications, equal in value."""

    def __init__(self, make: Callable[[], Operator], x: Tensor) -> None:
        super().__init__()
        self.first, self.later = make(), make()
        self.later.load_state_dict(self.first.state_dict())
        self._x = x

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = (self.first if torch.equal(x, self._x) else self.later)(x)
        return y


@check(
    "enforcer",
    applies=lambda traits: has_loss(traits) and traits.expands,
    cause="the tightness term has the wrong sign, is applied through a frozen copy and so does nothing, or lets the "
    "gradient through y, which has to be held fixed",
)
def expands_where_the_point_is_fixed(subject: Subject) -> None:
    """It drives f(y) away from y held fixed, and never pushes y away from f(y)."""
    shape = next(iter(shapes(subject).values()))
    x = draws(shape, 8)
    operator = _TwoPlaces(lambda: generic(subject, shape), x)
    enforcer, _ = begun(subject, operator, bare=True)
    one_pass(enforcer, operator, x)
    pulled = [_row(part) for part in (operator.first, operator.later)]
    operator.zero_grad()
    y = operator.first(x)
    (operator.later(y) - y).square().flatten(1).mean().backward()
    errors = [_row(part) for part in (operator.first, operator.later)]
    must(float(pulled[1].norm()) > 0, "no gradient reaches f where it is applied to y: nothing expands")
    at_most(
        _cosine(pulled[1], errors[1]), -0.2, "cosine of its gradient where f is applied to y with that of |f(y) - y|^2"
    )
    at_most(-_cosine(pulled[0], errors[0]), 0.0, "minus the cosine of its gradient through y with that of |f(y) - y|^2")


def _row(part: Operator) -> Tensor:
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in part.parameters()])


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    cosine: Tensor = (a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-300)
    return cosine
