"""One bias-free linear layer with whitened inputs, where everything is known in closed form (method of the paper)."""

from __future__ import annotations

import pytest
import torch

from idemlab_enforcers.cubic import Cubic
from idemlab_enforcers.gradient import Gradient

N = 5


@pytest.fixture
def whitened():
    """N rows x with (1/N) sum x x^T = I."""
    torch.manual_seed(0)
    return N**0.5 * torch.linalg.qr(torch.randn(N, N)).Q


@pytest.fixture
def matrix(whitened):
    return torch.randn(N, N) / 2


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("s", [0.1, 0.7, 1.0])
def test_gradient_descent_on_the_unit_cubic_is_the_damped_recurrence(s, matrix, whitened, linear, enforced):
    operator = linear(matrix)
    optimiser = torch.optim.SGD(operator.parameters(), lr=s)
    expected = matrix
    for _ in range(3):
        enforced(Cubic(1.0, "unit"), operator, whitened)
        optimiser.step()
        expected = expected - s * (expected - 3 * expected @ expected + 2 * expected @ expected @ expected)
        close(operator.weight.detach(), expected)


def test_modified_backpropagation_is_the_ordinary_one_with_the_transpose_dropped(matrix, whitened, linear, enforced):
    K = matrix
    M = K @ K - K
    _, (ordinary,) = enforced(Gradient(N / 2, "full", "l2", 1), linear(K), whitened)
    _, (modified,) = enforced(Cubic(1.0, "unit"), linear(K), whitened)
    close(ordinary, K.T @ M + M @ K.T - M)
    close(modified, K @ M + M @ K - M)
    assert (ordinary - modified).norm() > 0.01


def test_on_symmetric_matrices_both_are_equal(matrix, whitened, linear, enforced):
    S = (matrix + matrix.T) / 2
    _, (ordinary,) = enforced(Gradient(N / 2, "full", "l2", 1), linear(S), whitened)
    _, (modified,) = enforced(Cubic(1.0, "unit"), linear(S), whitened)
    close(modified, ordinary)
