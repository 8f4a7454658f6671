"""f = s e with e s = identity on the code: idempotent to rounding whatever the weights, of the rank of the code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import idemlab
from idemlab import BadInput, Dataset, installed


class Net(nn.Module):
    """A small network of a stranger, with weights far from those of any start."""

    def __init__(self, shape: tuple[int, ...] = (6,), size: float = 1.0) -> None:
        super().__init__()
        self.shape = shape
        n = torch.Size(shape).numel()
        self.inside = nn.Sequential(nn.Flatten(), nn.Linear(n, 16), nn.Tanh(), nn.Linear(16, n), nn.Unflatten(1, shape))
        with torch.no_grad():
            for p in self.parameters():
                p += size * 0.5 * torch.randn_like(p)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inside(x)
        return y


def built(seed: int = 0, data: Tensor | None = None, rank: int = 3, **arguments: Any) -> nn.Module:
    torch.manual_seed(seed)
    operator = installed().check("enforcer", {"name": "section", "rank": rank}, "here").build().wrap(Net(**arguments))
    assert isinstance(operator, nn.Module)
    if data is not None:
        operator.start_from(Dataset.of_tensors(data, data[:2]))
    return operator


def samples(rows: int = 40, n: int = 6) -> Tensor:
    scales = torch.linspace(3, 0.1, n)
    return scales * torch.randn(rows, n, generator=torch.Generator().manual_seed(1)) + 1


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.01, 10.0), size=st.floats(0.1, 3.0), rank=st.integers(1, 5))
def test_it_is_idempotent_to_rounding_and_stays_at_f_to_the_50(stays_idempotent, seed, scale, size, rank):
    f = built(seed, samples(), rank, size=size)
    stays_idempotent(f, scale * torch.randn(4, 6), float64=1e-11, float32=1e-4)


def test_a_network_that_overwrites_its_input_is_wrapped_as_well(stays_idempotent):
    class Overwriting(Net):
        def forward(self, x):
            return super().forward(x.mul_(2).sub_(1))

    f = installed().check("enforcer", {"name": "section", "rank": 3}, "here").build().wrap(Overwriting())
    f.start_from(Dataset.of_tensors(samples(), samples()[:2]))
    stays_idempotent(f, torch.randn(4, 6), float64=1e-11, float32=1e-4)


def test_weights_that_were_rounded_to_half_precision_are_as_exact():
    f = built(data=samples()).half().double()
    y = f(torch.randn(8, 6, dtype=torch.float64))
    torch.testing.assert_close(f(y), y, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(6,), (2, 4, 4)], ids=str)
@pytest.mark.parametrize("rank", [1, 3])
def test_its_rank_is_that_of_the_argument(shape, rank, jacobian):
    f = built(rank=rank, shape=shape).double()
    for size in (0.1, 1.0, 5.0):
        y = f(size * torch.randn(1, *shape, dtype=torch.float64)).detach()
        J = jacobian(f, y[0])
        assert (torch.linalg.svdvals(J) > 0.5).sum() == rank
        torch.testing.assert_close(J @ J, J, rtol=0, atol=1e-9)


def test_it_is_the_formula():
    f = built(data=samples()).double()
    x = torch.randn(5, 6, dtype=torch.float64)
    A, m, D = f.basis, f.centre, torch.diag(f.scale)
    F = f.network

    def a(x):
        return (x - m) @ A @ torch.linalg.inv(D)

    def s(h):
        G = F(m + h @ D @ A.T)
        return G + (h @ D - (G - m) @ A) @ torch.linalg.pinv(A)

    gate = 1 - torch.exp(-(x - s(a(x))).square().mean(1, keepdim=True) / f.log_width.exp())
    e = a(x) + gate * (a(F(x)) - a(x))
    torch.testing.assert_close(f.encode(x), e)
    torch.testing.assert_close(f(x), s(e))
    torch.testing.assert_close(f.encode(s(e)), e)


def test_the_coordinates_are_the_principal_components_of_the_data():
    x = samples(500)
    f = built(data=x, rank=2)
    values, vectors = torch.linalg.eigh(torch.cov(x.T, correction=0))
    torch.testing.assert_close(f.centre, x.mean(0))
    torch.testing.assert_close((f.basis.T @ vectors[:, -2:].flip(1)).abs(), torch.eye(2), rtol=0, atol=1e-3)
    torch.testing.assert_close(f.scale, values[-2:].flip(0).sqrt(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("data", [torch.ones(5, 6), samples(2), samples()[:, :1].expand(-1, 6)], ids=str)
def test_data_with_fewer_components_than_the_code_are_filled_up(data):
    f = built(data=data.clone(), rank=4)
    assert all(bool(t.isfinite().all()) for t in [*f.buffers(), *f.parameters()])
    torch.testing.assert_close(f.basis.T @ f.basis, torch.eye(4))
    assert bool((f.scale > 0).all())
    y = f.double()(torch.randn(8, 6, dtype=torch.float64))
    torch.testing.assert_close(f(y), y, rtol=0, atol=1e-11)


def test_the_gradient_reaches_every_parameter():
    f = built(data=samples())
    f(torch.randn(8, 6)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in f.parameters())


def test_training_leaves_out_the_gradient_of_the_gate_and_evaluation_has_all_of_it():
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    f = built(data=samples()).double()
    (fast,) = torch.autograd.grad(f(x).sum(), x)
    f.eval()
    (whole,) = torch.autograd.grad(f(x).sum(), x)
    assert not torch.allclose(fast, whole)
    assert torch.autograd.gradcheck(f, x)


@pytest.mark.parametrize(
    ("model", "rank", "words"),
    [
        (nn.Linear(6, 6), 2, "model.shape = "),
        (Net(), 7, "a lower rank of 'section', 1 for instance"),
        (
            Net(),
            6,
            "the identity, whatever the weights\n  where: enforcer 'section', key 'rank'\n  expected: a whole number",
        ),
        (Net((1,)), 1, "samples of a single number"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(model, rank, words):
    with pytest.raises(BadInput) as refused:
        installed().check("enforcer", {"name": "section", "rank": rank}, "here").build().wrap(model)
    assert words in str(refused.value)


def test_a_run_is_certified_as_exact_and_loads_again(tmp_path: Path):
    x = samples(200).float()
    table = {
        "training": {"steps": 20, "batch_size": 16},
        "enforcer": {"name": "section", "rank": 3},
        "reconstruction": {"weight": 1.0},
    }
    run = idemlab.train(table, tmp_path / "run", model=Net().float(), dataset=(x[:150], x[150:]), progress=False)
    certificate = run.certificate["inputs"]["noise"]
    assert certificate["exact"]
    assert certificate["rank"] == 3
    again = idemlab.load(tmp_path / "run", model=Net().float())
    torch.testing.assert_close(run.operator()(x), again(x), rtol=0, atol=0)
