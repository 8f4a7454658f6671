"""The nearest of f(x, c) over the classes: idempotent if each f(., c) is, and free of the need for a class."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from idemlab import BadInput, Dataset, TensorRows, installed
from idemlab_enforcers.union import United


class Planes(nn.Module):
    """f(x, c): the projection on the c-th of several random affine planes."""

    def __init__(self, classes: int = 3, n: int = 6, rank: int = 2) -> None:
        super().__init__()
        self.shape, self.classes = (n,), classes
        basis = torch.linalg.qr(torch.randn(classes, n, rank))[0]
        self.P = nn.Parameter(basis @ basis.mT)
        self.centre = nn.Parameter(torch.randn(classes, n))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        m = self.centre[c]
        y: Tensor = m + (self.P[c] @ (x - m)[:, :, None])[:, :, 0]
        return y


def united(operator: nn.Module, **arguments: bool) -> United:
    f = installed().check("enforcer", {"name": "union", **arguments}, "here").build().wrap(operator)
    assert isinstance(f, United)
    return f.eval()


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), classes=st.integers(1, 5), rank=st.integers(1, 5), log_size=st.floats(-2, 2))
@pytest.mark.parametrize("balanced", [True, False])
def test_the_union_of_projections_is_idempotent_at_any_point(balanced, seed, classes, rank, log_size):
    torch.manual_seed(seed)
    f = united(Planes(classes, rank=rank).double(), balanced=balanced)
    x = 10**log_size * torch.randn(20, 6, dtype=torch.float64)
    y = f(x)
    torch.testing.assert_close(f(y), y, rtol=1e-11, atol=1e-11)


def test_it_goes_to_the_nearest_image_and_to_the_class_that_is_given():
    torch.manual_seed(0)
    planes = Planes()
    f, x = united(planes, balanced=False), torch.randn(50, 6)
    every = torch.stack([planes(x, torch.full((50,), c)) for c in range(3)])
    nearest = ((every - x).square().sum(2) / (every.square().sum(2) + x.square().sum(1))).argmin(0)
    assert len(nearest.unique()) == 3
    assert not torch.equal(nearest, (every - x).norm(dim=2).argmin(0))
    assert torch.equal(f(x), every[nearest, torch.arange(50)])
    for c in range(3):
        assert torch.equal(f(x, torch.full((50,), c)), every[c])


def test_noise_goes_to_each_class_as_often_as_the_data_say():
    torch.manual_seed(1)
    planes = Planes(n=40, rank=3)
    with torch.no_grad():
        planes.centre[1] *= 2
    shares = torch.tensor([0.6, 0.3, 0.1])
    labels = torch.repeat_interleave(torch.arange(3), (100 * shares).long())
    many = labels.repeat_interleave(200)  # 20,000 samples in the order of their classes
    rows = TensorRows(torch.randn(len(many), 40), condition=many, label=many)
    data = Dataset(train=rows, test=rows, shape=(40,), classes=3)
    plain, f = united(planes, balanced=False), united(planes)
    f.start_from(data)
    z = torch.randn(4000, 40, generator=torch.Generator().manual_seed(7))

    def found(g: nn.Module) -> Tensor:
        y = g(z)
        every = torch.stack([planes(z, torch.full((len(z),), c)) for c in range(3)])
        return torch.bincount((every - y).norm(dim=2).argmin(0), minlength=3) / len(z)

    assert (found(plain) - shares).abs().max() > 0.1
    torch.testing.assert_close(found(f), shares, rtol=0, atol=0.04)  # 1024 points decide


def test_the_balance_follows_the_parameters():
    torch.manual_seed(2)
    planes = Planes(n=40)
    f = united(planes)
    before = f._weights()
    assert f._weights() is before
    with torch.no_grad():
        planes.centre[0] += 1
    changed = f._weights()
    assert not torch.equal(changed, before)
    state = {name: value.clone() for name, value in f.state_dict().items()}
    assert "shares" in state
    f.train()
    assert torch.equal(f._weights(), torch.ones(3))
    planes.centre.grad, planes.P.grad = torch.randn_like(planes.centre), torch.zeros_like(planes.P)
    torch.optim.Adam(planes.parameters(), lr=0.5, fused=True).step()  # it does not count as a change
    f.eval()
    assert not torch.equal(f._weights(), changed)
    f.load_state_dict(state)
    torch.testing.assert_close(f._weights(), changed)


def test_the_first_call_may_be_differentiated_and_mapped():
    torch.manual_seed(0)
    f, x = united(Planes()), torch.randn(4, 6)
    one = torch.func.jacfwd(lambda y: f(y[None])[0])(x[0])
    torch.testing.assert_close(one @ one, one, rtol=0, atol=1e-5)
    fresh = united(f.operator)
    torch.testing.assert_close(torch.func.vmap(lambda y: fresh(y[None])[0])(x), f(x))


WRONG = {
    "one too many": torch.arange(6) % 4,
    "fractions": torch.arange(6) / 2,
    "a column": torch.arange(6)[:, None] % 3,
    "negative": torch.arange(6) % 3 - 1,
}


@pytest.mark.parametrize("condition", WRONG.values(), ids=WRONG)
def test_conditions_that_are_no_class_of_the_operator_are_refused(condition):
    rows = TensorRows(torch.randn(6, 6), condition=condition)
    with pytest.raises(BadInput, match="the condition of the data is no class of the operator"):
        united(Planes()).start_from(Dataset(train=rows, test=rows, shape=(6,)))


def test_an_operator_without_classes_is_refused():
    plain = nn.Linear(6, 6)
    plain.shape = (6,)  # type: ignore[assignment]
    with pytest.raises(BadInput, match=r"needs an operator f\(x, c\) with classes") as error:
        united(plain)
    assert "dataset.condition" in str(error.value.next_step)


def test_an_operator_that_overwrites_its_input_is_united_as_well():
    class Overwriting(Planes):
        def forward(self, x: Tensor, c: Tensor) -> Tensor:
            return x.copy_(super().forward(x, c))

    torch.manual_seed(0)
    plain = Planes()
    torch.manual_seed(0)
    f, x = united(Overwriting()), torch.randn(50, 6)
    with torch.no_grad():
        torch.testing.assert_close(f(x.clone()), united(plain)(x))


@pytest.mark.parametrize("classes", [1, 3])
def test_an_operator_that_changes_nothing_is_united_as_well(classes):
    class Same(Planes):
        def forward(self, x: Tensor, c: Tensor) -> Tensor:
            return x.clone()

    f, x = united(Same(classes)), torch.randn(5, 6)
    assert torch.equal(f(x), x)
    assert torch.isfinite(f._weights()).all()
    assert torch.equal(f(0 * x), 0 * x)


def test_a_point_of_noise_without_a_result_is_left_out_of_the_balance():
    class Overflowing(Planes):
        def forward(self, x: Tensor, c: Tensor) -> Tensor:
            return super().forward(x, c) / (x[:, :1] < 3)

    torch.manual_seed(0)
    f = united(Overflowing())
    assert torch.isfinite(f._weights()).all()
    assert len(f._weights().unique()) == 3
