"""Blends, schedules and switches."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from idemlab import BadInput, Enforcement, Enforcer, Orbit, Purifier, Step
from idemlab_enforcers.cubic import Cubic
from idemlab_enforcers.gradient import Gradient
from idemlab_enforcers.hybrid import Hybrid
from idemlab_enforcers.ign import IGN
from idemlab_enforcers.purification import Purify


def cubic() -> Enforcer:
    return Cubic(0.3, "unit")


def gradient() -> Enforcer:
    return Gradient(0.7, "full", "l2", 1)


@pytest.fixture
def operator():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3))


@pytest.fixture
def x(operator):
    return torch.randn(6, 3)


def loss(enforcer, operator, x, progress=1.0):
    return enforcer(Orbit(operator, x), Step(progress=progress)).loss.detach()


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-13, atol=0)


def test_a_blend_is_the_sum_of_its_members(operator, x, enforced, gradients):
    total, got = enforced(Hybrid([cubic(), gradient()], "blend", None, 0.0), operator, x)
    got = [g.clone() for g in got]
    parts = [enforced(member, operator, x) for member in (cubic(),)] + [enforced(gradient(), operator, x)]
    close(total, parts[0][0] + parts[1][0])
    separate = [gradients(member(Orbit(operator, x), Step()).loss.mean(), operator) for member in (cubic(), gradient())]
    for both, first, second in zip(got, *separate, strict=True):
        torch.testing.assert_close(both, first + second, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("warmup", "start", "progress", "weight"),
    [
        *((0.0, 0.0, 0.0, 1), (0.4, 0.0, 0.0, 0), (0.4, 0.0, 0.1, 0.25), (0.4, 0.0, 0.4, 1), (0.4, 0.0, 0.9, 1)),
        *((1.0, 0.0, 0.5, 0.5), (1.0, 0.0, 1.0, 1), (0.0, 0.25, 0.25, 1), (0.5, 0.25, 0.5, 0.5), (0.5, 0.25, 0.75, 1)),
    ],
)
def test_warm_up_rises_linearly(warmup, start, progress, weight, operator, x):
    hybrid = Hybrid([gradient()], "blend", None, warmup, start)
    close(loss(hybrid, operator, x, progress), weight * loss(gradient(), operator, x))


def test_before_its_start_it_asks_for_nothing(operator, x):
    orbit = Orbit(operator, x)
    enforcement = Hybrid([gradient()], "blend", None, 0.0, start=0.25)(orbit, Step(progress=0.24))
    assert enforcement.loss is None
    assert not orbit.known(2)


@pytest.mark.parametrize("progress", [0.0, 0.25, 1.0])
def test_a_crossfade_goes_from_the_first_to_the_second(progress, operator, x):
    faded = loss(Hybrid([cubic(), gradient()], "crossfade", None, 0.0), operator, x, progress)
    close(faded, (1 - progress) * loss(cubic(), operator, x) + progress * loss(gradient(), operator, x))


def test_a_switch_chooses_for_each_sample_by_its_residual(operator, x, enforced, gradients):
    y = operator(x)
    residual = (operator(y) - y).norm(dim=1) / (x - x.mean(0)).square().sum(1).mean().sqrt()
    threshold = float(residual.detach().median()) + 1e-9
    near = residual < threshold
    assert 0 < int(near.sum()) < len(x)
    hybrid = Hybrid([cubic(), gradient()], "switch", threshold, 0.0)
    total, got = enforced(hybrid, operator, x)
    first, second = (member(Orbit(operator, x), Step()).loss for member in (cubic(), gradient()))
    literal = torch.where(near, first, second)
    close(total, literal.detach())
    for a, b in zip(got, gradients(literal.mean(), operator), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
    assert torch.equal(hybrid(Orbit(operator, x), Step()).reported["near"], near.double())


def test_a_switch_without_spread_takes_the_second(operator, x):
    one = x[:1]
    close(loss(Hybrid([cubic(), gradient()], "switch", 1e9, 0.0), operator, one), loss(gradient(), operator, one))


def test_a_member_without_loss_counts_as_zero(operator, x):
    close(loss(Hybrid([gradient(), Enforcer()], "blend", None, 0.0), operator, x), loss(gradient(), operator, x))
    gated = loss(Hybrid([cubic(), Enforcer()], "switch", 1e-12, 0.0), operator, x)
    assert torch.equal(gated, torch.zeros(6))


def test_nothing_but_projections_gives_no_loss(operator, x):
    enforcement = Hybrid([Purify(Purifier()), Enforcer()], "blend", None, 0.0)(Orbit(operator, x), Step())
    assert enforcement.loss is None


def test_projections_are_composed_in_order():
    K = torch.randn(3, 3)
    first, second = Purify(Purifier(), 0.3), Purify(Purifier())
    both = Hybrid([first, gradient(), second], "blend", None, 0.0)
    assert torch.equal(both.project(K), second.project(first.project(K)))


class Appended(Enforcer):
    """An architecture: f, then a layer of its own."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self._layer = layer

    def wrap(self, operator):
        return nn.Sequential(operator, self._layer)


def test_architectures_are_composed_in_order(operator, x):
    tanh, relu = nn.Tanh(), nn.ReLU()
    wrapped = Hybrid([Appended(tanh), gradient(), Appended(relu)], "blend", None, 0.0).wrap(operator)
    assert torch.equal(wrapped(x), relu(tanh(operator(x))))


class Reporting(Enforcer):
    def __init__(self, value: float) -> None:
        super().__init__()
        self._value = value

    def forward(self, orbit, step):
        return Enforcement(reported={"error": torch.full((6,), self._value), f"only_{self._value:g}": torch.ones(6)})


def test_reports_are_merged_and_a_shared_name_is_numbered(operator, x):
    reported = Hybrid([Reporting(1.0), Reporting(2.0)], "blend", None, 0.0)(Orbit(operator, x), Step()).reported
    assert {name: float(value[0]) for name, value in reported.items()} == {
        "error": 1,
        "only_1": 1,
        "error_2": 2,
        "only_2": 1,
    }


@pytest.mark.parametrize(
    ("members", "mode", "threshold", "words"),
    [
        ([cubic], "switch", 0.25, "takes two enforcers, not 1"),
        ([cubic, gradient, gradient], "crossfade", None, "takes two enforcers, not 3"),
        ([cubic, gradient], "switch", None, "'threshold' belongs to mode 'switch'"),
        ([cubic, gradient], "blend", 0.25, "'threshold' belongs to mode 'switch'"),
        ([cubic, lambda: Purify(Purifier())], "crossfade", None, "can only be blended"),
        ([cubic, lambda: Appended(nn.Tanh())], "switch", 0.25, "can only be blended"),
        ([cubic, lambda: Hybrid([Purify(Purifier())], "blend", None, 0.0)], "switch", 0.25, "can only be blended"),
    ],
)
def test_what_does_not_fit_is_refused(members, mode, threshold, words):
    with pytest.raises(ValueError, match=words):
        Hybrid([member() for member in members], mode, threshold, 0.0)


def test_a_warm_up_ends_in_the_run():
    with pytest.raises(BadInput, match="longer than the run") as refused:
        Hybrid([gradient()], "blend", None, 0.4, start=0.7)
    assert refused.value.next_step == "lower the warmup to 0.3, or start earlier"
    with pytest.raises(BadInput) as refused:
        Hybrid([gradient()], "blend", None, 0.9, start=1 / 3)
    assert refused.value.next_step == "lower the warmup to 0.666, or start earlier"
    Hybrid([gradient()], "blend", None, 0.4, start=0.6)


def test_hybrids_of_hybrids_of_losses_can_be_switched(operator, x):
    inner = Hybrid([cubic(), gradient()], "blend", None, 0.0)
    far = loss(Hybrid([cubic(), inner], "switch", 1e-12, 0.0), operator, x)
    close(far, loss(inner, operator, x))


def test_the_state_of_the_members_is_its_own():
    from idemlab_enforcers.relative import Relative

    hybrid = Hybrid([Relative(1.0), IGN(20.0, 0.0, 0.0, "l1", "reversal")], "blend", None, 0.0)
    assert list(hybrid.state_dict()) == ["enforcers.0.scale"]
