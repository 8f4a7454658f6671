"""The kit takes any loss `enforce(f, x)`, and sees its mistakes."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import idemlab
from idemlab import BadInput, EnforcerKind, Traits
from idemlab.testing import CheckFailed, check_enforcer, loss_spec, reproduce
from idemlab.testing.kit import CHECKS, examine
from idemlab.testing.subject import Subject


def idempotence(f: nn.Module, x: Tensor) -> Tensor:
    """The canonical loss, as one writes it."""
    y = f(x)
    return (f(y) - y).square().mean()


def shrinks(f: nn.Module, x: Tensor) -> Tensor:
    """Pulls everything to zero."""
    return f(f(x)).square().mean()


def per_sample(f: nn.Module, x: Tensor) -> Tensor:
    """Forgets the mean."""
    return (f(f(x)) - f(x)).flatten(1).square().mean(1)


def test_a_right_loss_passes() -> None:
    smooth = Traits(kinds=frozenset({EnforcerKind.LOSS}), batch_coupled=True, live_depth=1)
    report = check_enforcer(loss_spec(idempotence, smooth), quick=True)
    assert report.passed, str(report)


@pytest.mark.long
def test_a_right_loss_passes_without_traits() -> None:
    assert check_enforcer(idempotence, quick=True).passed


@pytest.mark.long
def test_a_wrong_loss_fails_and_is_reproduced() -> None:
    report = check_enforcer(shrinks, quick=True)
    assert "idempotents-stay" in report.failed
    assert f"from {__name__} import shrinks" in str(report) or __name__ not in sys.modules
    with pytest.raises(CheckFailed):
        reproduce(shrinks, "idempotents-stay", matrix=torch.eye(1, dtype=torch.float64))


def test_a_loss_that_forgets_the_mean_is_told_so() -> None:
    (check,) = (each for each in CHECKS if each.kind == "enforcer" and each.name == "gradient-reaches-every-parameter")
    finding = examine(check, Subject.of("enforcer", per_sample), quick=True, shrink=False)
    assert "not a scalar tensor" in str(finding)


@pytest.mark.long
@pytest.mark.parametrize(("name", "arguments"), [("gradient", {}), ("purification", {"step": 0.5})])
def test_what_enforcer_returns_is_checked_as_its_name_is(name: str, arguments: dict[str, Any]) -> None:
    loose = check_enforcer(idemlab.enforcer(name, **arguments), quick=True)
    named = check_enforcer(name, arguments, quick=True)
    assert loose.passed
    assert [row.check for row in loose.rows] == [row.check for row in named.rows]


def test_a_callable_of_another_kind_is_refused() -> None:
    with pytest.raises(BadInput, match="a model is checked by its name or its spec"):
        idemlab.testing.check_model(idempotence)  # type: ignore[arg-type]
