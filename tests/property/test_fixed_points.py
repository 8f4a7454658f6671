"""h(K) = K iff K is diagonalisable with eigenvalues in {0, 1/2, 1}; idempotent iff 1/2 is not among them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from idemlab.testing import (
    defective_maps,
    exact_bases,
    exact_orthogonal_bases,
    idempotents,
    linear_maps,
    spectra,
)

FIXED = (0.0, 0.5, 1.0)
QUARTERS = st.integers(-4, 8).map(lambda value: value / 4)
STEPS = st.sampled_from([0.25, 0.5, 1.0])


def exact_maps(values):
    """Diagonalisable maps without rounding errors."""
    return linear_maps(spectra(values), exact_bases) | linear_maps(spectra(values), exact_orthogonal_bases)


@given(STEPS, idempotents(basis=exact_bases) | idempotents(basis=exact_orthogonal_bases))
def test_every_idempotent_is_fixed(damped, s, P):
    P = P.matrix
    assert torch.equal(P @ P, P)
    assert torch.equal(damped(s)(P), P)


@given(idempotents())
def test_every_idempotent_is_fixed_to_rounding_in_any_basis(cubic, rounding, P):
    # h(K) - K = -(2K - I)(K^2 - K), and an idempotent of rounded entries is one only up to ||K^2 - K||.
    K = P.matrix
    left = (K @ K - K).norm() * (2 * K.norm() + P.size**0.5)
    assert (cubic(K) - K).norm() <= left + rounding(K)


@given(STEPS, exact_maps(st.sampled_from(FIXED)))
def test_one_half_is_the_only_other_eigenvalue_of_a_fixed_point(damped, s, K):
    assert torch.equal(damped(s)(K.matrix), K.matrix)
    assert torch.equal(K.matrix @ K.matrix, K.matrix) == (0.5 not in K.eigenvalues)


@given(STEPS, exact_maps(QUARTERS).filter(lambda K: not set(K.eigenvalues) <= set(FIXED)))
def test_any_other_eigenvalue_moves_the_map(damped, s, K):
    assert not torch.equal(damped(s)(K.matrix), K.matrix)


@given(defective_maps(st.sampled_from(FIXED), basis=exact_bases))
def test_a_defective_map_moves_even_with_these_eigenvalues(cubic, K):
    assert not torch.equal(cubic(K.matrix), K.matrix)


@given(linear_maps(spectra(QUARTERS), exact_bases))
def test_a_step_moves_by_the_residual_times_the_sign(cubic, K):
    K, eye = K.matrix, torch.eye(K.size).double()
    assert torch.equal(cubic(K) - K, -(2 * K - eye) @ (K @ K - K))


@given(linear_maps(spectra(QUARTERS), exact_bases))
def test_the_trace_becomes_that_of_the_spectrum_after_a_step(cubic, K):
    assert float(cubic(K.matrix).trace()) == sum(3 * value.real**2 - 2 * value.real**3 for value in K.eigenvalues)


@pytest.mark.parametrize(("between", "direction"), [((5, 7), 1), ((1, 3), -1)])
@given(data=st.data())
def test_the_trace_is_not_preserved(between, direction, data, cubic):
    eighths = st.integers(*between).map(lambda value: value / 8)  # all beyond 1/2, or all below
    K = data.draw(linear_maps(spectra(eighths), exact_bases)).matrix
    assert direction * float(cubic(K).trace() - K.trace()) > 0
