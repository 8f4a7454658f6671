"""Every enforcer in every precision, on one sample and on many, under autocast and without gradient."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from idemlab import Orbit, Step, installed

TABLES = {
    "cubic": {"name": "cubic"},
    "inner": {"name": "gradient", "routing": "inner"},
    "full": {"name": "gradient"},
    "relative": {"name": "relative"},
    "ign": {"name": "ign"},
    "ign-surrogate": {"name": "ign", "routing": "surrogate"},
    "ign-cubic": {"name": "ign", "routing": "cubic"},
    "switch": {"name": "hybrid", "mode": "switch", "threshold": 0.25, "enforcers": ["cubic", "relative"]},
}


@pytest.fixture(params=list(TABLES))
def enforcer(request):
    catalog = installed()
    return catalog.check("enforcer", TABLES[request.param], "here").build()


def step(rows):
    torch.manual_seed(0)
    now = Step()
    now.reconstruction = torch.rand(rows, dtype=torch.float32)
    return now


def test_losses_and_gradients_are_finite(enforcer):
    precisions = (torch.bfloat16, torch.float32, torch.float64)
    for case in itertools.product(precisions, (0.0, 1e-4, 1.0, 1e4), (1, 5)):
        dtype, scale, rows = case
        now = step(rows)
        operator = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)).to(dtype)
        loss = enforcer(Orbit(operator, scale * torch.randn(rows, 4, dtype=dtype)), now).loss
        assert loss.shape == (rows,), case
        loss.mean().backward()
        assert torch.isfinite(loss).all(), case
        assert all(torch.isfinite(p.grad).all() for p in operator.parameters()), case


def test_autocast_keeps_the_gradient(enforcer):
    def gradient(autocast: bool) -> torch.Tensor:
        now = step(64)
        operator = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 4)).float()
        x = torch.randn(64, 4, dtype=torch.float32)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = enforcer(Orbit(operator, x), now).loss.mean()
        loss.backward()
        return operator[2].weight.grad

    a, b = gradient(True).flatten(), gradient(False).flatten()
    assert torch.cosine_similarity(a, b, dim=0) > 0.98


def test_it_has_a_value_without_gradient(enforcer):
    operator = nn.Linear(4, 4)
    x = torch.randn(5, 4)
    with torch.no_grad():
        still = enforcer(Orbit(operator, x), step(5)).loss
    live = enforcer(Orbit(operator, x), step(5)).loss
    torch.testing.assert_close(still, live.detach(), rtol=1e-12, atol=1e-14)
