"""What a step costs, counted: matrix products as multiples of one forward, calls of f, and accumulations."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from idemlab import Orbit, Step
from idemlab_enforcers.cubic import Cubic
from idemlab_enforcers.gradient import Gradient
from idemlab_enforcers.hybrid import Hybrid
from idemlab_enforcers.ign import IGN
from idemlab_enforcers.rank import Rank
from idemlab_enforcers.relative import Relative

ALONE = {
    "cubic": (lambda: Cubic(1.0, "unit"), 5, 3),
    "gradient-full": (lambda: Gradient(1.0, "full", "l2", 1), 6, 2),
    "gradient-inner": (lambda: Gradient(1.0, "inner", "l2", 1), 5, 2),
    "gradient-depth-2": (lambda: Gradient(1.0, "full", "l2", 2), 9, 3),
    "relative": (lambda: Relative(1.0), 6, 2),
    "rank-probes": (lambda: Rank(2, 1.0, 1.0, 1.0, 2, 1, 0.0), 6 + 24 * 2, 7),
    "switch": (lambda: Hybrid([Cubic(1.0, "unit"), Gradient(1.0, "full", "l2", 1)], "switch", 0.25, 0.0), 7, 3),
}
"""(enforcer, forwards F of the step, calls of f). The first call of `rank` looks at f once more, uncounted."""

WITH_RECONSTRUCTION = {
    "reversal": (lambda: IGN(20.0, 2.5, 1.5, "l1", "reversal"), 9, 3),
    "surrogate": (lambda: IGN(20.0, 2.5, 1.5, "l1", "surrogate"), 10, 3),
    "cubic": (lambda: IGN(20.0, 2.5, 1.5, "l1", "cubic"), 9.5, 4),  # 10F less one input gradient, as below
    "no-tightness": (lambda: IGN(20.0, 0.0, 1.5, "l1", "reversal"), 8, 3),
    "no-tightness-cubic": (lambda: IGN(20.0, 0.0, 1.5, "l1", "cubic"), 8, 4),
}


class Counted(nn.Module):
    """A stack of two square layers that counts its calls; with gradient to the input a backward is exactly two forwards."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
        self.calls = 0
        self.accumulations = [0] * 4
        for index, parameter in enumerate(self.parameters()):
            parameter.register_post_accumulate_grad_hook(lambda _, index=index: self._accumulated(index))

    def _accumulated(self, index: int) -> None:
        self.accumulations[index] += 1

    def forward(self, x):
        self.calls += 1
        return self.layers(x)


def cost(enforcer, reconstruction):
    """(cost in forwards, calls of f, accumulations into each parameter) of one step."""
    operator, x, z = Counted(), torch.randn(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    with FlopCounterMode(display=False) as one:
        operator.layers(x)
    with FlopCounterMode(display=False) as counter:
        step, r = Step(), torch.zeros(3)
        if reconstruction:
            r = (operator(x) - x).abs().mean(1)
            step.reconstruction = r
        (r + enforcer(Orbit(operator, z), step).loss).mean().backward()
    return counter.get_total_flops() / one.get_total_flops(), operator.calls, operator.accumulations


@pytest.mark.parametrize("name", ALONE)
def test_cost_alone(name):
    enforcer, forwards, calls = ALONE[name]
    assert cost(enforcer(), reconstruction=False) == (forwards, calls, [1, 1, 1, 1])


@pytest.mark.parametrize("name", WITH_RECONSTRUCTION)
def test_cost_beside_a_reconstruction(name):
    enforcer, forwards, calls = WITH_RECONSTRUCTION[name]
    assert cost(enforcer(), reconstruction=True) == (forwards, calls, [1, 1, 1, 1])


def test_outer_routing_needs_no_gradient_of_the_first_application():
    # 4F but for the input gradient of the first of the two layers, which nobody asks for.
    assert cost(Gradient(1.0, "outer", "l2", 1), reconstruction=False) == (3.5, 2, [1, 1, 1, 1])
