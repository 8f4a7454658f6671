"""h(S K S^-1) = S h(K) S^-1, h(K^T) = h(K)^T and h(I - K) = I - h(K); so for the damped step, too."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from idemlab.testing import exact_bases, linear_maps, oblique_bases, oblique_maps, orthogonal_bases, spectra

QUARTERS = st.integers(-4, 8).map(lambda value: value / 4)
values = QUARTERS | st.builds(complex, QUARTERS, st.sampled_from([0.25, 1.0]))
exact_maps = linear_maps(spectra(values, largest_block=3), exact_bases)
steps = st.sampled_from([0.5, 1.0])


@given(steps, exact_maps, st.data())
def test_a_change_of_basis_goes_through(damped, s, K, data):
    S = data.draw(exact_bases(K.size))
    left = damped(s)(S.matrix @ K.matrix @ S.inverse)
    assert torch.equal(left, S.matrix @ damped(s)(K.matrix) @ S.inverse)


@given(steps, exact_maps)
def test_transposing_goes_through(damped, s, K):
    assert torch.equal(damped(s)(K.matrix.T), damped(s)(K.matrix).T)


@given(steps, exact_maps)
def test_the_complement_goes_through(damped, s, K):
    eye = torch.eye(K.size).double()
    assert torch.equal(damped(s)(eye - K.matrix), eye - damped(s)(K.matrix))


@pytest.mark.parametrize("basis", [orthogonal_bases, oblique_bases])
@given(data=st.data())
def test_any_basis_goes_through_to_rounding(basis, data, cubic, rounding):
    K = data.draw(oblique_maps()).matrix
    S = data.draw(basis(len(K)))
    moved = S.matrix @ K @ S.inverse
    n, k, eps = len(K), float(moved.norm()), torch.finfo(torch.float64).eps
    # Forming S K S^-1 errs by 4 n u ||S|| ||K|| ||S^-1||, which h takes at most 6 k + 6 k^2 times; S h(K) S^-1 likewise.
    around = float(S.matrix.norm() * S.inverse.norm())
    new = cubic(K)
    allowed = 4 * n * eps * around * (float(K.norm()) * (6 * k + 6 * k**2) + float(new.norm()))
    allowed += rounding(moved) + around * rounding(K)
    assert float((cubic(moved) - S.matrix @ new @ S.inverse).norm()) <= allowed
