"""The orbit: every point once, and where the gradient goes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from idemlab import Orbit
from idemlab.contracts.joined import Joined


class _Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 5)).double()
        self.calls = 0

    def forward(self, x: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        self.calls += 1
        out: torch.Tensor = self.inner(x)
        return out if condition is None else out + condition


X = torch.randn(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_each_point_is_computed_once() -> None:
    f = _Counting()
    orbit = Orbit(f, X)
    assert f.calls == 0
    assert orbit.live(2) is orbit.live(2)
    assert f.calls == 2
    assert torch.equal(orbit.ahead(1), orbit.live(2))  # f(f(x)) is the detached live point
    assert f.calls == 2
    orbit.ahead(2)
    orbit.ahead(2)
    assert f.calls == 3
    assert orbit.known(3)
    assert not orbit.known(4)


def test_live_has_gradient_and_ahead_has_none() -> None:
    orbit = Orbit(_Counting(), X)
    assert orbit.live(2).requires_grad
    assert not orbit.ahead(0).requires_grad
    assert not orbit.ahead(2).requires_grad
    assert torch.equal(orbit.ahead(0), orbit.output.detach())
    assert orbit.input is X


def test_frozen_gives_gradient_to_the_point_and_none_to_the_parameters() -> None:
    f = _Counting()
    y = X.clone().requires_grad_()
    out = Orbit(f, X).frozen(y)
    out.square().sum().backward()
    assert all(p.grad is None for p in f.parameters())
    again = X.clone().requires_grad_()
    (expected,) = torch.autograd.grad(f(again).square().sum(), again)
    assert torch.equal(y.grad, expected)


def test_frozen_inside_a_chain_adds_only_the_inner_gradient() -> None:
    """d/dθ of |F(f(x))|^2 with a frozen copy F, against a deep copy of the network."""
    import copy

    f = _Counting()
    orbit = Orbit(f, X)
    orbit.frozen(orbit.output).square().sum().backward()
    got = [p.grad.clone() for p in f.parameters()]
    f.zero_grad()
    copy.deepcopy(f)(f(X)).square().sum().backward()
    for a, p in zip(got, f.parameters(), strict=True):
        assert torch.allclose(a, p.grad, atol=1e-14)


def test_jvp_is_the_jacobian_at_the_output_times_v_with_gradient() -> None:
    f = _Counting()
    v = torch.randn(3, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    orbit = Orbit(f, X)
    product = orbit.jvp(v)
    y = orbit.output.detach()
    expected = torch.stack([torch.autograd.functional.jacobian(f, y[i]) @ v[i] for i in range(3)])
    assert torch.allclose(product, expected, atol=1e-13)
    product.sum().backward()
    # The last bias moves f(y), not its Jacobian.
    assert all(bool(p.grad.abs().sum() > 0) for name, p in f.named_parameters() if name != "inner.2.bias")


def test_the_condition_is_passed_on_at_every_application() -> None:
    f = _Counting()
    c = torch.ones(3, 5, dtype=torch.float64)
    orbit = Orbit(f, X, c)
    assert torch.equal(orbit.live(2), f(f(X, c), c))
    assert torch.equal(orbit.apply(X), f(X, c))


@pytest.mark.parametrize("grad", [True, False])
def test_an_operator_that_works_in_place_changes_no_point(grad: bool) -> None:
    inner = nn.Linear(5, 5).double()
    f = nn.Sequential(nn.ReLU(inplace=True), inner, nn.Hardtanh(inplace=True))
    same = nn.Sequential(nn.ReLU(), inner, nn.Hardtanh())
    x, kept = X.clone(), X.clone()
    c = torch.ones(3, 5, dtype=torch.float64)
    orbit = Orbit(f, x)
    with torch.set_grad_enabled(grad):
        points = [orbit.live(k) for k in range(4)] + [orbit.frozen(orbit.output), orbit.jvp(X)]
        expected = [kept, same(kept), same(same(kept)), same(same(same(kept))), same(same(kept))]
    assert torch.equal(x, kept)
    assert all(torch.equal(a, b) for a, b in zip(points, expected, strict=False))
    if grad:
        (ours,) = torch.autograd.grad(points[3].square().sum(), inner.weight, retain_graph=True)
        (theirs,) = torch.autograd.grad(expected[3].square().sum(), inner.weight)
        assert torch.equal(ours, theirs)
    Orbit(lambda y, c: c.add_(y), x, c).live(2)
    assert torch.equal(c, torch.ones_like(c))


def test_without_gradient_there_is_one_kind_of_point() -> None:
    f = _Counting()
    orbit = Orbit(f, X)
    with torch.no_grad():
        orbit.ahead(2)
        calls = f.calls
        assert torch.equal(orbit.live(3), orbit.ahead(2))
    assert f.calls == calls
    assert orbit.live(2).requires_grad


@pytest.mark.parametrize("together", [False, True])
def test_points_ahead_have_no_gradient_though_the_operator_returns_what_it_trains(together: bool) -> None:
    b = nn.Parameter(torch.ones(3, 5))

    def f(x: torch.Tensor) -> torch.Tensor:
        return b

    orbit = Joined(f, [(X[:3], None, True, False)]).orbits[0] if together else Orbit(f, X)  # type: ignore[arg-type]
    assert not orbit.ahead(0).requires_grad
    assert not orbit.ahead(1).requires_grad
    assert orbit.live(1).requires_grad


class _Coder(_Counting):
    """f = decode(encode(x)), which counts its codes, too."""

    def __init__(self) -> None:
        super().__init__()
        self.codes = 0

    def forward(self, x: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        return self.decode(self.encode(x, condition), condition)

    def encode(self, x: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        self.codes += 1
        return 2 * x if condition is None else 2 * x + condition

    def decode(self, h: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        self.calls += 1
        out: torch.Tensor = self.inner(h)
        return out if condition is None else out - condition


@pytest.mark.parametrize("condition", [None, torch.ones(3, 5, dtype=torch.float64)], ids=["plain", "conditioned"])
def test_codes_are_shared_like_the_points(condition: torch.Tensor | None) -> None:
    f = _Coder()
    orbit = Orbit(f, X, condition)
    h = orbit.encode(X)
    assert orbit.encode(orbit.input) is h
    y = orbit.decode(h)
    assert orbit.output is y, "f(x) is the decoded code of x"
    assert (f.codes, f.calls) == (1, 1)
    torch.testing.assert_close(y, f(X) if condition is None else f(X, condition))
    orbit.encode(y)
    assert f.codes == 3
    assert orbit.decode(orbit.encode(y)) is orbit.live(2)
    torch.testing.assert_close(orbit.decode(h + 1), orbit.call("decode", h + 1))
    with torch.no_grad():
        assert not orbit.encode(X).requires_grad


def test_a_code_without_gradient_is_not_taken_for_one_with_gradient() -> None:
    orbit = Orbit(_Coder(), X.clone().requires_grad_())
    with torch.no_grad():
        orbit.encode(orbit.input)
    assert orbit.encode(orbit.input).requires_grad


def test_an_operator_without_the_method_is_told() -> None:
    orbit = Orbit(_Counting(), X)
    assert not orbit.offers("encode")
    with pytest.raises(TypeError, match="no method 'encode'"):
        orbit.encode(X)
