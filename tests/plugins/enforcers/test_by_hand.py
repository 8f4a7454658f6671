"""A loss written by hand has the value and the gradient of its enforcer."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import idemlab
from idemlab import Step, l1

CASES: dict[str, dict[str, Any]] = {
    "gradient": {"name": "gradient", "weight": 0.7},
    "gradient-deep": {"name": "gradient", "distance": "l1", "depth": 2},
    "cubic": {"name": "cubic", "weight": 3.0},
    "cubic-unit": {"name": "cubic", "cotangent": "unit"},
    "cubic-mean": {"name": "cubic", "cotangent": "mean"},
    "relative": {"name": "relative", "weight": 2.0},
    "relative-squared": {"name": "relative", "squared": True},
    "log-relative": {"name": "log-relative", "weight": 0.1, "scale": 0.3},
    "ign": {"name": "ign"},
    "ign-l2": {"name": "ign", "distance": "l2", "clamp": 0.0},
    "ign-without-tightness": {"name": "ign", "tightness": 0.0},
}


def written(table: dict[str, Any]) -> Any:
    """Table of an enforcer -> ({name: function that makes the loss written by hand}, the enforcer)."""
    named = idemlab.installed().check("enforcer", table, "here")
    return named.spec.by_hand(**named.arguments), named.build()  # type: ignore[attr-defined]


@pytest.mark.parametrize("case", CASES)
def test_what_is_written_by_hand_is_the_same_loss(case, enforced, gradients, difference) -> None:
    torch.manual_seed(0)
    operator = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 6))
    x, z = torch.randn(5, 6), torch.randn(5, 6)
    ways, enforcer = written(CASES[case])
    other = copy.deepcopy(operator)
    step = Step()
    step.reconstruction = l1(other(x), x)
    value, expected = enforced(enforcer, other, z, step, step.reconstruction.mean())
    assert ways
    for make in ways.values():
        r = (operator(x) - x).abs().mean(1)
        loss = make(operator)(operator(z), r)
        assert loss.item() == pytest.approx(value.mean().item())
        assert difference(gradients(loss + r.mean(), operator), expected) < 1e-6  # the reversal's floor


@pytest.mark.parametrize(
    "table", [{"name": "gradient", "routing": "inner"}, {"name": "ign", "routing": "cubic"}], ids=["inner", "cubic"]
)
def test_what_has_no_plain_form_offers_none(table) -> None:
    assert written(table)[0] == {}


def test_the_copy_follows_the_weights_and_is_no_part_of_them() -> None:
    operator = nn.Linear(4, 4)
    y, r = torch.randn(3, 4), torch.ones(3)
    for name, make in written(CASES["ign"])[0].items():
        loss = make(operator)
        before = loss(y, r)
        with torch.no_grad():
            operator.weight.mul_(2)
        assert loss(y, r) != before, name
