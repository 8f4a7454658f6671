"""Errors that a person reads: what was wrong, where, what was expected, the nearest choice, the next step."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

__all__ = ["BadInput", "Failure", "IdemlabError", "Interrupted", "nearest_match"]


def nearest_match(name: str, choices: Iterable[str]) -> str | None:
    """The choice most similar to `name`, or None if none is similar."""
    folded = {choice.lower().replace("_", "-"): choice for choice in choices}
    close = difflib.get_close_matches(name.lower().replace("_", "-"), folded, n=1, cutoff=0.55)
    return folded[close[0]] if close else None


class IdemlabError(Exception):
    """Base of all errors that the command line prints without a traceback.

    Args:
        what: what is wrong, in one sentence.
        where: the file, key, plugin or distribution at fault.
        expected: what would have been right.
        choices: the valid choices, if they can be listed.
        nearest: the choice that was probably meant.
        next_step: what to do now, preferably a command.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        choices: Sequence[str] = (),
        nearest: str | None = None,
        next_step: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.expected = expected
        self.choices = tuple(choices)
        self.nearest = nearest
        self.next_step = next_step
        super().__init__(what)

    def lines(self) -> list[tuple[str, str]]:
        """(label, text) pairs in reading order; the first label is empty."""
        pairs = [
            ("", self.what),
            ("where", self.where),
            ("expected", self.expected),
            ("choices", ", ".join(self.choices) or None),
            ("did you mean", self.nearest),
            ("next", self.next_step),
        ]
        return [(label, text) for label, text in pairs if text]

    def __str__(self) -> str:
        return "\n".join(f"  {label}: {text}" if label else text for label, text in self.lines())


class BadInput(IdemlabError):
    """The user's input is invalid; exit code 2. Raised before any work starts."""

    exit_code = 2


class Failure(IdemlabError):
    """A valid request failed (NaN, network, disk); exit code 1."""

    exit_code = 1


class Interrupted(IdemlabError):
    """Ctrl-C or SIGTERM stopped the work; its state is saved."""

    exit_code = 130
