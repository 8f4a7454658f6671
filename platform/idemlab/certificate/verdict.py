"""The verdict on an operator, in one word and in one sentence, and the thresholds it goes by. Needs no torch."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["CONSTANT", "FULL_RANK", "NOT_IDEMPOTENT", "SINGULAR", "THRESHOLDS", "UNMOVED", "Verdict"]

CONSTANT = 0.05
"""Spread of f(x), as a share of the spread of x, below which an operator is constant."""
NOT_IDEMPOTENT = 0.1
"""Relative error above which an operator is not idempotent."""
UNMOVED = 0.05
"""|f(x) - x| off the manifold, as a share of the spread, below which an operator is the identity."""
FULL_RANK = 0.95
"""Rank, as a share of n, at which an operator that moves less than half of the spread is the identity."""
SINGULAR = 0.5
"""Singular value of the Jacobian at f(x) above which it counts as rank: those of an idempotent are 0 or at least 1."""

THRESHOLDS = {
    "constant: spread of f(x), as a share of the spread of x, below": CONSTANT,
    "not idempotent: relative error above": NOT_IDEMPOTENT,
    "identity: |f(x) - x| off the manifold, as a share of the spread, below": UNMOVED,
    "identity: or that below a half, and the rank, as a share of n, at least": FULL_RANK,
    "rank: singular values of the Jacobian at f(x) above": SINGULAR,
}
"""What the verdict goes by, in this order (rank 0 is constant, too); printed with the numbers."""


class Verdict(StrEnum):
    """What an operator turned out to be; `sentence` says it in plain words."""

    CONSTANT = "constant"
    IDENTITY = "identity"
    NOT_IDEMPOTENT = "not idempotent"
    GENUINE = "genuine"

    @property
    def sentence(self) -> str:
        """One plain-language sentence."""
        return _SENTENCES[self]


_SENTENCES = {
    Verdict.CONSTANT: "Its output hardly depends on its input: perhaps idempotent, but a collapse.",
    Verdict.IDENTITY: "It leaves everything (nearly) as it is: idempotent, but it projects nothing.",
    Verdict.NOT_IDEMPOTENT: "Applying it a second time still changes the result by more than a tenth of the spread.",
    Verdict.GENUINE: "It projects: applying it again changes little, and it is neither constant nor the identity.",
}
