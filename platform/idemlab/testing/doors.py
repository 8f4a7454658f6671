"""Entry points to the checks: a report in Python, a pytest test for each check, and the reproduction of one failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..contracts.specs import (
    DatasetSpec,
    EnforcerSpec,
    MetricSpec,
    ModelSpec,
    OptimizerSpec,
    ScheduleSpec,
    SourceSpec,
    Spec,
    TrackerSpec,
)
from ..errors import BadInput, nearest_match
from . import checks  # noqa: F401  (puts them on the list)
from .checks.trackers import elsewhere
from .kit import CHECKS, Check, CheckFailed, examine, isolated
from .report import Outcome, Report, Row, failure_text
from .subject import Subject

__all__ = [
    "CHECKED_KINDS",
    "check_dataset",
    "check_enforcer",
    "check_metric",
    "check_model",
    "check_optimizer",
    "check_schedule",
    "check_source",
    "check_thing",
    "check_tracker",
    "conformance_checks",
    "enforcer_checks",
    "reproduce",
]

CHECKED_KINDS = ("enforcer", "model", "dataset", "source", "metric", "optimizer", "schedule", "tracker")
"""The kinds of named things that have checks."""

F = TypeVar("F", bound=Callable[..., Any])
Failures = Mapping[str, str]
Thing = Spec | Callable[..., Any] | str
Given = Thing | tuple[Thing, Mapping[str, Any]]


def check_enforcer(
    enforcer: EnforcerSpec | Callable[..., Any] | str,
    arguments: Mapping[str, Any] | None = None,
    *,
    expected_failures: Failures | None = None,
    quick: bool = False,
) -> Report:
    """Run every check that applies to an enforcer's traits, on small operators and linear maps.

    Args:
        enforcer: a spec, the name of an installed enforcer, what `idemlab.enforcer` returns, or any loss `enforce(f, x)`
            that gives a scalar; `loss_spec` takes its traits.
        arguments: arguments of its factory, as in an experiment.
        expected_failures: check -> why it fails. The report passes only if these checks fail and all others pass.
        quick: try fewer linear maps.

    Raises:
        BadInput: for an unknown name, check or argument, and whatever the factory raises.
    """
    return check_thing("enforcer", enforcer, arguments, expected_failures=expected_failures, quick=quick)


def check_model(
    model: ModelSpec | str,
    arguments: Mapping[str, Any] | None = None,
    *,
    expected_failures: Failures | None = None,
) -> Report:
    """Check a model's shapes, batches, precision and state, for each shape of sample that it takes. See `check_enforcer`."""
    return check_thing("model", model, arguments, expected_failures=expected_failures)


def check_dataset(
    dataset: DatasetSpec | str,
    arguments: Mapping[str, Any] | None = None,
    *,
    expected_failures: Failures | None = None,
) -> Report:
    """Check a dataset's batches, shapes and range, and that no test sample occurs in train. See `check_enforcer`."""
    return check_thing("dataset", dataset, arguments, expected_failures=expected_failures)


def check_source(
    source: SourceSpec | str,
    arguments: Mapping[str, Any] | None = None,
    *,
    expected_failures: Failures | None = None,
) -> Report:
    """Check a source's shapes, randomness, micro-batches and state. See `check_enforcer`."""
    return check_thing("source", source, arguments, expected_failures=expected_failures)


def check_metric(
    metric: MetricSpec | str,
    arguments: Mapping[str, Any] | None = None,
    *,
    expected_failures: Failures | None = None,
) -> Report:
    """Check that a metric gives finite values for samples or sets, and resets itself. See `check_enforcer`."""
    return check_thing("metric", metric, arguments, expected_failures=expected_failures)


def check_optimizer(
    optimizer: OptimizerSpec | str,
    arguments: Mapping[str, Any] | None = None,
    *,
    expected_failures: Failures | None = None,
) -> Report:
    """Check that an optimiser trains all parameters at the rate it is set, and resumes. See `check_enforcer`."""
    return check_thing("optimizer", optimizer, arguments, expected_failures=expected_failures)


def check_schedule(
    schedule: ScheduleSpec | str,
    arguments: Mapping[str, Any] | None = None,
    *,
    expected_failures: Failures | None = None,
) -> Report:
    """Check that the rates of a schedule are finite and depend on the progress alone. See `check_enforcer`."""
    return check_thing("schedule", schedule, arguments, expected_failures=expected_failures)


def check_tracker(
    tracker: TrackerSpec | str,
    arguments: Mapping[str, Any] | None = None,
    *,
    expected_failures: Failures | None = None,
) -> Report:
    """Check that a tracker takes all that a run sends. It is opened, in a temporary working folder. See `check_enforcer`."""
    return check_thing("tracker", tracker, arguments, expected_failures=expected_failures)


def check_thing(
    kind: str,
    thing: Thing,
    arguments: Mapping[str, Any] | None = None,
    *,
    expected_failures: Failures | None = None,
    quick: bool = False,
    watch: Callable[[str], None] = lambda _: None,
) -> Report:
    """`check_enforcer`, `check_model`, ... with the kind as an argument.

    Args:
        watch: called with the name of each check before it runs.
    """
    if kind not in CHECKED_KINDS:
        plural = "studies" if kind == "study" else f"{kind}s"
        raise BadInput(f"there are no checks for {plural}", expected=f"one of {', '.join(CHECKED_KINDS)}")
    subject = Subject.of(kind, thing, arguments)
    expected = dict(expected_failures or {})
    applicable = _applicable(subject, expected)
    with isolated(), elsewhere() if kind == "tracker" else nullcontext():
        # If it cannot be built or fetched, it raises its own error. A model is built for the shape of a check.
        if kind == "optimizer":
            subject.build([nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2))])
        elif not subject.entry.spec.passed:
            subject.built  # noqa: B018
    rows = []
    for check in applicable:
        watch(check.name)
        start = time.perf_counter()
        finding = examine(check, subject, quick=quick)
        seconds = time.perf_counter() - start
        reason = expected.get(check.name, "")
        if finding is None:
            outcome = Outcome.UNEXPECTED if reason else Outcome.PASSED
        else:
            outcome = Outcome.EXPECTED if reason else Outcome.FAILED
        failure = "" if finding is None else failure_text(check, subject, finding)
        rows.append(Row(check.name, check.statement, outcome, seconds, reason, failure))
    return Report(kind, subject.entry.spec.name, subject.given, subject.origin, quick, tuple(rows))


def _applicable(subject: Subject, expected: Failures) -> list[Check]:
    """The checks for this subject, in order.

    Raises:
        BadInput: if an expected failure names no check that applies, or gives no reason.
    """
    kind = subject.named.kind
    found = [check for check in CHECKS if check.kind == kind and check.applies(subject.traits)]
    names = [check.name for check in found]
    for name, reason in expected.items():
        if name not in names:
            exists = any(check.name == name and check.kind == kind for check in CHECKS)
            raise BadInput(
                f"the check '{name}' does not apply to {subject.title}" if exists else f"there is no check '{name}'",
                where="expected failures",
                choices=names,
                nearest=nearest_match(name, names),
                next_step="leave it out, or name one of these",
            )
        if not reason.strip():
            raise BadInput(
                f"the check '{name}' is expected to fail, but the reason is missing",
                where="expected failures",
                expected="a reason, such as 'it needs a reconstruction beside it'",
            )
    return found


def enforcer_checks(
    enforcers: Sequence[Given], *, expected_failures: Failures | None = None, quick: bool = False
) -> Callable[[F], F]:
    """Decorator for a pytest test that takes `check`: the test runs once for each check of each enforcer.

        @enforcer_checks(["my-enforcer", ("my-enforcer", {"routing": "inner"})])
        def test_conformance(check):
            check()

    Args:
        enforcers: specs, names or losses, each alone or as (name, arguments).
        expected_failures: check -> why it fails; these checks become a strict xfail.
        quick: try fewer linear maps.
    """
    return conformance_checks("enforcer", enforcers, expected_failures=expected_failures, quick=quick)


def conformance_checks(
    kind: str, things: Sequence[Given], *, expected_failures: Failures | None = None, quick: bool = False
) -> Callable[[F], F]:
    """`enforcer_checks` for any kind that has checks: enforcer, model, dataset, optimizer, ..."""
    import pytest

    expected = dict(expected_failures or {})
    params, unused = [], set(expected)
    for given in things:
        thing, arguments = given if isinstance(given, tuple) else (given, None)
        subject = Subject.of(kind, thing, arguments)
        for check in _applicable(subject, {}):
            reason = expected.get(check.name, "")
            unused.discard(check.name)
            marks = [pytest.mark.xfail(reason=reason, strict=True, raises=CheckFailed)] if reason else []
            params.append(
                pytest.param(_Bound(check, subject, quick), id=f"{_label(subject)}-{check.name}", marks=marks)
            )
    if unused:
        raise BadInput(f"no check is named {', '.join(sorted(unused))}", where="expected failures")
    mark: Callable[[F], F] = pytest.mark.parametrize("check", params)
    return mark


def _label(subject: Subject) -> str:
    """Name and plain arguments, for the name of a test."""
    shown = [f"{key}={value}" for key, value in subject.given.items() if isinstance(value, (str, int, float))]
    return ",".join([subject.entry.spec.name, *shown])


class _Bound:
    """One check of one thing, which a test calls."""

    def __init__(self, check: Check, subject: Subject, quick: bool) -> None:
        self.check, self.subject, self.quick = check, subject, quick

    def __call__(self) -> None:
        finding = examine(self.check, self.subject, quick=self.quick)
        if finding is not None:
            raise CheckFailed(failure_text(self.check, self.subject, finding)) from finding.error


def reproduce(
    thing: Thing,
    check: str,
    *,
    kind: str = "enforcer",
    arguments: Mapping[str, Any] | None = None,
    matrix: Tensor | None = None,
) -> None:
    """Run one check again, on the given linear map if the check uses maps, and raise the original error.

    Raises:
        CheckFailed: if the statement of the check does not hold.
        Exception: whatever the checked thing raises.
    """
    subject = Subject.of(kind, thing, arguments)
    (found,) = [c for c in _applicable(subject, {check: "to be seen"}) if c.name == check]
    finding = examine(found, subject, matrix=matrix)
    if finding is not None:
        raise finding.error
