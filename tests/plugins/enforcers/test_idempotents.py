"""At an exact idempotent no enforcer moves anything, and all stay finite."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from idemlab import Step
from idemlab_enforcers.cubic import Cubic
from idemlab_enforcers.gradient import Gradient
from idemlab_enforcers.hybrid import Hybrid
from idemlab_enforcers.ign import IGN
from idemlab_enforcers.relative import LogRelative, Relative

# Exactly representable, and exactly computed on integer points: a rounding error would have a full L1 gradient.
IDEMPOTENTS = {
    "zero": [[0.0, 0.0], [0.0, 0.0]],
    "identity": [[1.0, 0.0], [0.0, 1.0]],
    "orthogonal": [[0.5, 0.5], [0.5, 0.5]],
    "oblique": [[1.0, 2.0], [0.0, 0.0]],
}

ENFORCERS = {
    "cubic": lambda: Cubic(1.0, "matched"),
    "gradient": lambda: Gradient(1.0, "full", "l2", 1),
    "gradient-l1": lambda: Gradient(1.0, "full", "l1", 2),
    "gradient-inner": lambda: Gradient(1.0, "inner", "l1", 1),
    "gradient-outer": lambda: Gradient(1.0, "outer", "l1", 1),
    "relative": lambda: Relative(1.0),
    "relative-squared": lambda: Relative(1.0, squared=True),
    "log-relative": lambda: LogRelative(1.0, 0.01),
    "ign": lambda: IGN(20.0, 2.5, 1.5, "l1", "reversal"),
    "ign-surrogate": lambda: IGN(20.0, 2.5, 1.5, "l1", "surrogate"),
    "ign-cubic": lambda: IGN(20.0, 2.5, 1.5, "l1", "cubic"),
    "switch": lambda: Hybrid([Cubic(1.0, "unit"), Relative(1.0)], "switch", 0.25, 0.0),
}


@pytest.mark.parametrize("name", ENFORCERS)
def test_the_update_is_exactly_zero(name, linear, enforced):
    x = torch.tensor([[1.0, 2.0], [-3.0, 5.0], [4.0, -2.0], [0.0, 7.0]])
    for idempotent, matrix in IDEMPOTENTS.items():
        operator = linear(torch.tensor(matrix))
        step = Step()
        step.reconstruction = (operator(x) - x).abs().mean(1)
        loss, (gradient,) = enforced(ENFORCERS[name](), operator, x, step)
        assert torch.equal(loss, torch.zeros(4)), idempotent
        assert torch.equal(gradient, torch.zeros(2, 2)), idempotent


class Constant(nn.Module):
    """f(x) = c for every x: idempotent, and without spread."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor([0.25, -0.5]))

    def forward(self, x):
        return self.value + 0 * x


@pytest.mark.parametrize("name", ENFORCERS)
def test_constants_are_left_alone(name, enforced):
    step = Step()
    step.reconstruction = torch.ones(3)
    _, (gradient,) = enforced(ENFORCERS[name](), Constant(), torch.randn(3, 2), step)
    assert torch.equal(gradient, torch.zeros(2))
