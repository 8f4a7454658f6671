"""Tests of the tests: enforcers with one mistake each, and the checks that must catch it, by name.

The mistakes are those that public code and drafts have made, and those that a declaration can hide.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from idemlab import Enforcement, Enforcer, EnforcerSpec, Orbit, Step
from idemlab.testing import check_enforcer
from idemlab.testing.kit import CHECKS, examine
from idemlab.testing.subject import Subject

LOSSES, MAPS = (runpy.run_path(str(Path(__file__).with_name(f"{name}_mutants.py"))) for name in ("loss", "map"))
MUTANTS: dict[str, Any] = LOSSES["MUTANTS"] | MAPS["MUTANTS"]
canonical, CANONICAL, CONJUGATED = LOSSES["canonical"], LOSSES["CANONICAL"], MAPS["CONJUGATED"]


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
            return MAPS["Conjugated"](operator)

    def right() -> Any:
        return Right()

    report = check_enforcer(EnforcerSpec(name="right", factory=right, summary="", traits=CONJUGATED), quick=True)
    assert report.passed, str(report)


def test_without_their_mistake_they_pass() -> None:
    """The kit does not fail whatever it sees: what the mutants are made of, made right."""

    class Right(LOSSES["Counting"]):
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
