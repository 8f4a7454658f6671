"""Weight projection and `purify`: convergence, the rounding floor, divergence, and what is reported of each."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

import idemlab
from idemlab.objective.projection import project_weights, square_maps
from idemlab.purification.iteration import Ending, purify, residual


def _map(eigenvalues: list[float], condition: float = 1.0, seed: int = 0) -> torch.Tensor:
    """S diag(eigenvalues) S^-1 with cond(S) as given."""
    n = len(eigenvalues)
    g = torch.Generator().manual_seed(seed)
    u, v = (torch.linalg.qr(torch.randn(n, n, generator=g, dtype=torch.float64)).Q for _ in range(2))
    s = u @ torch.diag(torch.logspace(0, float(torch.log10(torch.tensor(condition))), n, dtype=torch.float64)) @ v
    return s @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ torch.linalg.inv(s)


SPECTRUM = [-0.3, -0.1, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.3]


def test_purify_reaches_the_spectral_projector_quadratically() -> None:
    k = _map(SPECTRUM, condition=3.0)
    result = purify(k)
    values, vectors = torch.linalg.eig(k)
    spectral = (vectors @ torch.diag((values.real > 0.5).to(vectors.dtype)) @ torch.linalg.inv(vectors)).real
    assert result.idempotent
    assert torch.allclose(result.matrix, spectral, atol=1e-10)
    left = result.residuals
    contracting = [(a, b) for a, b in pairwise(left) if a < 0.25 and b > 1e-12]
    assert len(contracting) >= 2
    assert all(b <= 4 * a**2 for a, b in contracting)  # N' = 4 N^3 - 3 N^2 and ||N|| < 1/4


@pytest.mark.parametrize(("condition", "reached"), [(1.0, 1e-13), (10.0, 1e-12), (100.0, 1e-9), (1000.0, 1e-6)])
def test_badly_conditioned_maps_stop_at_their_floor_and_say_so(condition: float, reached: float) -> None:
    result = purify(_map(SPECTRUM, condition=condition, seed=3))
    assert result.ending in (Ending.CONVERGED, Ending.FLOOR)
    assert "floor" in result.ending.value
    assert result.residuals[-1] < reached
    assert result.residuals[-1] == min(result.residuals)


def test_divergence_is_reported_and_the_matrix_stays_finite() -> None:
    result = purify(_map([0.1, 0.9, 1.7]))
    assert result.ending is Ending.DIVERGED
    assert not result.idempotent
    assert torch.isfinite(result.matrix).all()


def test_a_residual_that_overflows_is_no_divergence() -> None:
    """Plain iteration takes this nilpotent map to 0 in two steps. After the first, its residual is too large for float32."""
    K = torch.diag(torch.tensor([1e6, 1e5, 1e8]), 1)
    result = purify(K)
    assert (result.ending, result.idempotent) == (Ending.TOLERANCE, True)
    assert result.residuals[1:] == (float("inf"), 0.0)
    assert not result.matrix.any()


@pytest.mark.parametrize("entry", [1e30, float("nan"), float("inf")])
def test_an_iterate_that_is_not_finite_is_divergence(entry: float) -> None:
    assert purify(torch.diag(torch.tensor([entry, 1.0]))).ending is Ending.DIVERGED


def test_the_floor_of_a_huge_map_is_no_error() -> None:
    """||K||^3 is beyond float64."""
    K = torch.tensor([[0.9, 1e150], [0.0, 0.1]], dtype=torch.float64)
    assert purify(K, lambda k: k).ending is Ending.CONVERGED


def test_a_tolerance_and_a_largest_number_of_steps_end_it() -> None:
    assert purify(_map(SPECTRUM), tolerance=1e-3).ending is Ending.TOLERANCE
    assert purify(_map(SPECTRUM), max_steps=1).ending is Ending.STEPS
    already = torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert purify(already).residuals == (0.0,)


def test_any_function_or_enforcer_can_be_iterated() -> None:
    mcweeny = purify(_map(SPECTRUM), lambda k: 3 * k @ k - 2 * k @ k @ k)
    named = purify(_map(SPECTRUM), "purification")
    assert torch.allclose(mcweeny.matrix, named.matrix, atol=1e-10)


def test_a_complex_map_converges() -> None:
    k = _map(SPECTRUM).to(torch.complex128) + 0.02j * torch.eye(10)
    assert purify(k, lambda k: 3 * k @ k - 2 * k @ k @ k).idempotent


@pytest.mark.parametrize("shape", [(2, 3), (3,), (2, 2, 3), (0, 2, 2)])
def test_only_square_matrices_are_purified(shape: tuple[int, ...]) -> None:
    with pytest.raises(idemlab.BadInput, match=r"square|no matrix"):
        purify(torch.zeros(shape))


def test_only_real_and_complex_numbers_are_purified() -> None:
    with pytest.raises(idemlab.BadInput, match="got int64"):
        purify(torch.eye(2, dtype=torch.int64))


@pytest.mark.parametrize(
    ("method", "arguments", "said"),
    [
        ("gradient", {}, "does not project weights"),
        ("cubic", {"rank": 1}, "no rank"),
        (lambda K: K, {"rank": 1}, "need the name of a purification method"),
    ],
)
def test_what_is_no_purification_is_refused(method: Any, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(idemlab.BadInput, match=said):
        purify(torch.eye(2), method, **arguments)


def test_an_unknown_enforcer_is_bad_input() -> None:
    with pytest.raises(idemlab.BadInput, match="cubic-projektion"):
        purify(torch.eye(2), "cubic-projektion")


def test_square_maps_are_found_by_name() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3), nn.Sequential(nn.Linear(3, 3)))
    assert list(square_maps(net)) == ["0.weight", "2.0.weight"]
    assert list(square_maps(nn.Linear(2, 2))) == ["weight"]


def test_weights_are_projected_in_place_and_never_past_the_floor() -> None:
    class Cubic(idemlab.Enforcer):
        def project(self, matrix: torch.Tensor) -> torch.Tensor:
            return 3 * matrix @ matrix - 2 * matrix @ matrix @ matrix

    net = nn.Linear(10, 10, bias=False).double()
    k = _map(SPECTRUM, condition=30.0)
    net.weight.data.copy_(k)
    left = [float(residual(net.weight.detach()))]
    for _ in range(30):
        after = project_weights(Cubic(), net)
        assert after is not None
        left.append(float(after.residual))
    assert "the rounding floor of this map" in after.sentence
    assert left[-1] < 1e-11
    assert left[-1] == min(left)
    assert project_weights(Cubic(), nn.Linear(2, 3)) is None
