"""What passes: a projection that keeps the trace, an architecture, a penalty with two derivatives, random directions.

These are enforcers with the traits that no built-in one has.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from idemlab import Enforcement, Enforcer, EnforcerKind, EnforcerSpec, Orbit, Purifier, Step, Traits
from idemlab.contracts.enforcer import half_squared_distance, l2
from idemlab.testing import check_enforcer


class TraceKept(Enforcer):
    """Palser-Manolopoulos without a rank."""

    def project(self, matrix: Tensor) -> Tensor:
        return Purifier(method="pm").step(matrix)


class Conjugated(nn.Module):
    """Q A Q^T for an orthogonal Q that is learned and a binary diagonal A: idempotent whatever Q is."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.1 * torch.randn(n, n, dtype=torch.float64))
        self.register_buffer("keep", (torch.arange(n) % 2).double())

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        Q = torch.linalg.matrix_exp(self.weight - self.weight.T)
        return (x.flatten(1) @ Q * self.keep @ Q.T).view_as(x)


class ByConstruction(Enforcer):
    """Refuses images, as architectures may."""

    def wrap(self, operator: nn.Module) -> nn.Module:
        if any(isinstance(module, nn.Conv2d) for module in operator.modules()):
            raise ValueError("not for convolutions")
        keep = operator.keep
        assert isinstance(keep, Tensor)
        return Conjugated(keep.numel())


class SlopePenalty(Enforcer):
    """The canonical loss and the squared norm of its slope at y."""

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        y = orbit.output
        leaf = y.detach().requires_grad_()
        with torch.enable_grad():
            error = l2(orbit.apply(leaf), leaf)
            (slope,) = torch.autograd.grad(error.sum(), leaf, create_graph=True)
        return Enforcement(loss=l2(orbit.live(2), y) + slope.flatten(1).square().sum(1))


class Damped(Enforcer):
    """The cubic cotangent along random directions: v (v . g), with v of random signs."""

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        y = orbit.output
        g = orbit.ahead(0) - 3 * orbit.ahead(1) + 2 * orbit.ahead(2)
        v = step.signs(y)
        along = (v * g).flatten(1).sum(1).view(-1, *[1] * (y.ndim - 1)) * v
        return Enforcement(loss=half_squared_distance(y, orbit.ahead(0) - along))


def trace_kept() -> Any:
    return TraceKept()


def conjugated() -> Any:
    return ByConstruction()


def slope() -> Any:
    return SlopePenalty()


def damped() -> Any:
    return Damped()


FAMILY = {
    "trace-kept": (
        trace_kept,
        Traits(
            kinds=frozenset({EnforcerKind.PROJECTION}),
            linear_only=True,
            orthogonally_equivariant=True,
            preserves_rank=True,
            domain=(0.0, 1.0),
        ),
        {},
    ),
    "conjugated": (conjugated, Traits(kinds=frozenset({EnforcerKind.ARCHITECTURE})), {}),
    "slope-penalty": (
        slope,
        Traits(kinds=frozenset({EnforcerKind.LOSS}), needs_double_backward=True, live_depth=1),
        {},
    ),
    "damped": (damped, Traits(kinds=frozenset({EnforcerKind.SUBSTITUTION}), stochastic=True), {}),
}


@pytest.mark.parametrize(
    "name", [n if n not in ("damped", "slope-penalty") else pytest.param(n, marks=pytest.mark.long) for n in FAMILY]
)
def test_it_passes(name: str) -> None:
    factory, traits, arguments = FAMILY[name]
    spec = EnforcerSpec(name=name, factory=factory, summary="", traits=traits)
    report = check_enforcer(spec, arguments, quick=True)
    assert report.passed, str(report)
    assert len(report.rows) > 3
