"""`purify`: iterate a purification on a matrix until it is idempotent, and report what was reached."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import get_args

import torch
from torch import Tensor

from ..arguments import whole
from ..catalog.catalog import installed
from ..contracts.enforcer import Enforcer
from ..contracts.specs import EnforcerKind
from ..errors import BadInput, nearest_match
from ..wording import with_article
from .family import trace
from .purifier import METHODS, Purifier, Stage, widened
from .spectrum import Spectrum, in_domain

__all__ = ["CONTRACTION", "Ending", "Purification", "purify", "residual"]

CONTRACTION = 0.25
"""||K^2 - K|| below which every member of the family contracts quadratically. Any growth below it is rounding."""
_PATIENCE = 8
"""Steps without a new lowest residual after which the iteration stops. For a map that is far from normal, rounding dominates
the residual long before the eigenvalues have converged; eight steps take an error of 0.9 to its 256th power."""
_WANDERS = 0.1
"""A step of a quadratic method makes N = K^2 - K a polynomial in N that begins with N^2: without rounding, a small norm is
about squared, however far from normal K is. At a small floor, a step that leaves more than this part of it is rounding."""


def residual(matrix: Tensor) -> Tensor:
    """||K^2 - K||_F of matrices [..., n, n], in float32 at least."""
    K = widened(matrix)
    norm: Tensor = torch.linalg.matrix_norm(K @ K - K)
    return norm


class Ending(StrEnum):
    """Why a purification ended; the value is the message."""

    CONVERGED = "converged: ||K^2 - K|| is at the rounding floor of about eps ||K||^3"
    FLOOR = (
        "stopped at the rounding floor: further steps did not decrease ||K^2 - K||, which is as good as this map allows"
    )
    TOLERANCE = "reached the requested tolerance"
    STEPS = "stopped after the largest number of steps"
    RANK = "stopped at an idempotent of another rank than the requested one"
    DIVERGED = "diverged: outside the basin of attraction, or too badly conditioned for its precision"


_WORST = list(Ending)
"""From the best to the worst."""


@dataclass(frozen=True)
class Purification:
    """What `purify` returns.

    Args:
        matrix: the best iterate, [..., n, n]; the last one if none reached the contraction region.
        residuals: ||K^2 - K||_F of the start and after each step up to that iterate; of a stack, the largest.
        ending: why the iteration ended; of a stack, the worst.
        products: matrix products (GEMMs) that the iteration took until it ended, those of the stopping test included; of a
            stack, all together; None where the steps are a function's or an enforcer's.
        members: of a stack, the purification of each matrix; empty for one matrix.
    """

    matrix: Tensor
    residuals: tuple[float, ...]
    ending: Ending
    products: int | None = None
    members: tuple[Purification, ...] = ()

    @property
    def steps(self) -> int:
        """Number of steps to `matrix`."""
        return len(self.residuals) - 1

    @property
    def idempotent(self) -> bool:
        """Whether the contraction region was reached and the iteration ended by itself, at the requested rank."""
        return self.ending in (Ending.CONVERGED, Ending.FLOOR, Ending.TOLERANCE)


@torch.no_grad()
def purify(
    matrix: Tensor,
    method: str | Purifier | Enforcer | Callable[[Tensor], Tensor] = "cubic",
    *,
    rank: int | None = None,
    gap: float | None = None,
    spectrum: Spectrum = "check",
    tolerance: float = 0.0,
    max_steps: int = 200,
) -> Purification:
    """Make a matrix, or each matrix of a stack, idempotent by iteration, and report the residual that was reached.

    `cubic`, `holas-5` and `holas-7` converge to the spectral projector of the eigenvalues beyond 1/2, from a wide basin.
    `optimal` reaches it with the fewest matrix products, if the eigenvalues are in [0, 1] and their gap at 1/2 is known.
    `sp2`, `trs4`, `hpcp` and `pm` converge to the projector of the `rank` largest eigenvalues, if all are in [0, 1].
    docs/method.md says when to use which.

    Once ||K^2 - K||_F is below 1/4 (and the trace within 1/2 of the requested rank), the iterate with the lowest
    residual is kept, and the iteration stops when eight steps in a row find no lower one. It does not stop at the first
    rise, because the residual of a map that is far from normal may rise at first. Below the square root of the precision,
    a residual counts as lower only if it is lower by at least 1 %: rounding alone can lower it a little for hundreds of
    steps. Each step of `cubic`, `holas-5`, `holas-7` and `optimal` at least squares a small residual, up to a factor. At the
    rounding floor of a map that is not far from normal, their first step that does not divide it by ten is therefore the
    last.

    Matrices in bfloat16 and float16 are computed and returned in float32: the residual of a matrix in half precision is
    rounding.

    Args:
        matrix: K [..., n, n], real or complex; not changed.
        method: name of a method or of an installed enforcer of kind weight projection, a `Purifier`, an `Enforcer`, or a
            function K -> K'.
        rank: r, from 0 to n, for the methods that steer the trace. `hpcp` and `pm` keep the trace of K if none is given.
        gap: smallest distance of an eigenvalue from 1/2, in (0, 0.5], for `optimal`; measured if not given.
        spectrum: of the methods that need eigenvalues in [0, 1]: "check" computes them once (which costs more than about
            twenty products) and refuses others, "rescale" moves others to [0, 1], "trusted" computes none: eigenvalues
            outside then diverge or end at another projector.
        tolerance: stop as soon as the residual is at most this.
        max_steps: largest number of steps.

    Raises:
        BadInput: if the matrix, or the spectrum, does not fit the method, or the settings do not belong together.
    """
    _check_settings(spectrum, tolerance, max_steps)
    purifier, own = _chosen(method, rank, gap)
    purifier.check(matrix)
    K = widened(matrix)
    first: tuple[Stage, ...] = ()
    if own is None:
        K, purifier = in_domain(K, purifier, spectrum)
        first, then = purifier.stages(K.dtype, 2 * tolerance / K.shape[-1] ** 0.5)
    else:
        then = _as_stage(own), 0
    X = K if K.ndim == 2 else K.reshape(-1, *K.shape[-2:])
    squares = X @ X
    starts = zip(_each(X), _left(X, squares), _ranks(X, purifier), strict=True)
    quadratic = own is None and not purifier.steers
    courses = [_Course(*each, tolerance=tolerance, beginning=len(first), quadratic=quadratic) for each in starts]
    spent, active = 1, courses
    for index in range(max_steps):
        going = [k for k, course in enumerate(active) if not course.over]
        if not going:
            break
        if len(going) < len(active):
            X, squares, active = X[going], squares[going], [active[k] for k in going]
        stage, cost = first[index] if index < len(first) else then
        X = stage(X, squares)
        squares = X @ X
        spent += cost
        for course, iterate, left in zip(active, _each(X), _left(X, squares), strict=True):
            course.go_on(iterate, left, spent)
    done = [course.result(own is None) for course in courses]
    return done[0] if matrix.ndim == 2 else _stacked(done, matrix.shape)


def _check_settings(spectrum: object, tolerance: object, max_steps: object) -> None:
    """Refuse what would be taken for something else, or only be found out in the middle."""
    if spectrum not in get_args(Spectrum):
        choices = get_args(Spectrum)
        what = f"there is no way to treat the spectrum called {spectrum!r}"
        raise BadInput(
            what,
            where="purify",
            choices=choices,
            nearest=nearest_match(str(spectrum), choices),
            next_step="leave 'spectrum' out: the eigenvalues are then checked where the method needs it",
        )
    number = isinstance(tolerance, (int, float)) and not isinstance(tolerance, bool)
    if not number or not 0 <= tolerance < math.inf:  # type: ignore[operator]
        raise BadInput(
            f"the tolerance cannot be {tolerance!r}",
            where="purify",
            expected="a number of 0 or more",
            next_step="leave 'tolerance' out: the iteration then ends where rounding lets it go no further",
        )
    next_step = "leave 'max_steps' out: 200 are enough for nearly every matrix"
    whole(max_steps, "max_steps", 0, where="purify", next_step=next_step)


def _chosen(method: object, rank: int | None, gap: float | None) -> tuple[Purifier, Callable[[Tensor], Tensor] | None]:
    """The purifier, and the step that takes its place where the caller has one of their own."""
    if isinstance(method, str) and method in METHODS:
        return Purifier(method=method, rank=rank, gap=gap), None
    if rank is not None or gap is not None:
        raise BadInput(
            "'rank' and 'gap' need the name of a purification method: an enforcer has its own arguments, a function none",
            where="purify",
            choices=METHODS,
        )
    if isinstance(method, Purifier):
        return method, None
    if isinstance(method, str):
        method = _installed(method)
    if not isinstance(method, Enforcer) and isinstance(getattr(method, "enforcer", None), Enforcer):
        method = method.enforcer  # type: ignore[attr-defined]  # what `idemlab.enforcer` returns
    if not isinstance(method, Enforcer) and not callable(method):
        raise BadInput(
            f"the method is {with_article(type(method).__name__)}",
            where="purify",
            expected="the name of a method or of a weight projection, a Purifier, an Enforcer, or a function K -> K'",
            choices=METHODS,
        )
    return Purifier(), method.project if isinstance(method, Enforcer) else method


def _installed(name: str) -> Enforcer:
    """The enforcer of this name, which must be a weight projection."""
    catalog = installed()
    try:
        named = catalog.check("enforcer", name, "purify")
    except BadInput as error:
        raise BadInput(
            f"no purification method is called '{name}', and {error.what}",
            where="purify",
            choices=METHODS,
            nearest=nearest_match(name, METHODS) or error.nearest,
            next_step=error.next_step,
        ) from error
    if EnforcerKind.PROJECTION not in named.traits().kinds:
        raise BadInput(
            f"{named} does not project weights, so it cannot purify a matrix", where="purify", choices=METHODS
        )
    return named.build_as(Enforcer)


def _as_stage(step: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    def stage(X: Tensor, squares: Tensor) -> Tensor:
        made: object = step(X)
        if not isinstance(made, Tensor) or made.shape != X.shape:
            told = f"shape {list(made.shape)}" if isinstance(made, Tensor) else with_article(type(made).__name__)
            raise BadInput(
                f"the method makes {told} of matrices of shape {list(X.shape)}",
                where="purify",
                expected="a function K -> K' that keeps the shape",
            )
        if made.dtype != X.dtype:
            was, became = (str(t.dtype).removeprefix("torch.") for t in (X, made))
            raise BadInput(
                f"the method makes matrices in {became} of matrices in {was}",
                where="purify",
                expected="a function K -> K' that keeps the precision",
                next_step="let the function return the precision of K, or give K in the precision in which it computes",
            )
        return made

    return stage


def _each(X: Tensor) -> list[Tensor]:
    """The matrices of a stack, or the one."""
    return [X] if X.ndim == 2 else list(X)


def _left(X: Tensor, squares: Tensor) -> list[float]:
    """||X^2 - X||_F of each matrix; infinite where the squares in it overflow, though the iterates may stay finite and
    converge."""
    left = torch.linalg.matrix_norm(squares - X).reshape(-1).tolist()
    return [value if value < math.inf else math.inf for value in left]


def _ranks(X: Tensor, purifier: Purifier) -> list[float | None]:
    """The trace that each matrix shall end with; None where it does not matter."""
    traces: list[float] = trace(X).reshape(-1).tolist()
    if not purifier.steers:
        return [None] * len(traces)
    return [float(purifier.rank if purifier.rank is not None else t) for t in traces]


class _Course:
    """The way of one matrix: its best iterate, and when to stop.

    Args:
        start: the matrix.
        left: its residual.
        rank: the trace to end with, or None.
        tolerance: of the residual.
        beginning: number of steps that are taken whatever the residual does.
        quadratic: whether each step at least squares a small residual. `sp2` squares one end of the spectrum only, and the
            steps of a function may converge slowly.
    """

    def __init__(
        self, start: Tensor, left: float, rank: float | None, *, tolerance: float, beginning: int, quadratic: bool
    ) -> None:
        self._rank, self._tolerance, self._beginning, self._quadratic = rank, tolerance, beginning, quadratic
        self._best, self._on_rank = start, self._reaches(start)
        self._residuals = [left]
        self._at = self._fell = 0
        self._hair = float(torch.finfo(start.dtype).eps) ** 0.5
        self._ending: Ending | None = None
        self.spent = 1

    @property
    def over(self) -> bool:
        """Whether it needs no further step."""
        return self._ending is not None or self._arrived

    @property
    def _arrived(self) -> bool:
        return self._residuals[self._at] <= self._tolerance and self._on_rank

    @property
    def _contracting(self) -> bool:
        begun = len(self._residuals) > self._beginning
        return begun and self._residuals[self._at] < CONTRACTION and self._on_rank

    def _reaches(self, iterate: Tensor) -> bool:
        return self._rank is None or abs(float(trace(iterate)) - self._rank) < 0.5

    def go_on(self, iterate: Tensor, left: float, spent: int) -> None:
        """Take note of the next iterate."""
        self.spent = spent
        contracting, finite = self._contracting, bool(iterate.isfinite().all())
        if not finite and not contracting:
            self._ending = Ending.DIVERGED
            return
        on_rank = self._reaches(iterate)
        before = self._residuals[self._at]
        settled = self._quadratic and contracting and before <= self._floor() <= self._hair
        self._residuals.append(left)
        # Outside the region the newest one counts.
        if left < (before if contracting else math.inf) and (on_rank or not contracting):
            self._best, self._at, self._on_rank = iterate, len(self._residuals) - 1, on_rank
            if left > self._hair or left < 0.99 * self._residuals[self._fell]:
                self._fell = self._at
        if not contracting:
            return
        if (settled and left > _WANDERS * before) or len(self._residuals) - 1 - self._fell >= _PATIENCE or not finite:
            self._ending = Ending.CONVERGED if self._residuals[self._at] <= self._floor() else Ending.FLOOR

    def _floor(self) -> float:
        """The residual of the best iterate that may be rounding alone, about eps ||K||^3."""
        norm = float(torch.linalg.matrix_norm(self._best))
        return float(torch.finfo(self._best.dtype).eps) * norm * norm * norm  # a power of a large float raises an error

    def result(self, counted: bool) -> Purification:
        """What was reached."""
        left, ending = self._residuals[self._at], self._ending
        if ending is None:
            missed = not self._on_rank and left <= max(self._hair, self._tolerance)
            ending = Ending.TOLERANCE if self._arrived else Ending.RANK if missed else Ending.STEPS
        residuals = tuple(self._residuals[: self._at + 1])
        return Purification(self._best, residuals, ending, self.spent if counted else None)


def _stacked(members: list[Purification], shape: torch.Size) -> Purification:
    """The purification of a stack."""
    longest = max((each.steps for each in members), default=0)
    padded = [(*each.residuals, *[each.residuals[-1]] * (longest - each.steps)) for each in members]
    return Purification(
        torch.stack([each.matrix for each in members]).view(shape),
        tuple(max(column) for column in zip(*padded, strict=True)),
        max((each.ending for each in members), key=_WORST.index),
        None if members[0].products is None else sum(each.products or 0 for each in members),
        tuple(members),
    )
