"""N = K^2 - K becomes N' = 4 N^3 - 3 N^2: quadratic contraction where ||N|| < 1/4 in any submultiplicative norm."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st

from idemlab import purify
from idemlab.purification.iteration import Ending
from idemlab.purification.iteration import residual as norm_of_residual
from idemlab.testing import (
    Basis,
    Block,
    LinearMap,
    defective_maps,
    eigenvalues,
    exact_bases,
    exact_orthogonal_bases,
    linear_maps,
    maps_in_basin,
    near_idempotents,
    oblique_maps,
    spectra,
)

EPS = torch.finfo(torch.float64).eps
NORMS = {"spectral": 2, "Frobenius": "fro", "largest row sum": float("inf"), "largest column sum": 1}

# Multiples of 1/2, n <= 4: K^6 has entries of less than 40 bits, so both sides of the identity are exact.
HALVES = st.integers(-2, 4).map(lambda value: value / 2)
exact_values = HALVES | st.builds(complex, HALVES, st.sampled_from([0.5, 1.0]))
small = st.integers(1, 4).flatmap(lambda n: linear_maps(spectra(exact_values, size=n, largest_block=2), exact_bases))


def residual(K):
    return K @ K - K


@given(small)
def test_the_residual_follows_its_own_recurrence(cubic, K):
    N = residual(K.matrix)
    assert torch.equal(residual(cubic(K.matrix)), 4 * N @ N @ N - 3 * N @ N)


@given(st.integers(1, 3).flatmap(lambda n: st.tuples(*[linear_maps(spectra(HALVES, size=n), exact_bases)] * 2)))
def test_it_does_so_for_complex_matrices(cubic, parts):
    K = torch.complex(parts[0].matrix, parts[1].matrix)  # any spectrum: the parts do not commute
    N = residual(K)
    assert torch.equal(residual(cubic(K)), 4 * N @ N @ N - 3 * N @ N)


@given(small)
def test_the_residual_commutes_with_the_map(cubic, K):
    new = cubic(K.matrix)
    assert torch.equal(new @ K.matrix, K.matrix @ new)


contracting = near_idempotents(0.2).map(lambda K: K.matrix) | maps_in_basin().map(lambda K: K.matrix)


@pytest.mark.parametrize("norm", list(NORMS.values()), ids=list(NORMS))
@given(K=contracting)
def test_a_residual_below_a_quarter_contracts_quadratically(norm, K, cubic, rounding):
    before = float(torch.linalg.matrix_norm(residual(K), norm))
    assume(before < 0.25)
    new = cubic(K)
    after = float(torch.linalg.matrix_norm(residual(new), norm))
    # A change E of K' changes N' by K'E + EK' - E, and forming N' rounds once more; all four norms are at most sqrt(n)
    # times the Frobenius norm.
    n, k = len(K), float(new.norm())
    rounded = n**0.5 * ((2 * k + 1) * rounding(K) + n * EPS * (k**2 + k))
    assert after <= 4 * before**3 + 3 * before**2 + rounded
    assert after <= 4 * before**2 + rounded


@given(near_idempotents(0.2))
def test_purify_takes_no_more_steps_than_that_allows(K):
    start = float(residual(K.matrix).norm())
    assume(start > 1e-13)
    result = purify(K.matrix)
    # 4 ||N|| becomes at most (4 ||N||)^2; 1e-13 lies well above what rounding adds to norms of at most 3.
    steps = math.ceil(math.log2(max(1.0, math.log(4e-13) / math.log(4 * start))))
    assert result.idempotent
    assert sum(left > 1e-13 for left in result.residuals) <= max(1, steps)


@given(maps_in_basin())
def test_purify_takes_the_steps_of_the_enforcer_one_by_one(cubic, K):
    result, iterate = purify(K.matrix), K.matrix
    for left in result.residuals:
        assert float(norm_of_residual(iterate)) == left
        last, iterate = iterate, cubic(iterate)
    assert torch.equal(result.matrix, last)


halves = linear_maps(spectra(st.sampled_from([0.0, 0.5, 1.0])), exact_orthogonal_bases)


@given(halves.filter(lambda K: 0.5 in K.eigenvalues))
def test_a_quarter_is_not_enough(cubic, K):
    N = residual(K.matrix)
    assert float(torch.linalg.matrix_norm(N, 2)) == pytest.approx(0.25, rel=K.size * 4 * EPS)  # svd of a symmetric N
    assert torch.equal(residual(cubic(K.matrix)), N)
    result = purify(K.matrix, max_steps=20)
    assert result.ending is Ending.STEPS
    assert not result.idempotent


@given(K=oblique_maps() | defective_maps(eigenvalues()))
@example(K=LinearMap.of((Block(1.6591e-162),), Basis(torch.eye(1).double(), torch.eye(1).double(), 1.0)))
def test_in_any_basis_the_recurrence_holds_to_rounding(cubic, rounding, K):
    K = K.matrix
    N, new = residual(K), cubic(K)
    n, k, after = len(K), float(K.norm()), float(new.norm())
    # as above for N'; N is off by n u (k^2 + k), which 4 N^3 - 3 N^2 takes 12 |N|^2 + 6 |N| times
    size = float(N.norm())
    rounded = (2 * after + 1) * rounding(K) + n * EPS * (after**2 + after)
    rounded += n * EPS * (k**2 + k) * (12 * size**2 + 6 * size) + 2 * n * EPS * (4 * size**3 + 3 * size**2)
    rounded += n**2 * torch.finfo(torch.float64).tiny  # products below this underflow, which is no relative error
    assert float((residual(new) - (4 * N @ N @ N - 3 * N @ N)).norm()) <= rounded
