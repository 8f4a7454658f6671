"""The estimates against the exact Jacobian and their gradient against automatic differentiation, in float64.

Expectations are exact: with n = 4, every pair of sign vectors is a row of one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pytest
import torch
from torch import Tensor, nn

import idemlab
from idemlab import Orbit, Step
from idemlab_rank_control.rank_control import RankControl, central_difference, product_of_independent

N, RANK = 4, 2


class GivenSigns(Step):
    """A step whose random signs are these."""

    def __init__(self, *signs: Tensor) -> None:
        super().__init__()
        self._given = iter(signs)

    def signs(self, like: Tensor) -> Tensor:
        return next(self._given).to(like)


def all_signs(count: int) -> list[Tensor]:
    """`count` tensors [2^(n count), n] whose rows run through all combinations of sign vectors."""
    table = torch.tensor(list(product((-1.0, 1.0), repeat=N * count)), dtype=torch.float64)
    return list(table.split(N, dim=1))


@pytest.fixture
def f() -> nn.Module:
    """A smooth, non-symmetric map of R^4, in float64."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(N, 16), nn.Tanh(), nn.Linear(16, N)).double()


@pytest.fixture
def x() -> Tensor:
    return torch.linspace(-1, 1, N, dtype=torch.float64)


def jacobian_at_output(f: nn.Module, x: Tensor) -> Tensor:
    """J at f(x), [n, n]."""
    return torch.func.jacrev(f)(f(x))  # type: ignore[no-any-return]


def loss_of(f: nn.Module, x: Tensor, signs: Sequence[Tensor], spectrum: float) -> Tensor:
    """The loss of one x under each row of the given signs."""
    orbit = Orbit(f, x.expand(len(signs[0]), N))
    loss = RankControl(RANK, 1.0, spectrum, len(signs), None)(orbit, GivenSigns(*signs)).loss
    assert loss is not None
    return loss  # type: ignore[no-any-return]


@pytest.mark.parametrize("probes", [2, 3])
def test_the_squared_trace_error_is_unbiased(f: nn.Module, x: Tensor, probes: int) -> None:
    exact = (jacobian_at_output(f, x).trace() - RANK).square() / N
    assert loss_of(f, x, all_signs(probes), 0.0).mean().item() == pytest.approx(exact.item(), rel=1e-8)


def test_a_single_estimate_squared_would_be_biased_by_its_variance(f: nn.Module, x: Tensor) -> None:
    J = jacobian_at_output(f, x)
    (v,) = all_signs(1)
    estimates = ((v @ J.T) * v).sum(1)
    symmetric = (J + J.T) / 2
    variance = 2 * (symmetric.square().sum() - symmetric.diag().square().sum())
    biased = (estimates - RANK).square().mean() - (J.trace() - RANK).square()
    assert biased.item() == pytest.approx(variance.item())
    assert variance > 0.05  # so that the test above can tell


def test_the_spectral_term_is_the_frobenius_norm(f: nn.Module, x: Tensor) -> None:
    J = jacobian_at_output(f, x)
    signs = all_signs(2)
    term = loss_of(f, x, signs, 1.0).mean() - loss_of(f, x, signs, 0.0).mean()
    assert term.item() == pytest.approx((J @ J - J).square().sum().item() / N, rel=1e-7)


def test_what_is_reported_is_true_on_average(f: nn.Module, x: Tensor) -> None:
    J = jacobian_at_output(f, x)
    signs = all_signs(2)
    reported = RankControl(RANK, 3.0, 1.0, 2, None)(Orbit(f, x.expand(len(signs[0]), N)), GivenSigns(*signs)).reported
    assert reported["trace"].mean().item() == pytest.approx(J.trace().item(), rel=1e-8)
    assert reported["eigenvalue_error"].mean().item() == pytest.approx((J @ J - J).square().sum().item(), rel=1e-7)


def test_the_gradient_is_that_of_forward_mode_differentiation(f: nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(8, N, generator=generator, dtype=torch.float64)
    signs = [torch.randn(8, N, generator=generator, dtype=torch.float64).sign() for _ in range(2)]

    def by_jvp() -> Tensor:
        y = f(x)

        def image(v: Tensor) -> Tensor:
            return torch.func.jvp(f, (y,), (v,))[1]  # type: ignore[no-any-return]

        images = [image(v) for v in signs]
        first, second = ((v * u).sum(1) - RANK for v, u in zip(signs, images, strict=True))
        changes = [(image(u) - u).square().sum(1) for u in images]
        return (first * second + 0.5 * (changes[0] + changes[1])).mean() / N

    exact = torch.autograd.grad(by_jvp(), list(f.parameters()))
    loss = RankControl(RANK, 1.0, 1.0, 2, None)(Orbit(f, x), GivenSigns(*signs)).loss
    ours = torch.autograd.grad(loss.mean(), list(f.parameters()))
    for mine, theirs in zip(ours, exact, strict=True):
        assert (mine - theirs).norm() < 1e-6 * theirs.norm()


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-9), (torch.float32, 1e-4), (torch.bfloat16, 0.1)])
def test_the_step_suits_the_precision(f: nn.Module, x: Tensor, dtype: torch.dtype, bound: float) -> None:
    f, x = f.to(dtype), x.to(dtype)
    orbit = Orbit(f, x.expand(1, N))
    y = orbit.output.detach()
    h = RankControl(RANK, 1.0, 1.0, 2, None)._length(y)
    v = torch.ones_like(y)
    exact = torch.func.jvp(f.double(), (y.double(),), (v.double(),))[1]
    ours = central_difference(Orbit(f.to(dtype), x), y, v, h).double()
    assert (ours - exact).norm() < bound * exact.norm()


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_the_step_grows_with_large_points_only(size: float) -> None:
    y = torch.full((3, 2, 2), size, dtype=torch.float64)
    h = RankControl(RANK, 1.0, 1.0, 2, 0.01)._length(y)
    assert h.shape == (3, 1, 1)
    assert torch.allclose(h, torch.tensor(0.01 * max(size, 1.0), dtype=torch.float64))


def test_the_product_over_all_pairs_has_no_squares_in_it() -> None:
    estimates = torch.tensor([[2.0, 1.0], [3.0, 0.0], [5.0, -1.0]])
    assert product_of_independent(estimates).tolist() == pytest.approx([(6 + 10 + 15) / 3, -1 / 3])


def test_a_rank_above_the_number_of_entries_is_refused(f: nn.Module, x: Tensor) -> None:
    with pytest.raises(idemlab.BadInput, match="rank 5 is larger than the 4 entries of a sample"):
        RankControl(5, 1.0, 1.0, 2, None)(Orbit(f, x.expand(1, N)), Step())
