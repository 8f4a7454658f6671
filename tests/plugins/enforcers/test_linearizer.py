"""f = g^-1 A g: idempotent to rounding, of rank r everywhere; what it refuses; how A is learned."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import idemlab
from idemlab import BadInput, installed


def built(rank: int | None = None, *, learned: bool = False, shape: tuple[int, ...] = (6,), **model: Any) -> nn.Module:
    torch.manual_seed(0)
    catalog = installed()
    network = catalog.check("model", {"name": "coupling", "width": 16} | model, "here").build(shape)
    table = {"name": "linearizer", "learned": learned} | ({} if rank is None else {"rank": rank})
    operator = catalog.check("enforcer", table, "here").build().wrap(network)
    assert isinstance(operator, nn.Module)
    with torch.no_grad():  # anywhere, not where it starts
        for p in network.parameters():
            p += 0.3 * torch.randn_like(p)
    return operator


@settings(deadline=None, max_examples=4)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.01, 10.0), rank=st.integers(1, 5), affine=st.booleans())
def test_it_is_idempotent_to_rounding_and_stays_at_f_to_the_50(stays_idempotent, seed, scale, rank, affine):
    x = scale * torch.randn(4, 6, generator=torch.Generator().manual_seed(seed))
    stays_idempotent(built(rank, affine=affine), x, float64=1e-11, float32=1e-3)


@pytest.mark.parametrize("shape", [(6,), (1, 4, 4)], ids=str)
@pytest.mark.parametrize("rank", [1, 3, 5])
def test_the_rank_is_that_of_the_argument_everywhere(shape, rank, jacobian):
    f = built(rank, shape=shape, **({"scales": 1, "channels": 4} if len(shape) == 3 else {})).double()
    for size in (0.1, 1.0, 5.0):
        x = size * torch.randn(shape)
        for point in (x, f(x[None])[0].detach()):
            values = torch.linalg.svdvals(jacobian(f, point))
            assert (values > 1e-9 * values[0]).sum() == rank
        assert (values > 0.5).sum() == rank  # at f(x) itself, as the certificate counts


def test_a_code_is_what_is_kept():
    for f in (built(3), built(3, learned=True), built(learned=True)):
        x = torch.randn(4, 6)
        h = f.double().encode(x)
        assert h.shape == (4, 3)
        torch.testing.assert_close(f.decode(h), f(x))
        torch.testing.assert_close(f.encode(f.decode(h)), h)


@pytest.mark.parametrize("rank", [2, None])
def test_a_learned_diagonal_is_zeros_and_ones_and_can_change(rank):
    f = built(rank, learned=True).double()
    x = torch.randn(32, 6)
    kept = f.kept()
    assert set(kept.tolist()) == {0.0, 1.0}
    f(x).square().mean().backward()
    assert bool((f.preference.grad != 0).all()), "the gradient of a sigmoid reaches every coordinate"
    with torch.no_grad():
        f.preference.neg_()
    assert set(f.kept().tolist()) == {0.0, 1.0}
    assert torch.equal(f.kept(), kept) is False
    assert rank is None or f.kept().sum() == rank


def test_the_gradient_is_that_of_the_literal_formula():
    f = built(2, scales=0).double()
    x, A = torch.randn(5, 6), torch.diag((torch.arange(6) < 2).double())
    parameters = list(f.parameters())
    ours = torch.autograd.grad(f(x).pow(3).sum(), parameters)
    literal = torch.autograd.grad(f.network.inverse(f.network(x) @ A).pow(3).sum(), parameters)
    for a, b in zip(ours, literal, strict=True):
        torch.testing.assert_close(a, b)


def test_under_autocast_it_is_as_exact_as_without():
    f, x = built(3).float(), torch.randn(8, 6).float()
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        y = f(x)
        assert y.dtype == torch.float32
        assert (f(y) - y).norm() <= 1e-5 * y.norm()
        assert torch.equal(y, f.network.inverse(f.network(x) * (torch.arange(6) < 3)))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["enforcer.rank=17"],
            ["cannot keep 17 coordinates of samples of 16", "from 1 to 15", "rank of 'linearizer', 4 for"],
        ),
        (["model.name=mlp"], ["calls 'inverse'", "model 'mlp'", "coupling"]),
        (["enforcer.rank=2.5"], ["rank"]),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_before_training(overrides, words, tmp_path):
    torch.set_default_dtype(torch.float32)
    with pytest.raises(BadInput) as caught:
        idemlab.train(
            "mlp-gradient",
            tmp_path / "run",
            overrides=["model={name='coupling'}", "enforcer={name='linearizer',rank=2}", *overrides],
        )
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_it_says_that_it_needs_a_rank_or_a_learned_diagonal():
    with pytest.raises(BadInput, match="'rank', or set learned = true"):
        built()


def test_a_condition_reaches_the_network_and_its_inverse():
    class Shifted(nn.Module):
        """g(x, c) = 2 x + c."""

        shape = (6,)

        def forward(self, x: Tensor, condition: Tensor) -> Tensor:
            return 2 * x + condition

        def inverse(self, z: Tensor, condition: Tensor) -> Tensor:
            return (z - condition) / 2

    f = installed().check("enforcer", {"name": "linearizer", "rank": 2}, "here").build().wrap(Shifted())
    x, c = torch.randn(4, 6), torch.randn(4, 6)
    y = f(x, c)
    torch.testing.assert_close(y[:, :2], x[:, :2])
    torch.testing.assert_close(y[:, 2:], -c[:, 2:] / 2)
    torch.testing.assert_close(f(y, c), y)
    torch.testing.assert_close(f.decode(f.encode(x, c), c), y)
