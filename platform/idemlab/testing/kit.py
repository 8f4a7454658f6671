"""The list of checks, and the code that registers a check, runs it and shrinks its failure.

A check is a small function with a name. Checks of enforcers apply according to traits. Many are properties of linear maps:
hypothesis searches for a map that breaks the property and shrinks it. Searches and seeds are fixed, so that the outcome is
the same every time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, Protocol

import numpy
import torch
from torch import Tensor

from ..contracts.specs import Traits
from ..errors import IdemlabError

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from .subject import Subject

__all__ = ["CHECKS", "Check", "CheckFailed", "Finding", "at_most", "check", "examine", "isolated", "must"]


class CheckFailed(AssertionError):
    """Raised by a check whose statement does not hold.

    Args:
        what: what was measured, or what is wrong.
        measured: the measured value, if there is one.
        bound: the largest allowed value.
    """

    def __init__(self, what: str, measured: float | None = None, bound: float | None = None) -> None:
        self.what, self.measured, self.bound = what, measured, bound
        figures = "" if measured is None else f": measured {measured:.3g}, bound {bound:.3g}"
        super().__init__(what + figures)


def at_most(measured: Tensor | float, bound: float, what: str) -> None:
    """Demand measured <= bound; NaN fails. `what` names the measured value."""
    figure = float(measured.detach() if isinstance(measured, Tensor) else measured)
    if not figure <= bound:
        raise CheckFailed(what, figure, bound)


def must(condition: bool, what: str) -> None:
    """Demand a condition; `what` says what is wrong if it does not hold."""
    if not condition:
        raise CheckFailed(what)


class _HasMatrix(Protocol):
    """What the strategies for linear maps draw."""

    @property
    def matrix(self) -> Tensor: ...


@dataclass(frozen=True)
class Check:
    """One named check.

    Args:
        name: its name in reports and in expected failures.
        kind: the kind of thing that it checks, for instance "enforcer".
        statement: what must hold, in one sentence.
        cause: the likely cause of a failure.
        applies: whether the check applies to enforcers with these traits.
        run: called with (subject), or for a check on linear maps with (subject, K [n, n]); raises if the statement does not
            hold.
        maps: subject -> strategy for the linear maps; None for a check that makes its own example.
        examples: number of maps drawn by default and under `quick`.
    """

    name: str
    kind: str
    statement: str
    cause: str
    applies: Callable[[Traits], bool]
    run: Callable[..., None]
    maps: Callable[[Subject], SearchStrategy[Any]] | None
    examples: tuple[int, int]


CHECKS: list[Check] = []
"""All checks, in the order in which they are run."""


def check(
    kind: str,
    *,
    cause: str,
    applies: Callable[[Traits], bool] = lambda _: True,
    maps: Callable[[Subject], SearchStrategy[Any]] | None = None,
    examples: tuple[int, int] = (40, 10),
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a check. Its name gives the check's name, and its docstring's first line the statement."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        statement = (function.__doc__ or "").partition("\n")[0]
        name = function.__name__.replace("_", "-")
        CHECKS.append(Check(name, kind, statement, cause, applies, function, maps, examples))
        return function

    return register


@dataclass(frozen=True)
class Finding:
    """How a check failed.

    Args:
        what: what was measured, or what was raised and where.
        measured, bound: the measured value and its bound, if there are any.
        matrix: the shrunk linear map that breaks the statement.
        shown: that map and its spectrum as text.
        error: what was raised.
    """

    what: str
    error: Exception
    measured: float | None = None
    bound: float | None = None
    matrix: Tensor | None = None
    shown: str = ""


def examine(
    check: Check, subject: Subject, *, quick: bool = False, matrix: Tensor | None = None, shrink: bool = True
) -> Finding | None:
    """Run one check; returns None if the statement holds.

    Args:
        matrix: run a check on linear maps with this map only.
        shrink: search for the smallest linear map that fails, which takes longer than to find one.
    """
    if check.maps is None or matrix is not None:
        error = _attempt(check, subject, *([] if check.maps is None else [matrix]))
        return None if error is None else _finding(error, subject)
    found = _search(check, subject, check.examples[quick], shrink)
    return None if found is None else _finding(found[1], subject, found[0])


def _attempt(check: Check, *arguments: object) -> Exception | None:
    """The error that the check raises, or None."""
    with isolated():
        try:
            check.run(*arguments)
        except Exception as error:
            return error
    return None


def _search(check: Check, subject: Subject, examples: int, shrink: bool) -> tuple[_HasMatrix, Exception] | None:
    """(linear map that breaks the check, the error raised there), or None if the check holds."""
    from hypothesis import HealthCheck, Phase, find, settings
    from hypothesis.errors import Flaky, NoSuchExample

    assert check.maps is not None
    left = 4 * examples  # limits shrinking, since a check may be expensive
    known: dict[bytes, bool] = {}
    worst: tuple[_HasMatrix, Exception] | None = None

    def fails(candidate: _HasMatrix) -> bool:
        nonlocal left, worst
        key = candidate.matrix.numpy().tobytes()
        if key not in known:
            if left == 0:
                return False
            left -= 1
            error = _attempt(check, subject, candidate.matrix)
            known[key] = error is not None
            if error is not None:
                worst = candidate, error
        return known[key]

    fixed = settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    try:
        shrunk = find(check.maps(subject), fails, settings=fixed, random=random.Random(0))
    except NoSuchExample:
        return None
    except Flaky:  # the limit was reached while shrinking
        return worst
    error = _attempt(check, subject, shrunk.matrix)
    return worst if error is None else (shrunk, error)


def _finding(error: Exception, subject: Subject, at: _HasMatrix | None = None) -> Finding:
    matrix = None if at is None else at.matrix
    shown = "" if at is None else f"{at!r}\n{_spectrum(at.matrix)}"
    if isinstance(error, CheckFailed):
        return Finding(error.what, error, error.measured, error.bound, matrix, shown)
    text = " ".join(str(error.what if isinstance(error, IdemlabError) else error).split())
    what = f"it raised {type(error).__name__}: {text} ({_place(error, subject.package)})"
    return Finding(what, error, matrix=matrix, shown=shown)


def _place(error: Exception, package: str) -> str:
    """The last file and line of this package in the traceback; where the error was raised, if it has none."""
    frames = list(walk_tb(error.__traceback__))
    own = [frame for frame in frames if frame[0].f_globals.get("__name__", "").partition(".")[0] == package]
    frame, line = (own or frames)[-1]
    return f"{frame.f_code.co_filename}, line {line}"


def _spectrum(matrix: Tensor) -> str:
    """Eigenvalues and singular values, as text."""
    values = sorted(torch.linalg.eigvals(matrix).tolist(), key=lambda value: (-value.real, value.imag))
    shown = [f"{v.real + 0.0:.4g}" + (f"{v.imag:+.4g}i" if abs(v.imag) > 1e-12 else "") for v in values]
    singular = [f"{value:.4g}" for value in torch.linalg.svdvals(matrix).tolist()]
    return f"eigenvalues {', '.join(shown)}; singular values {', '.join(singular)}"


@contextmanager
def isolated() -> Iterator[None]:
    """Run the block with every global generator at a fixed seed and default settings, and restore both afterwards."""
    states = random.getstate(), numpy.random.get_state()
    dtype = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.default_generator.manual_seed(0)
        random.seed(0)
        numpy.random.seed(0)
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            random.setstate(states[0])
            numpy.random.set_state(states[1])
