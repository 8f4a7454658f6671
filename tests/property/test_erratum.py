"""An early draft of the paper prints 3 K^2 + 2 K^3. With that sign hypothesis finds a projector that is no fixed point."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, find, given, settings

from idemlab.testing import LinearMap, exact_bases, idempotents


def plus(K: torch.Tensor) -> torch.Tensor:
    return 3 * K @ K + 2 * K @ K @ K


def projectors_are_fixed_points_of(iteration) -> None:
    @settings(database=None, derandomize=True, suppress_health_check=[HealthCheck.nested_given])
    @given(idempotents(basis=exact_bases))
    def claim(P: LinearMap) -> None:
        assert torch.equal(iteration(P.matrix), P.matrix)

    claim()


def test_the_claim_is_false_with_the_plus_sign():
    with pytest.raises(AssertionError):
        projectors_are_fixed_points_of(plus)


def test_and_true_with_the_published_one(cubic):
    projectors_are_fixed_points_of(cubic)


def test_the_smallest_counterexample_is_the_number_one():
    def moved(P):
        return not torch.equal(plus(P.matrix), P.matrix)

    P = find(
        idempotents(basis=exact_bases), moved, settings=settings(max_examples=1000, database=None, derandomize=True)
    )
    assert P.matrix.tolist() == [[1.0]]
    assert plus(P.matrix).tolist() == [[5.0]]


@pytest.mark.parametrize("value", [0.0, (-3 + 17**0.5) / 4, (-3 - 17**0.5) / 4])
def test_the_fixed_points_of_the_misprint(value):
    K = torch.tensor([[value]], dtype=torch.float64)
    # the value is off by u |x|, which the slope 6x + 6x^2 <= 9 takes along; 4 u for each of the terms, 21 at most
    assert float(plus(K)) == pytest.approx(value, abs=(9 * abs(value) + 4 * 21) * 2**-53)


@given(idempotents(basis=exact_bases))
def test_no_projector_but_zero_is_one_of_them(P):
    assert torch.equal(plus(P.matrix), P.matrix) == (not P.matrix.any())
    assert torch.equal(plus(P.matrix), 5 * P.matrix)
