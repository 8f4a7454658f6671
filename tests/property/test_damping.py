"""Rates: h'(0) = h'(1) = 0 and h'(1/2) = 3/2; with step s, 1-s at idempotents and 1 + s/2 at 1/2."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from idemlab import purify
from idemlab.testing import exact_bases, idempotents, linear_maps, maps_in_basin, near_idempotents, spectra

EPS = torch.finfo(torch.float64).eps
STEPS = [0.25, 0.5, 0.75, 1.0]
steps = st.sampled_from(STEPS)


def derivative(f, K, D):
    """d/dt f(K + t D) at t = 0, the upper right corner of f of [[K, D], [0, K]]."""
    n = len(K)
    return f(torch.cat([torch.cat([K, D], 1), torch.cat([torch.zeros_like(K), K], 1)]))[:n, n:]


@st.composite
def directed(draw, maps):
    """(K, D): a map and a direction of small integers."""
    K = draw(maps)
    entries = draw(st.binary(min_size=K.size**2, max_size=K.size**2))
    return K.matrix, torch.tensor([byte % 9 - 4.0 for byte in entries]).double().view(K.size, K.size)


@given(directed(idempotents(basis=exact_bases)))
def test_at_an_idempotent_the_derivative_is_the_projection_to_the_tangent_space(cubic, drawn):
    P, D = drawn
    Q = torch.eye(len(P)).double() - P
    along = derivative(cubic, P, D)
    assert torch.equal(along, P @ D @ Q + Q @ D @ P)  # what keeps P + D idempotent to first order; h' = 0 on the rest
    assert torch.equal(derivative(cubic, P, along), along)


@given(steps, directed(idempotents(basis=exact_bases)))
def test_what_is_not_tangent_shrinks_by_one_minus_s(damped, s, drawn):
    P, D = drawn
    Q = torch.eye(len(P)).double() - P
    across = P @ D @ P + Q @ D @ Q
    assert torch.equal(derivative(damped(s), P, across), (1 - s) * across)


@given(steps, directed(linear_maps(spectra(st.just(0.5)), exact_bases)))
def test_at_one_half_everything_grows_by_one_plus_half_s(damped, s, drawn):
    half, D = drawn
    assert torch.equal(derivative(damped(s), half, D), (1 + s / 2) * D)


HALVES = st.integers(-2, 4).map(lambda value: value / 2)


@given(steps, st.integers(1, 3).flatmap(lambda n: linear_maps(spectra(HALVES, size=n, largest_block=2), exact_bases)))
def test_the_residual_follows_the_damped_recurrence(damped, s, K):
    # K' = K - s A N with A = 2K - I and A^2 = I + 4N, so N' = (1-s) N - (4s - s^2) N^2 + 4 s^2 N^3: at s = 1 the cubic's.
    K = K.matrix
    N, new = K @ K - K, damped(s)(K)
    assert torch.equal(new @ new - new, (1 - s) * N - (4 * s - s**2) * N @ N + 4 * s**2 * N @ N @ N)


@given(steps, near_idempotents(0.05))
def test_damped_convergence_is_linear_at_that_rate(damped, rounding, s, K):
    K = K.matrix
    before = float((K @ K - K).norm())
    for _ in range(20):
        K = damped(s)(K)
        n, k, after = len(K), float(K.norm()), float((K @ K - K).norm())
        # A change E of K changes K^2 - K by K E + E K - E; a damped step rounds no more than a full one and its sum.
        rounded = (2 * k + 1) * (rounding(K) + 2 * EPS * k) + n * EPS * (k**2 + k)
        assert abs(after - (1 - s) * before) <= (4 * s - s**2) * before**2 + 4 * s**2 * before**3 + rounded
        before = after


@given(steps, maps_in_basin(margin=0.1))
def test_damping_does_not_change_the_limit(damped, drift, s, K):
    result = purify(K.matrix, damped(s), tolerance=1e-9)
    assert result.idempotent
    # With λ^2 - λ = ν an eigenvalue is within 2 |ν| of 0 or 1, and S^-1 N S is at most cond(S) ||N||.
    left = 2 * K.condition**2 * result.residuals[-1]
    assert float((result.matrix - K.projector()).norm()) <= left + drift(K, len(result.residuals))


class Products(TorchFunctionMode):
    """Counts the matrix products that are asked for."""

    count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.count += func.__name__ in {
            "__matmul__",
            "matmul",
            "mm",
            "bmm",
            "addmm",
            "baddbmm",
            "matrix_power",
            "einsum",
        }
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("s", STEPS)
@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 3)])
def test_a_step_costs_two_matrix_products(s, shape, damped):
    with Products() as products:
        damped(s)(torch.ones(shape))
    assert products.count == 2
