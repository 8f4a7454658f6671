"""What passes: the purification family, with its ranks and domains, an architecture, a penalty that is differentiated twice.

These are enforcers with the traits that no built-in one has.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from idemlab import Enforcement, Enforcer, EnforcerKind, EnforcerSpec, Orbit, Step, Traits
from idemlab.contracts.enforcer import half_squared_distance, l2
from idemlab.testing import check_enforcer

UNIT = (0.0, 1.0)


def trace(K: Tensor) -> Tensor:
    return K.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]


def ratio(a: Tensor, b: Tensor, otherwise: float) -> Tensor:
    """a / b, or what it is taken for at idempotents, where it is 0/0."""
    nothing = b.abs() < 1e-6
    return torch.where(nothing, otherwise, a / torch.where(nothing, 1.0, b))


class Truflandier(Enforcer):
    """HPCP: X + 2 [X^2 (I - X) - c X (I - X)], c = tr(X^2 (I - X)) / tr(X (I - X)); keeps the trace."""

    def project(self, matrix: Tensor) -> Tensor:
        X, X2 = matrix, matrix @ matrix
        first, second = X2 - X2 @ X, X - X2
        return X + 2 * (first - ratio(trace(first), trace(second), 0.5) * second)


class Niklasson(Enforcer):
    """SP2: X^2 if tr X > r, else 2 X - X^2."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self._rank = rank

    def project(self, matrix: Tensor) -> Tensor:
        X, X2 = matrix, matrix @ matrix
        return torch.where(trace(X) > self._rank, X2, 2 * X - X2)


class FourthOrder(Enforcer):
    """TRS4: F + σ G, F = X^2 (4 X - 3 X^2), G = X^2 (I - X)^2, σ = (r - tr F) / tr G in [0, 6], else SP2."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self._rank = rank

    def project(self, matrix: Tensor) -> Tensor:
        X, X2 = matrix, matrix @ matrix
        F, G = X2 @ (4 * X - 3 * X2), X2 @ (X2 - 2 * X) + X2
        s = ratio(self._rank - trace(F), trace(G), 3.0)
        return torch.where(s > 6, 2 * X - X2, torch.where(s < 0, X2, F + s * G))


class Conjugated(nn.Module):
    """Q A Q^T for an orthogonal Q that is learned and a binary diagonal A: idempotent whatever Q is."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.1 * torch.randn(n, n, dtype=torch.float64))
        self.register_buffer("keep", (torch.arange(n) % 2).double())

    def forward(self, x: Tensor) -> Tensor:
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


def hpcp() -> Any:
    return Truflandier()


def sp2(rank: int) -> Any:
    return Niklasson(rank)


def trs4(rank: int) -> Any:
    return FourthOrder(rank)


def conjugated() -> Any:
    return ByConstruction()


def slope() -> Any:
    return SlopePenalty()


def damped() -> Any:
    return Damped()


PROJECTION = frozenset({EnforcerKind.PROJECTION})
STEERED = Traits(kinds=PROJECTION, linear_only=True, orthogonally_equivariant=True, targets_rank=True, domain=UNIT)

FAMILY = {
    "hpcp": (
        hpcp,
        Traits(kinds=PROJECTION, linear_only=True, orthogonally_equivariant=True, preserves_rank=True, domain=UNIT),
        {},
    ),
    "sp2": (sp2, STEERED, {"rank": 2}),
    "sp2-to-zero": (sp2, STEERED, {"rank": 0}),
    "trs4": (trs4, STEERED, {"rank": 3}),
    "conjugated": (conjugated, Traits(kinds=frozenset({EnforcerKind.ARCHITECTURE})), {}),
    "slope-penalty": (
        slope,
        Traits(kinds=frozenset({EnforcerKind.LOSS}), needs_double_backward=True, live_depth=1),
        {},
    ),
    "damped": (damped, Traits(kinds=frozenset({EnforcerKind.SUBSTITUTION}), stochastic=True), {}),
}


@pytest.mark.parametrize("name", list(FAMILY))
def test_it_passes(name: str) -> None:
    factory, traits, arguments = FAMILY[name]
    spec = EnforcerSpec(name=name, factory=factory, summary="", traits=traits)
    report = check_enforcer(spec, arguments, quick=True)
    assert report.passed, str(report)
    assert len(report.rows) > 3
