"""h of a Jordan block has the Taylor coefficients h(λ), h'(λ), h''(λ)/2 and h'''(λ)/6 on its diagonals."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from idemlab.testing import Block, LinearMap, exact_bases

eighths = st.integers(-8, 16).map(lambda value: value / 8)


def taylor(value: float, size: int, s: float) -> torch.Tensor:
    """(1-s) J + s h(J) for the Jordan block J: coefficients of (1-s) λ + s h(λ) on the diagonals."""
    h = [3 * value**2 - 2 * value**3, 6 * value - 6 * value**2, 3 - 6 * value, -2.0]
    damped = [(1 - s) * value + s * h[0], (1 - s) + s * h[1], s * h[2], s * h[3]]
    return sum(torch.diag(torch.full((size - k,), c, dtype=torch.float64), k) for k, c in enumerate(damped[:size]))


@given(st.sampled_from([0.5, 1.0]), eighths, st.integers(1, 8))
def test_a_block_gets_the_taylor_coefficients(damped, s, value, size):
    assert torch.equal(damped(s)(Block(value, size).matrix()), taylor(value, size, s))


@given(st.lists(st.tuples(eighths, st.integers(1, 4)), min_size=1, max_size=2), st.data())
def test_so_it_does_in_any_basis(cubic, drawn, data):
    blocks = [Block(value, size) for value, size in drawn]
    K = LinearMap.of(blocks, data.draw(exact_bases(sum(block.places for block in blocks))))
    expected = torch.block_diag(*(taylor(value, size, 1.0) for value, size in drawn))
    assert torch.equal(cubic(K.matrix), K.basis.matrix @ expected @ K.basis.inverse)


@given(st.sampled_from([0.0, 1.0]), st.integers(2, 8), st.data())
def test_a_block_at_zero_or_one_heals_in_log2_of_its_size(cubic, value, size, data):
    # N is nilpotent of order m, and N' = N^2 (4 N - 3): of order m/2 after a step. Size 2 needs one.
    K = LinearMap.of([Block(value, size)], data.draw(exact_bases(size)))
    iterate = K.matrix
    for _ in range(math.ceil(math.log2(size))):
        assert not torch.equal(iterate @ iterate, iterate)
        iterate = cubic(iterate)
    assert torch.equal(iterate, K.projector())


@given(st.integers(2, 8), st.integers(1, 20))
def test_a_block_at_one_half_is_torn_by_three_halves_a_step(cubic, size, steps):
    K = Block(0.5, size).matrix()
    for _ in range(steps):
        K = cubic(K)
    assert torch.equal(K.diagonal(), torch.full((size,), 0.5, dtype=torch.float64))
    assert torch.equal(K.diagonal(1), torch.full((size - 1,), 1.5**steps, dtype=torch.float64))
