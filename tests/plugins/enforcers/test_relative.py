"""The scale-free penalty: invariance, degenerate batches, several processes."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from idemlab import Orbit, Step
from idemlab.contracts.step import Shard
from idemlab_enforcers.relative import LogRelative, Relative


class Scaled(nn.Module):
    """x -> c f(x / c): the same operator in other units."""

    def __init__(self, operator, unit):
        super().__init__()
        self.operator, self.unit = operator, unit

    def forward(self, x):
        return self.unit * self.operator(x / self.unit)


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_it_is_free_of_scale(unit, enforced):
    operator, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)), torch.randn(6, 3)
    loss = enforced(Relative(1.0), operator, x)[0]
    scaled = enforced(Relative(1.0), Scaled(operator, unit), unit * x)[0]
    torch.testing.assert_close(scaled, loss, rtol=1e-12, atol=0)


def test_squared_is_its_square(enforced):
    operator, x = nn.Linear(3, 3), torch.randn(6, 3)
    torch.testing.assert_close(
        enforced(Relative(0.5, squared=True), operator, x)[0], 0.5 * enforced(Relative(1.0), operator, x)[0].square()
    )


def test_the_logarithm_is_the_square_for_small_errors_and_flat_for_large_ones(enforced):
    operator, x = nn.Linear(3, 3), torch.randn(6, 3)
    square = enforced(Relative(1.0, squared=True), operator, x)[0]
    e = square.mean().sqrt()
    torch.testing.assert_close(enforced(LogRelative(0.5, 0.3), operator, x)[0], 0.5 * (square / 0.09).log1p())
    near = enforced(LogRelative(1.0, 1e4 * float(e)), operator, x)
    torch.testing.assert_close(near[0] * (1e4 * e) ** 2, square, rtol=1e-7, atol=0)
    far = enforced(LogRelative(1.0, 1e-4 * float(e)), operator, x)  # d log(e^2) = d e^2 / e^2
    gradients = enforced(Relative(1.0, squared=True), operator, x)[1]
    for own, other in zip(far[1], gradients, strict=True):
        torch.testing.assert_close(own * square.mean(), other, rtol=1e-6, atol=1e-9)


def test_it_is_coupled_across_the_batch_as_its_traits_say(enforced):
    operator, x = nn.Linear(3, 3), torch.randn(6, 3)
    whole = enforced(Relative(1.0), operator, x)[0].mean()
    halves = [enforced(Relative(1.0), operator, half)[0].mean() for half in (x[:3], x[3:])]
    assert abs(whole - sum(halves) / 2) > 1e-4


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("batch", ["one", "constant"])
def test_a_batch_without_spread_is_measured_by_the_running_scale(batch, dtype, enforced):
    operator = nn.Linear(3, 3).to(dtype)
    x = torch.randn(1, 3).expand(1 if batch == "one" else 7, 3).to(dtype).clone()
    enforcer = Relative(1.0)
    enforcer.scale.fill_(4.0)
    loss, gradients = enforced(enforcer, operator, x)
    y = operator(x)
    error = (operator(y) - y).detach().double().square().mean()
    tolerance = 16 * torch.finfo(dtype).eps
    torch.testing.assert_close(loss.double(), (error / 4).sqrt().expand(len(x)), rtol=tolerance, atol=0)
    assert all(torch.isfinite(g).all() for g in gradients)
    assert any(g.abs().max() > 0 for g in gradients)
    assert enforcer.scale == 4, "what has no spread teaches no scale"


def test_the_running_scale_follows_the_spread_in_training_only(enforced):
    operator, x, enforcer = nn.Linear(3, 3), torch.randn(5, 3), Relative(1.0)
    y = operator(x).detach()
    spread = (y - y.mean(0)).square().mean()
    assert enforcer.scale == 1
    enforced(enforcer.eval(), operator, x)
    assert enforcer.scale == 1
    enforced(enforcer.train(), operator, x)
    torch.testing.assert_close(enforcer.scale, 0.9 + 0.1 * spread)
    for _ in range(300):
        enforced(enforcer, operator, x)
    torch.testing.assert_close(enforcer.scale, spread)


def test_the_running_scale_is_part_of_the_checkpoint(enforced):
    enforcer, restored = Relative(1.0), Relative(1.0)
    enforced(enforcer, nn.Linear(3, 3), torch.randn(5, 3))
    restored.load_state_dict(enforcer.state_dict())
    assert restored.scale == enforcer.scale != 1


def test_it_is_finite_where_everything_is_zero(enforced):
    operator = nn.Linear(3, 3)
    nn.init.zeros_(operator.weight)
    nn.init.zeros_(operator.bias)
    loss, gradients = enforced(Relative(1.0), operator, torch.zeros(4, 3))
    assert torch.equal(loss, torch.zeros(4))
    assert all(torch.equal(g, torch.zeros_like(g)) for g in gradients)


def test_processes_see_the_global_batch_and_their_gradients_average_to_its_gradient(monkeypatch, gradients):
    """Two threads stand for two processes; what all_reduce adds up is exchanged at a barrier."""
    world = 2
    barrier, slots, lock = threading.Barrier(world, timeout=30), [None] * world, threading.Lock()
    rank_of: dict[int, int] = {}

    def all_reduce(tensor):
        slots[rank_of[threading.get_ident()]] = tensor.clone()
        barrier.wait()
        tensor.copy_(sum(slots))
        barrier.wait()

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    torch.manual_seed(0)
    operator, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)), torch.randn(8, 3)
    whole = Relative(1.0)
    loss = whole(Orbit(operator, x), Step()).loss
    expected = gradients(loss.mean(), operator)
    shares: list = [None] * world

    def process(rank):
        with lock:
            rank_of[threading.get_ident()] = rank
        enforcer = Relative(1.0)
        local = enforcer(Orbit(operator, x[4 * rank : 4 * rank + 4]), Step(shard=Shard(rank=rank, world=world))).loss
        shares[rank] = (local.detach(), gradients(local.mean(), operator), enforcer.scale)

    threads = [threading.Thread(target=process, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for local, _, scale in shares:
        torch.testing.assert_close(local, loss[:4].detach(), rtol=1e-12, atol=0)
        torch.testing.assert_close(scale, whole.scale, rtol=1e-12, atol=0)
    averaged = [sum(parts) / world for parts in zip(*(share[1] for share in shares), strict=True)]
    for got, want in zip(averaged, expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-14)
