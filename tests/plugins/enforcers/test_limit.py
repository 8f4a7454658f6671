"""f^k and the fixed point: values, and gradients against autograd of the literal formula."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from idemlab import installed


def limit(operator: nn.Module, **arguments) -> nn.Module:
    return installed().check("enforcer", {"name": "limit"} | arguments, "here").build().wrap(operator)


@pytest.fixture
def contraction() -> nn.Module:
    """g(x) = tanh(W x + b) / 2 with one fixed point."""
    torch.manual_seed(0)
    linear = nn.Linear(4, 4)
    with torch.no_grad():
        linear.weight /= torch.linalg.matrix_norm(linear.weight, 2)

    class Contraction(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = linear

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x).tanh() / 2

    return Contraction()


def test_a_depth_is_as_many_applications(contraction):
    f, x = limit(contraction, depth=3), torch.randn(5, 4)
    literal = contraction(contraction(contraction(x)))
    assert torch.equal(f(x), literal)
    for a, b in zip(
        torch.autograd.grad(f(x).sum(), list(f.parameters())),
        torch.autograd.grad(literal.sum(), list(contraction.parameters())),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_the_limit_is_a_fixed_point_and_idempotent(contraction):
    f, x = limit(contraction, tolerance=1e-13, most=200), torch.randn(5, 4)
    y = f(x)
    torch.testing.assert_close(contraction(y), y, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(f(y), y, rtol=1e-11, atol=1e-12)
    with torch.no_grad():
        assert torch.equal(f(x), y), "the same value with and without gradient"


def test_the_implicit_gradient_is_that_of_the_fixed_point(contraction):
    """(I - J^T)^-1 v, which a long Neumann series reaches; and a short one is the last applications alone."""
    x, v = torch.randn(5, 4), torch.randn(5, 4)
    parameters = list(contraction.parameters())
    y = x
    for _ in range(200):
        y = contraction(y)
    literal = torch.autograd.grad((y * v).sum(), parameters)
    ours = torch.autograd.grad((limit(contraction, tolerance=1e-14, most=300, terms=100)(x) * v).sum(), parameters)
    for a, b in zip(ours, literal, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
    start = y.detach().requires_grad_()
    short = contraction(contraction(start))
    few = limit(contraction, tolerance=1e-14, most=300, terms=2)
    at = x.clone().requires_grad_()
    for a, b in zip(
        torch.autograd.grad((few(at) * v).sum(), [at, *parameters]),
        torch.autograd.grad((short * v).sum(), [start, *parameters]),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-11)


def test_a_sample_does_not_depend_on_how_long_others_take(contraction):
    f, x = limit(contraction, tolerance=1e-3), torch.randn(5, 4)
    x[0] = f(x)[0].detach()  # there from the start
    together, alone = f(x), torch.cat([f(row) for row in x.split(1)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-14)


def test_an_overflow_of_a_norm_is_no_convergence():
    """Entries of 1e30 are finite in single precision, and their squares are not."""

    class Grows(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.where(x.abs() < 1e36, 100 * x, x)

    with torch.no_grad():
        y = limit(Grows(), most=30)(torch.full((1, 3), 1e20))
    assert (y >= 1e36).all(), y
    with torch.no_grad():
        assert torch.equal(limit(nn.ReLU())(torch.tensor([[-1.0, -2.0]])), torch.zeros(1, 2))


def test_it_ends_where_nothing_converges():
    class Turn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return -x

    turn = Turn()
    with torch.no_grad():
        limit(turn, most=7)(torch.randn(2, 3))
    assert turn.calls == 8  # and one more for f(x) itself
