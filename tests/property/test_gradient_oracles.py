"""What the cubic iteration has to do with the gradient of 1/2 ||K^2 - K||_F^2, on one bias-free layer.

With whitened inputs, mean x x^T = I, and N = K^2 - K: ordinary backpropagation (OB) of 1/2 ||N||^2 moves along
K^T N + N K^T - N, modified backpropagation (MB) along K N + N K - N. Inputs that are the rows of a Hadamard matrix are
whitened without rounding, so that both hold bit for bit.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import find, given, settings
from hypothesis import strategies as st
from torch import nn

from idemlab import Orbit, Step
from idemlab.testing import (
    exact_bases,
    exact_orthogonal_bases,
    linear_maps,
    oblique_maps,
    orthogonal_bases,
    spectra,
    symmetric_maps,
)

EPS = torch.finfo(torch.float64).eps
QUARTERS = st.integers(-4, 8).map(lambda value: value / 4)
pairs = st.builds(complex, QUARTERS, st.sampled_from([0.5, 1.0]))
powers = st.sampled_from([1, 2, 4])
exact_maps = powers.flatmap(lambda n: linear_maps(spectra(QUARTERS | pairs, size=n, largest_block=2), exact_bases))
exact_symmetric_maps = powers.flatmap(lambda n: linear_maps(spectra(QUARTERS, size=n), exact_orthogonal_bases))


def hadamard(n: int) -> torch.Tensor:
    """n inputs x [n] as rows, for n a power of two, with mean x x^T = I."""
    H = torch.ones(1, 1).double()
    while len(H) < n:
        H = torch.cat([torch.cat([H, H], 1), torch.cat([H, -H], 1)])
    return H


def moves_along(K, K_T):
    """The direction as a function of K and what stands for its transpose: OB with K^T, MB with K."""
    N = K @ K - K
    return K_T @ N + N @ K_T - N


@pytest.fixture(scope="session")
def ordinary(build):
    """(K, inputs) -> the gradient that the enforcer `gradient` gives the layer; n/2 makes its mean square 1/2 ||.||^2."""
    return lambda K, x: _pulled(build("gradient", weight=len(K) / 2), K, x)


@pytest.fixture(scope="session")
def modified(build):
    """(K, inputs) -> the gradient that the enforcer `cubic` gives the layer."""
    return lambda K, x: _pulled(build("cubic", cotangent="unit"), K, x)


def _pulled(enforcer, K, x):
    layer = nn.Linear(len(K), len(K), bias=False, dtype=torch.float64)
    layer.weight.data.copy_(K)
    enforcer(Orbit(layer, x), Step()).loss.mean().backward()
    return layer.weight.grad


def potential(K):
    """1/2 ||K^2 - K||_F^2 by autograd: its gradient at K."""
    K = K.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(0.5 * (K @ K - K).square().sum(), K)
    return gradient


# -- symmetric maps -------------------------------------------------------------------------------------------------------


@given(exact_symmetric_maps)
def test_on_symmetric_maps_a_full_step_is_a_unit_gradient_step(cubic, K):
    assert torch.equal(cubic(K.matrix), K.matrix - potential(K.matrix))


@given(symmetric_maps())
def test_so_it_is_to_rounding_in_any_orthogonal_basis(cubic, rounding, K):
    K = K.matrix
    n, k = len(K), float(K.norm())
    N = K @ K - K
    # N is off by n u (k^2 + k), which K N + N K - N takes 2 k + 1 times; its own products and sums once more
    off = n * EPS * ((k**2 + k) * (2 * k + 1) + (2 * k + 2) * float(N.norm())) + 2 * EPS * k
    assert float((cubic(K) - (K - potential(K))).norm()) <= rounding(K) + off


@pytest.mark.long
def test_on_others_it_is_not_and_may_even_point_away(cubic):
    def apart(K):
        step, down = K.matrix - cubic(K.matrix), potential(K.matrix)
        return float((step * down).sum()) < -0.1 * float(step.norm() * down.norm()) and float(down.norm()) > 0.1

    K = find(exact_maps, apart, settings=settings(max_examples=1000, database=None, derandomize=True))
    assert not torch.equal(K.matrix, K.matrix.T)


# -- ordinary and modified backpropagation ----------------------------------------------------------------------------------


@given(exact_maps)
def test_ordinary_backpropagation_is_the_gradient_of_half_the_squared_residual(ordinary, K):
    K = K.matrix
    assert torch.equal(ordinary(K, hadamard(len(K))), moves_along(K, K.T))
    assert torch.equal(potential(K), moves_along(K, K.T))


@given(exact_maps)
def test_modified_backpropagation_is_ordinary_with_the_map_for_its_transpose(modified, K):
    K = K.matrix
    assert torch.equal(modified(K, hadamard(len(K))), moves_along(K, K))


@given(exact_symmetric_maps)
def test_on_symmetric_maps_both_are_one(ordinary, modified, K):
    x = hadamard(K.size)
    assert torch.equal(modified(K.matrix, x), ordinary(K.matrix, x))


@given(st.sampled_from([0.25, 0.5, 1.0]), exact_maps)
def test_gradient_descent_on_the_modified_one_is_the_damped_iteration(modified, damped, s, K):
    K = K.matrix
    assert torch.equal(K - s * modified(K, hadamard(len(K))), damped(s)(K))


@given(data=st.data())
def test_any_whitened_inputs_give_the_same_to_rounding(data, ordinary, modified):
    K = data.draw(oblique_maps()).matrix
    n, k = len(K), float(K.norm())
    # 2n inputs, the columns of two orthogonal matrices
    x = n**0.5 * torch.cat([data.draw(orthogonal_bases(n)).matrix for _ in range(2)])
    # The error f(y) - y of one input is off by 3 n u (k^2 + k) |x|, the two terms weigh it by k and the third by 1; they and
    # the mean over 2n outer products round by 4n u relative to that; the inputs are white up to 4n u.
    allowed = 16 * n * EPS * (k**2 + k) * (2 * k + 1) * n
    assert float((ordinary(K, x) - moves_along(K, K.T)).norm()) <= allowed
    assert float((modified(K, x) - moves_along(K, K)).norm()) <= allowed
