"""The verdict on an operator, in a word and in a sentence, and its thresholds. Works without torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..wording import number

__all__ = [
    "COLLAPSED",
    "CONSTANT",
    "EXACT",
    "FAR",
    "NOT_IDEMPOTENT",
    "ROUNDING",
    "SINGULAR",
    "STAYS",
    "THRESHOLDS",
    "UNMOVED",
    "Evidence",
    "Verdict",
    "collapses",
]

CONSTANT = 0.05
"""Spread of f(x), as a share of the spread of x, below which an operator is narrow, and constant if it is not idempotent."""
NOT_IDEMPOTENT = 0.1
"""Relative error above which an operator is not idempotent."""
ROUNDING = 4.0
"""Spread of f(x), in roundings (machine epsilons times the size of f(x)), up to which an operator is constant."""
UNMOVED = 0.05
"""|f(x) - x| off the manifold, as a share of the spread, below which an operator is the identity."""
SINGULAR = 0.5
"""Singular value of the Jacobian at f(x) above which it counts as rank: those of an idempotent are 0 or at least 1."""
EXACT = 100.0
"""Relative error, in machine epsilons, up to which an operator that claims to be exact is exact."""
FAR = 50
"""Number of applications after which an exact operator must still be where it was after the first."""
STAYS = 10_000.0
"""|f^50(x) - f(x)| as a share of the spread of f(x), in machine epsilons, up to which an operator is exact."""

THRESHOLDS = {
    "constant: spread of f(x), as a share of the spread of x, below": CONSTANT,
    "constant: and at the same time the relative error above": NOT_IDEMPOTENT,
    "constant: or spread of f(x), in roundings of its size, at most": ROUNDING,
    "not idempotent: relative error above": NOT_IDEMPOTENT,
    "identity: |f(x) - x| off the manifold, as a share of the spread, below": UNMOVED,
    "rank: singular values of the Jacobian at f(x) above": SINGULAR,
    "exact: relative error, in machine epsilons, at most": EXACT,
    "exact: |f^50(x) - f(x)| as a share of the spread, in machine epsilons, at most": STAYS,
}
"""The rules of the verdict, in this order, printed with the numbers. The rank does not affect the verdict."""

COLLAPSED = "the outputs are nearly the same for all inputs"


def collapses(spread: float, relative: float) -> bool:
    """Whether a spread of f(x), as a share of the spread of x, and a relative error are those of a constant."""
    return spread < CONSTANT and relative > NOT_IDEMPOTENT


_GRADUAL = 0.5
"""Second displacement, as a share of the first, above which a genuine operator is called gradual."""


class Verdict(StrEnum):
    """The verdict on an operator; `sentence` gives it in plain words."""

    CONSTANT = "constant"
    IDENTITY = "identity"
    NOT_IDEMPOTENT = "not idempotent"
    GENUINE = "genuine"

    @property
    def sentence(self) -> str:
        """One plain-language sentence. `Evidence.notes` adds details."""
        return _SENTENCES[self]


_SENTENCES = {
    Verdict.CONSTANT: "Its output hardly depends on its input: perhaps idempotent, but a collapse.",
    Verdict.IDENTITY: "It leaves everything (nearly) as it is: idempotent, but it projects nothing.",
    Verdict.NOT_IDEMPOTENT: "Applying it a second time still changes the result by more than a tenth of the spread.",
    Verdict.GENUINE: "It projects: applying it again changes little, and it is neither constant nor the identity.",
}


_AT_ONE_POINT = {
    Verdict.CONSTANT: "It moves the one input to a point that it then leaves alone.",
    Verdict.IDENTITY: "It leaves the one input as it is.",
    Verdict.NOT_IDEMPOTENT: "Applying it a second time still changes the result.",
    Verdict.GENUINE: "It leaves the one input as it is.",
}
"""The sentences for inputs that are all the same."""
_UNTOLD = "All inputs are the same, so nothing is known about other inputs, or whether the output depends on the input."


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The measurements at one set of inputs that decide the verdict.

    Args:
        relative: error of the first application, |f(f(x)) - f(x)| as a share of the spread of f(x).
        spread: of f(x).
        input_spread: of x; 0 if all inputs are the same. Then `relative` and `displacement` are 0 up to rounding, or
            infinite.
        displacement: |f(x) - x| as a share of the spread of x.
        rounding: size of the rounding errors of f(x): machine epsilon times the root mean square of f(x).
        off_manifold: whether f should move the inputs.
        discrete: whether a small change of the input changes nothing.
        exact: whether f claims to be idempotent to rounding, and is.
    """

    relative: float
    spread: float
    input_spread: float
    displacement: float
    rounding: float
    off_manifold: bool
    discrete: bool
    exact: bool = False

    @property
    def verdict(self) -> Verdict:
        """The first verdict that applies, in the order of `THRESHOLDS`."""
        idempotent = self.relative <= NOT_IDEMPOTENT  # not a number is not idempotent either
        if self._at_one_point:  # no spread of f(x) shows whether it is constant
            if idempotent and self.displacement == 0:
                return Verdict.IDENTITY if self.off_manifold else Verdict.GENUINE
            return Verdict.CONSTANT if idempotent else Verdict.NOT_IDEMPOTENT
        if self.spread <= ROUNDING * self.rounding or (self._narrow and not idempotent):
            return Verdict.CONSTANT
        if not idempotent:
            return Verdict.NOT_IDEMPOTENT
        if self.off_manifold and self.displacement < UNMOVED:
            return Verdict.IDENTITY
        return Verdict.GENUINE

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarkable properties, each a phrase that follows "it is"."""
        verdict, notes = self.verdict, []
        if verdict is Verdict.IDENTITY and self.discrete and not self._at_one_point:
            notes.append(f"fine rounding: it moves its inputs by {_percent(self.displacement)} of their spread")
        if verdict is not Verdict.GENUINE or self._at_one_point:
            return tuple(notes)
        if self._narrow:
            notes.append(f"narrow: {_percent(self.spread / self.input_spread)} of the inputs' spread")
        if self.discrete:
            notes.append("discrete: a small change of the input changes nothing")
        if self.exact:
            notes.append(f"exact: to rounding, and after {FAR} applications the same as after one")
        first, second = self.displacement * self.input_spread, self.relative * self.spread
        if self.off_manifold and second > _GRADUAL * first:
            notes.append(
                f"gradual: the second application moves the points {_percent(second / first)} as far as the first"
            )
        return tuple(notes)

    @property
    def sentence(self) -> str:
        """The verdict in plain words, with the notes."""
        if self._at_one_point:
            return f"{_AT_ONE_POINT[self.verdict]} {_UNTOLD}"
        return " ".join([self.verdict.sentence, *(f"{note[0].upper()}{note[1:]}." for note in self.notes)])

    @property
    def _at_one_point(self) -> bool:
        return self.input_spread == 0

    @property
    def _narrow(self) -> bool:
        return self.spread < CONSTANT * self.input_spread


def _percent(share: float) -> str:
    return f"{number(100 * share)} %"
