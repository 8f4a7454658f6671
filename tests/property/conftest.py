"""What the property tests share: the profile of hypothesis, the shipped cubic iteration and bounds of its rounding errors.

Most properties hold bit for bit: eigenvalues of a few bits in a basis of small integers (`exact_bases`) leave nothing to
round. Where something is rounded the bound is derived from the entries at hand, k = ||K||_F and u = eps/2, to first order.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache

import pytest
import torch
from hypothesis import HealthCheck, settings
from torch import Tensor

from idemlab import Enforcer, installed
from idemlab.testing import LinearMap

EPS = torch.finfo(torch.float64).eps
SMALLEST = 2.0**-1074

settings.register_profile(
    "linear-maps",
    deadline=None,
    max_examples=100 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 12,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],  # a busy machine is no fault of a strategy
)
settings.load_profile("linear-maps")


@cache
def _build(name: str, **arguments: object) -> Enforcer:
    catalog = installed()
    enforcer = catalog.check("enforcer", {"name": name, **arguments}, "tests/property").build()
    assert isinstance(enforcer, Enforcer)
    return enforcer


@pytest.fixture(scope="session")
def build() -> Callable[..., Enforcer]:
    """An enforcer of the catalog, by name and arguments."""
    return _build


@pytest.fixture(scope="session")
def damped() -> Callable[[float], Callable[[Tensor], Tensor]]:
    """s -> (K -> (1-s) K + s h(K)), as shipped."""
    return lambda s: _build("purification", step=s).project


@pytest.fixture(scope="session")
def cubic() -> Callable[[Tensor], Tensor]:
    """h(K) = 3 K^2 - 2 K^3, as shipped."""
    return _build("purification").project


def _rounding(matrix: Tensor) -> float:
    """Bound of ||fl(h(K)) - h(K)||_F.

    fl(K^2) is off by n u k^2, which the sum takes 3 + 2k times; the product K^2 K and the sum by (n + 2) u (3 k^2 + 2 k^3).
    Each of the n products in an entry is off by half of the smallest number, too, where it is itself smaller than normal.
    """
    n, k = matrix.shape[0], float(matrix.norm())
    return (n + 1) * EPS * (3 * k**2 + 2 * k**3) + 8 * n**2 * SMALLEST


@pytest.fixture(scope="session")
def rounding() -> Callable[[Tensor], float]:
    """||fl(h(K)) - h(K)||_F of one step is at most this."""
    return _rounding


def _formation(K: LinearMap) -> float:
    """Bound of ||fl(S Λ S^-1) - S Λ S^-1||_F: two products, and an inverse that is off by 2n u ||S^-1||."""
    largest = max((block.matrix().norm() for block in K.blocks), default=torch.zeros(()))
    scale = max(1.0, float(largest))
    return 4 * K.size * EPS * float(K.basis.matrix.norm() * K.basis.inverse.norm()) * scale


@pytest.fixture(scope="session")
def formation() -> Callable[[LinearMap], float]:
    """How far `K.matrix` may be from the map that it stands for."""
    return _formation


@pytest.fixture(scope="session")
def drift() -> Callable[[LinearMap, int], float]:
    """Bound, to first order, of how far rounding takes the limit from the projector of the map that was asked for.

    What an iterate is off by moves the limit by at most `sensitivity` times that: no eigenvalue comes nearer to 1/2 on its
    way than it was, or was to an end of the basin, at the start.
    """
    cubic = _build("purification").project

    def bound(K: LinearMap, steps: int) -> float:
        off, iterate = _formation(K), K.matrix
        for _ in range(steps):
            off, iterate = off + _rounding(iterate), cubic(iterate)
        return K.sensitivity * off + _formation(K)

    return bound
