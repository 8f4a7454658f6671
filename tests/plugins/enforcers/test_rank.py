"""Rank by choice: every term against the exact Jacobian, zero at projections of the rank, and the rank is reached."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import idemlab
from idemlab import BadInput, Orbit, Step
from idemlab.contracts.step import Shard
from idemlab_enforcers.rank import Rank, _check_still, central_difference, product_of_independent

N, RANK = 4, 2


def rank(
    *, of: int = RANK, spectrum: float = 1.0, idempotence: float = 0.0, probes: int | None = None, every: int = 1
) -> Rank:
    return Rank(of, 1.0, spectrum, idempotence, probes, every, 0.0)


class GivenSigns(Step):
    """A step whose random signs are these."""

    def __init__(self, *signs: Tensor) -> None:
        super().__init__()
        self._given = iter([*signs, *signs])  # at f(x), and at x

    def signs(self, like: Tensor) -> Tensor:
        return next(self._given).to(like)


def all_signs(count: int) -> list[Tensor]:
    """`count` tensors [2^(n count), n] whose rows run through all combinations of sign vectors."""
    table = torch.tensor(list(product((-1.0, 1.0), repeat=N * count)), dtype=torch.float64)
    return list(table.split(N, dim=1))


@pytest.fixture
def f() -> nn.Module:
    """A smooth, non-symmetric map of R^4, in float64, whose outputs spread enough to be left alone."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(N, 16), nn.Tanh(), nn.Linear(16, N)).double()
    network[2].weight.data.mul_(4)
    return network


@pytest.fixture
def x() -> Tensor:
    return torch.linspace(-1, 1, N, dtype=torch.float64).expand(1, N)


def jacobians(f: nn.Module, x: Tensor) -> list[Tensor]:
    """J at f(x) and at x, for one sample."""
    return [torch.func.jacrev(f)(point[0]) for point in (f(x).detach(), x)]  # type: ignore[no-untyped-call]


def of(enforcer: Rank, f: nn.Module, x: Tensor, step: Step | None = None) -> Tensor:
    loss = enforcer(Orbit(f, x), step or Step()).loss
    assert loss is not None
    return loss


def test_with_all_directions_the_loss_is_that_of_the_exact_jacobian(f: nn.Module, x: Tensor) -> None:
    expected = torch.zeros((), dtype=torch.float64)
    for J in jacobians(f, x):
        values = torch.linalg.svdvals(J)
        count = values[RANK:].square().sum() + (1 - values[:RANK]).clamp_min(0).square().sum()
        expected += (J.trace() - RANK).square() + count + 0.5 * (J @ J - J).square().sum()
    assert of(rank(spectrum=0.5), f, x).item() == pytest.approx(expected.item(), rel=1e-7)


@pytest.mark.parametrize("probes", [2, 3])
def test_with_probes_the_loss_is_unbiased(f: nn.Module, x: Tensor, probes: int) -> None:
    signs = all_signs(probes)
    expected = torch.zeros((), dtype=torch.float64)
    for J in jacobians(f, x):
        expected += (J.trace() - RANK).square() + ((J @ J).trace() - RANK).square() + (J @ J - J).square().sum()
    mean = of(rank(probes=probes), f, x.expand(len(signs[0]), N), GivenSigns(*signs)).mean()
    assert mean.item() == pytest.approx(expected.item(), rel=1e-7)


def test_what_is_reported_is_true(f: nn.Module, x: Tensor) -> None:
    J, _ = jacobians(f, x)
    reported = rank()(Orbit(f, x), Step()).reported
    assert reported["trace"].item() == pytest.approx(J.trace().item(), rel=1e-8)
    assert reported["eigenvalue_error"].item() == pytest.approx((J @ J - J).square().sum().item(), rel=1e-7)


def test_the_gradient_is_that_of_forward_mode_differentiation(f: nn.Module) -> None:
    x = torch.randn(3, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def exact() -> Tensor:
        losses = []
        for point in (f(x), x):
            J = torch.func.vmap(torch.func.jacfwd(f))(point)  # type: ignore[no-untyped-call]
            values = torch.linalg.svdvals(J)
            count = values[:, RANK:].square().sum(1) + (1 - values[:, :RANK]).clamp_min(0).square().sum(1)
            trace = J.diagonal(dim1=1, dim2=2).sum(1)
            losses.append((trace - RANK).square() + count + (J @ J - J).square().sum((1, 2)))
        return sum(losses).mean()  # type: ignore[union-attr,return-value]

    theirs = torch.autograd.grad(exact(), list(f.parameters()))
    ours = torch.autograd.grad(of(rank(), f, x).mean(), list(f.parameters()), allow_unused=True)
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine - other).norm() < 1e-5 * other.norm() + 1e-9


@pytest.mark.parametrize("probes", [None, 2])
def test_every_kth_sample_is_looked_at_and_the_mean_is_theirs(f: nn.Module, probes: int | None) -> None:
    x = torch.randn(8, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    signs = [torch.ones(8, N), torch.tensor([1.0, -1, 1, -1]).expand(8, N)][: probes or 0]
    loss = of(rank(probes=probes, every=4), f, x, GivenSigns(*signs))
    few = of(rank(probes=probes), f, x[::4], GivenSigns(*(s[::4] for s in signs)))
    assert loss.mean().item() == pytest.approx(few.mean().item(), rel=1e-9)
    assert (loss != loss[1]).nonzero().flatten().tolist() == [0, 4]


@pytest.mark.parametrize("every", [1, 3, 7])
def test_the_samples_that_are_looked_at_are_those_of_the_global_batch(f: nn.Module, every: int) -> None:
    x = torch.randn(10, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    steps = [Step(shard=Shard(micro=i, micros=5)) for i in range(5)]
    shares = [rank(every=every)(Orbit(f, part), step) for part, step in zip(x.split(2), steps, strict=True)]
    whole = rank(every=every)(Orbit(f, x), Step())
    torch.testing.assert_close(torch.cat([share.loss for share in shares]).mean(), whole.loss.mean())
    for name, value in whole.reported.items():
        torch.testing.assert_close(torch.cat([share.reported[name] for share in shares]).mean(), value.mean())
    seen = torch.stack([jacobians(f, row[None])[0].trace() for row in x[::every]])
    torch.testing.assert_close(whole.reported["trace"].mean(), seen.mean(), rtol=1e-6, atol=1e-9)


def test_a_condition_goes_with_its_samples() -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor, c: Tensor) -> Tensor:
            return x * c[:, None]

    x, c = torch.randn(6, N, dtype=torch.float64), torch.arange(6.0, dtype=torch.float64)
    v = torch.randn(2, 6, N, dtype=torch.float64)
    images = central_difference(Orbit(Scaled(), x, c), x, v, slice(None, None, 2))
    torch.testing.assert_close(images, v[:, ::2] * c[::2, None], rtol=1e-8, atol=1e-9)


def test_outputs_that_shrink_are_pulled_back_and_a_projection_is_not() -> None:
    x = torch.randn(64, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    small = nn.Linear(N, N, bias=False).double()
    small.weight.data.copy_(0.01 * torch.eye(N))
    with_pull = of(rank(spectrum=0.0), small, x).mean().item()
    J = 0.01 * torch.eye(N, dtype=torch.float64)
    spread = (0.01 * x - 0.01 * x.mean(0)).square().mean() / (x - x.mean(0)).square().mean()
    without = 2 * ((J.trace() - RANK) ** 2 + RANK * 0.99**2 + (N - RANK) * 0.01**2)
    pull = (0.25 * RANK / N / spread).log() ** 2
    assert with_pull == pytest.approx(float(without + pull), rel=1e-6)
    small.weight.data.copy_(torch.diag(torch.tensor([1.0, 1.0, 0.0, 0.0])))
    assert of(rank(idempotence=4.0), small, x).abs().max() < 1e-12


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-9), (torch.float32, 1e-4), (torch.bfloat16, 0.1)])
def test_the_step_suits_the_precision(f: nn.Module, x: Tensor, dtype: torch.dtype, bound: float) -> None:
    f, x = f.to(dtype), x.to(dtype)
    y = f(x).detach()
    v = torch.ones_like(y)
    ours = central_difference(Orbit(f, x), y, v[None])[0].double().detach()
    exact = torch.func.jvp(f.double(), (y.double(),), (v.double(),))[1]
    assert (ours - exact).norm() < bound * exact.norm()


@pytest.mark.parametrize("probes", [None, 4])
def test_under_autocast_the_jacobian_is_not_the_rounding_of_f(probes: int | None) -> None:
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(16, RANK, dtype=torch.float32))[0]
    f, x = nn.Linear(16, 16, bias=False, dtype=torch.float32), torch.randn(8, 16, dtype=torch.float32)
    f.weight.data = basis @ basis.T  # an exact projection of the rank: nothing to correct but the estimates' variance
    exact = of(rank(probes=probes), f, x, Step(seed=1))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = of(rank(probes=probes), f, x, Step(seed=1))
    assert (mixed - exact).abs().max() < 0.05


class Drawing(nn.Module):
    """A linear layer, and something after it that may draw."""

    def __init__(self, after: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.after = nn.Linear(N, N), after

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.after(self.first(x))


def attending() -> nn.Module:
    attention = nn.MultiheadAttention(N, 1, dropout=0.5, batch_first=True)
    attention.register_forward_pre_hook(lambda _, given: (given[0][:, None].expand(-1, 3, N),) * 3)
    return nn.Sequential(Drawing(attention), First())


class First(nn.Module):
    """The first of the results of a layer, at its first place."""

    def forward(self, results: tuple[Tensor, ...]) -> Tensor:
        return results[0][:, 0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Drawing(nn.Dropout(0.5)),
        lambda: Drawing(nn.RReLU()),
        lambda: Drawing(nn.functional.dropout),
        lambda: nn.Sequential(nn.Unflatten(1, (1, N)), nn.LSTM(N, N, 2, dropout=0.5, batch_first=True), First()),
        attending,
    ],
    ids=["dropout", "rrelu", "function", "lstm", "attention"],
)
def test_an_operator_that_draws_is_refused(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    f, x = make(), torch.randn(8, N)
    with pytest.raises(BadInput, match="draws another f") as refused:
        of(rank(), f, x)
    assert refused.value.where == "[enforcer] and [model]"
    assert "without dropout" in str(refused.value.next_step)


def test_an_operator_that_draws_by_the_call_is_refused_with_a_condition() -> None:
    f, x = Drawing(lambda y: y * torch.rand(())), torch.randn(8, N)
    with pytest.raises(BadInput, match="draws another f"):
        rank()(Orbit(f, x, torch.zeros(8)), Step())


def test_an_operator_that_does_not_draw_is_looked_at_once_and_left_as_it_was() -> None:
    x, calls = torch.randn(8, N), list[int]()
    for f in (
        Drawing(nn.Dropout(0.0)),
        Drawing(nn.Dropout(0.5)).eval(),
        nn.utils.parametrizations.spectral_norm(nn.Linear(N, N)),
    ):
        before, orbit = [buffer.clone() for buffer in f.buffers()], Orbit(f, x)
        _check_still(orbit)
        assert all(torch.equal(old, new) for old, new in zip(before, f.buffers(), strict=True))
    f.register_forward_hook(lambda *_: calls.append(1))
    enforcer, counted = rank(), list[tuple[int, int]]()
    for _ in range(2):
        calls.clear()
        with FlopCounterMode(display=False) as counter:
            of(enforcer, f, x)
        counted.append((len(calls), counter.get_total_flops()))
    assert counted[0] == (counted[1][0] + 1, counted[1][1])


def test_an_operator_that_has_diverged_makes_a_loss_that_says_so() -> None:
    f, x = nn.Linear(N, N), torch.full((2, N), torch.inf)
    assert not of(rank(), f, x).isfinite().any()


def test_the_product_over_all_pairs_has_no_squares_in_it() -> None:
    estimates = torch.tensor([[2.0, 1.0], [3.0, 0.0], [5.0, -1.0]])
    assert product_of_independent(estimates).tolist() == pytest.approx([(6 + 10 + 15) / 3, -1 / 3])


def test_a_rank_above_the_number_of_entries_is_refused(f: nn.Module, x: Tensor) -> None:
    with pytest.raises(BadInput, match="rank 5 is larger than the 4 entries of a sample"):
        of(rank(of=5), f, x)


@pytest.mark.parametrize("r", [1, 3])
@pytest.mark.long
def test_an_mlp_becomes_a_projection_of_the_rank_that_is_asked_for(r: int) -> None:
    torch.manual_seed(0)
    f = nn.Sequential(nn.Linear(6, 32), nn.GELU(), nn.Linear(32, 6))
    enforcer = idemlab.installed().check("enforcer", {"name": "rank", "rank": r}, "test").build()
    optimizer = torch.optim.Adam(f.parameters(), lr=0.01)
    steps, generator = 400, torch.Generator().manual_seed(0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for index in range(steps):
        orbit = Orbit(f, torch.randn(32, 6, generator=generator))
        enforcer(orbit, Step(index=index, progress=index / steps)).loss.mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    certificate = idemlab.certify(f, torch.randn(128, 6, generator=generator), rank_points=16)
    assert certificate.rank == r
    assert certificate.verdict is idemlab.Verdict.GENUINE
    assert certificate.relative[0] < 0.03
