"""In float64 the residual ends at about eps ||K||_F^3: `purify` stops there, says so, and going on would not help."""

from __future__ import annotations

import math
from functools import partial
from statistics import median

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from idemlab import purify
from idemlab.purification.iteration import Ending, residual
from idemlab.testing import Basis, Block, LinearMap, maps_in_basin, oblique_bases

EPS = torch.finfo(torch.float64).eps
SPECTRUM = [-0.3, -0.1, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.3]
SEEDS = range(20)


@pytest.mark.parametrize("condition", [1.0, 10.0, 100.0, 1000.0])
@given(data=st.data())
def test_no_map_ends_above_what_rounding_explains(condition, data, rounding):
    K = data.draw(maps_in_basin(pairs=False, basis=partial(oblique_bases, condition=condition)))
    result = purify(K.matrix)
    assert result.idempotent
    assert result.ending in (Ending.CONVERGED, Ending.FLOOR) or result.residuals[-1] == 0
    assert result.residuals[-1] == min(result.residuals)
    assert float(residual(result.matrix)) == result.residuals[-1]
    # It stopped at r since the next residual, at most 4 r^2 + ρ, was not less: r <= ρ / (1 - 4r) <= 2ρ for r <= 1/8. Here ρ
    # is what rounding adds: an error E of K' changes N' by K'E + EK' - E + E^2, and N' is formed with n u (k^2 + k).
    n, k, e = K.size, float(result.matrix.norm()), rounding(result.matrix)
    assert result.residuals[-1] <= 0.125
    assert result.residuals[-1] <= 2 * ((2 * k + 1) * e + e**2 + n * EPS * (k**2 + k))


def conditioned(condition: float, seed: int) -> LinearMap:
    """Ten eigenvalues in the basin, in a basis whose singular values lie evenly between 1 and cond(S)."""
    g = torch.Generator().manual_seed(seed)
    n = len(SPECTRUM)
    U, V = (torch.linalg.qr(torch.randn(n, n, generator=g, dtype=torch.float64)).Q for _ in range(2))
    stretch = torch.linspace(1, condition, n, dtype=torch.float64)
    return LinearMap.of([Block(value) for value in SPECTRUM], Basis(U * stretch @ V.T, V / stretch @ U.T, condition))


@pytest.fixture(scope="module")
def reached():
    """cond(S) -> what purify returned for each seed."""
    return {
        condition: [purify(conditioned(condition, seed).matrix) for seed in SEEDS] for condition in (1, 10, 100, 1000)
    }


# Orders of magnitude that the method states; the spectrum, n and the basis decide where in the decades a map ends.
# A processor whose products round less ends lower; that no map ends too low to be true, the ratio to eps ||K||^3 tells.
STATED = {1: 1e-14, 10: 6e-14, 100: 1e-11, 1000: 2e-8}


@pytest.mark.parametrize("condition", list(STATED))
def test_the_floor_is_eps_times_the_cube_of_the_norm(condition, reached):
    ratios = [result.residuals[-1] / (EPS * float(result.matrix.norm()) ** 3) for result in reached[condition]]
    assert 0.05 < median(ratios) < 20
    left = median(result.residuals[-1] for result in reached[condition])
    assert math.log10(left / STATED[condition]) < 1.5


def test_each_decade_of_the_condition_number_costs_accuracy(reached):
    left = [median(result.residuals[-1] for result in results) for results in reached.values()]
    assert left[1] > 2 * left[0]
    assert left[2] > 30 * left[1]
    assert left[3] > 300 * left[2]


def iterated_on(matrix, cubic, steps=40):
    """Residuals of further steps."""
    left = []
    for _ in range(steps):
        matrix = cubic(matrix)
        left.append(float(residual(matrix)))
    return left


def test_iterated_on_the_residual_of_an_ill_conditioned_map_rises(reached, cubic):
    rises = [max(iterated_on(result.matrix, cubic)) / result.residuals[-1] for result in reached[1000]]
    assert min(rises) > 1
    assert median(rises) > 3
    orthogonal = [max(iterated_on(result.matrix, cubic)) / result.residuals[-1] for result in reached[1]]
    assert max(orthogonal) < 4


@pytest.mark.parametrize("condition", [1, 10, 100, 1000])
def test_going_on_gains_less_than_a_digit(condition, reached, cubic):
    gains = [min(iterated_on(result.matrix, cubic)) / result.residuals[-1] for result in reached[condition]]
    assert median(gains) > 0.1


def plain(matrix, cubic, steps=60):
    """The lowest residual of so many plain steps, finite ones."""
    lowest = float(residual(matrix))
    for _ in range(steps):
        matrix = cubic(matrix)
        lowest = min(lowest, float(residual(matrix).nan_to_num(torch.inf)))
    return lowest


def as_low(result, lowest):
    """Some maps are too badly conditioned for float32: they never get below 1/4, which is told. Near that, rounding decides
    whether one of the two gets there."""
    if lowest < 0.25:
        return result.residuals[-1] <= 10 * lowest
    return not result.idempotent or lowest < 0.5


eigenvalues_in_basin = st.floats(-0.35, 0.45) | st.floats(0.55, 1.35)
couplings = st.floats(0, 8).map(lambda exponent: 10**exponent) | st.just(0.0)


@given(diagonal=st.lists(eigenvalues_in_basin, min_size=2, max_size=4), data=st.data())
def test_in_float32_no_map_far_from_normal_stops_ten_times_above_plain_iteration(diagonal, data, cubic):
    n = len(diagonal)
    above = [data.draw(couplings) for _ in range(n * (n - 1) // 2)]
    K = torch.diag(torch.tensor(diagonal, dtype=torch.float32))
    K[tuple(torch.triu_indices(n, n, 1))] = torch.tensor(above, dtype=torch.float32)
    result = purify(K, cubic)
    assert float(residual(result.matrix)) == result.residuals[-1]
    assert as_low(result, plain(K, cubic))


def test_a_residual_that_rises_on_the_way_does_not_end_it():
    """Once called converged at 0.038: its residual is rounding before its eigenvalues have converged."""
    result = purify(torch.tensor([[0.9, 1e7], [0.0, 0.1]]))
    assert (result.residuals[-1], result.idempotent) == (0.0, True)
    assert torch.allclose(result.matrix.diag(), torch.tensor([1.0, 0.0]), rtol=0, atol=1e-30)


@pytest.mark.parametrize("condition", [100.0, 300.0, 1000.0])
def test_in_float32_no_badly_conditioned_map_stops_ten_times_above_plain_iteration(condition, cubic):
    for seed in range(40):
        K = conditioned(condition, seed).matrix.float()
        assert as_low(purify(K, cubic), plain(K, cubic))


def test_rounding_that_keeps_falling_by_a_hair_ends_it():
    """For hundreds of steps, the residual falls again and again, but only in its last digits."""
    K = torch.zeros(6, 6, dtype=torch.float64)
    K[0, 3:5] = -1.125
    K[3, 0], K[3, 3], K[3, 4] = 1.25, 2.375, 1.125
    K[4, 0], K[4, 3] = -1.25, -1.25
    result = purify(K)
    assert result.idempotent
    assert len(result.residuals) < 30


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("n", [4, 16, 64])
def test_at_the_floor_one_more_step_is_the_last(n, dtype):
    """There the residual wanders by rounding. Once each new lowest value, by luck, had eight more steps tried."""
    g = torch.Generator().manual_seed(n)
    Q = torch.linalg.qr(torch.randn(n, n, generator=g, dtype=torch.float64)).Q
    K = ((Q * torch.linspace(0, 1, n, dtype=torch.float64)) @ Q.T).to(dtype)
    result = purify(K)
    assert result.ending is Ending.CONVERGED
    # one product for the start, two a step, and at most one step beyond the best
    assert result.products <= 1 + 2 * (result.steps + 1)


@pytest.mark.parametrize("method", ["sp2", "slow"])
def test_steps_that_do_not_square_the_residual_go_on_to_where_rounding_ends_them(method):
    """Once ended eight times above: `sp2` squares one end of the spectrum at a time, and a slow step divides by three."""

    def slow(K):
        return K + 0.66 * (3 * K @ K - 2 * K @ K @ K - K)

    n, g = 256, torch.Generator().manual_seed(256)
    Q = torch.linalg.qr(torch.randn(n, n, generator=g, dtype=torch.float64)).Q
    spectrum = torch.cat([torch.linspace(0, 0.2, n // 2), torch.linspace(0.8, 1, n // 2)]).double()
    K = ((Q * spectrum) @ Q.T).float()
    result = purify(K, slow) if method == "slow" else purify(K, method, rank=n // 2, spectrum="rescale")
    assert result.ending is Ending.CONVERGED
    assert result.residuals[-1] < 2 * purify(K).residuals[-1]
