"""The report of the checks: a row for each check, and for each failure what its author needs to fix it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from .kit import Check, Finding
from .subject import Subject

__all__ = ["Outcome", "Report", "Row", "failure_text"]


class Outcome(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    EXPECTED = "failed as expected"
    UNEXPECTED = "passed, expected to fail"


@dataclass(frozen=True)
class Row:
    """One check and how it ended.

    Args:
        check: name of the check.
        statement: what must hold.
        outcome: how the check ended.
        seconds: how long it took.
        reason: why it was expected to fail, or "".
        failure: the full description of a failure, or "".
    """

    check: str
    statement: str
    outcome: Outcome
    seconds: float
    reason: str = ""
    failure: str = ""


@dataclass(frozen=True)
class Report:
    """The results of the checks.

    Args:
        kind, name: kind and name of the checked thing.
        arguments: its arguments, as given.
        origin: distribution, version and plugin.
        quick: whether fewer examples were tried.
        rows: one row for each check that applies.
    """

    kind: str
    name: str
    arguments: Mapping[str, Any]
    origin: str
    quick: bool
    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether exactly the expected checks failed."""
        return all(row.outcome in (Outcome.PASSED, Outcome.EXPECTED) for row in self.rows)

    @property
    def failed(self) -> tuple[str, ...]:
        """The checks that failed, expected or not."""
        return tuple(row.check for row in self.rows if row.outcome in (Outcome.FAILED, Outcome.EXPECTED))

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values for JSON."""
        return {
            "kind": self.kind,
            "name": self.name,
            "arguments": dict(self.arguments),
            "from": self.origin,
            "quick": self.quick,
            "passed": self.passed,
            "rows": [
                {
                    "check": row.check,
                    "statement": row.statement,
                    "outcome": row.outcome.value,
                    "seconds": round(row.seconds, 3),
                    "reason": row.reason,
                    "failure": row.failure,
                }
                for row in self.rows
            ],
        }

    def summary(self) -> str:
        """One line: the number of checks for each outcome, and the time."""
        counts = [
            f"{number} {outcome}" for outcome in Outcome if (number := sum(r.outcome == outcome for r in self.rows))
        ]
        seconds = sum(row.seconds for row in self.rows)
        return f"{self.kind} '{self.name}': {', '.join(counts) or 'no check applies'}; {seconds:.1f} s"

    def failures(self) -> str:
        """The description of every unexpected failure and every unexpected pass."""
        texts = [row.failure for row in self.rows if row.outcome is Outcome.FAILED]
        texts += [
            f"{row.check} was expected to fail ({row.reason}), but passes: remove it from the expected failures"
            for row in self.rows
            if row.outcome is Outcome.UNEXPECTED
        ]
        return "\n\n".join(texts)

    def __str__(self) -> str:
        width = max((len(row.check) for row in self.rows), default=0)
        lines = [
            f"{row.check.ljust(width)}  {row.outcome}" + (f": {row.reason}" if row.reason else "") for row in self.rows
        ]
        return "\n".join([*lines, "", self.summary(), *(["", self.failures()] if not self.passed else [])])


def failure_text(check: Check, subject: Subject, finding: Finding) -> str:
    """The description of a failure: plugin, map and spectrum, measured value and bound, likely cause, snippet."""
    parts = [
        ("who", subject.title),
        ("from", subject.origin),
        ("should", check.statement),
        ("map", finding.shown),
        ("found", finding.what),
        ("measured", "" if finding.measured is None else f"{finding.measured:.4g}, bound {finding.bound:.4g}"),
        ("likely cause", check.cause),
        ("again", snippet(check, subject, finding)),
    ]
    lines = [f"{check.name} failed"]
    for label, text in parts:
        if not text:
            continue
        if "\n" in text:
            lines += [f"  {label}:", textwrap.indent(text, "    ")]
        else:
            lines.append(f"  {label}: {text}")
    return "\n".join(lines)


def snippet(check: Check, subject: Subject, finding: Finding) -> str:
    """Python code that runs the failed check again, and raises with a traceback."""
    imports, expression = subject.code()
    lines = ["from idemlab.testing import reproduce", *imports.splitlines()]
    arguments = [expression, repr(check.name)]
    if check.kind not in ("enforcer",):
        arguments.append(f"kind={check.kind!r}")
    if subject.given:
        arguments.append(f"arguments={dict(subject.given)!r}")
    if finding.matrix is not None:
        lines.insert(0, "import torch")
        lines += ["", f"K = torch.tensor({finding.matrix.tolist()}, dtype=torch.float64)"]
        arguments.append("matrix=K")
    return "\n".join([*lines, f"reproduce({', '.join(arguments)})"])
