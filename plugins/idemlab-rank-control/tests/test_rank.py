"""What it is for: an operator of the rank that was asked for, where the canonical loss alone ends anywhere."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import idemlab
from idemlab import Enforcer, Orbit, Step

N, RANK, SEEDS = 6, 3, (0, 1, 2)

CANONICAL = {"name": "gradient"}
CONTROLLED = {"name": "hybrid", "enforcers": [{"name": "rank-control", "rank": RANK}, CANONICAL]}


def linear() -> nn.Module:
    return nn.Linear(N, N, bias=False)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(N, 32), nn.Tanh(), nn.Linear(32, N))


def trained(operator: nn.Module, enforcer: Enforcer, seed: int, steps: int = 300) -> idemlab.Certificate:
    """The certificate after training on white noise, with nothing else in the objective."""
    optimizer = torch.optim.Adam(operator.parameters(), lr=0.03)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total_iters=steps)
    generator = torch.Generator().manual_seed(seed)
    for index in range(steps):
        orbit = Orbit(operator, torch.randn(64, N, generator=generator))
        loss = enforcer(orbit, Step(seed=seed, index=index, progress=index / steps)).loss
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        schedule.step()
    return idemlab.certify(operator, torch.randn(256, N, generator=generator), rank_points=8)


@pytest.mark.parametrize("make", [linear, mlp])
def test_the_rank_is_the_one_asked_for_and_otherwise_another(make: type[nn.Module]) -> None:
    catalog = idemlab.installed()
    ranks: dict[str, list[float | None]] = {"canonical": [], "controlled": []}
    errors = []
    for seed in SEEDS:
        for name, table in (("canonical", CANONICAL), ("controlled", CONTROLLED)):
            torch.manual_seed(seed)
            enforcer = catalog.check("enforcer", table, "test").build()
            certificate = trained(make(), enforcer, seed)
            ranks[name].append(certificate.rank)
        errors.append(certificate.relative[0])
        assert certificate.verdict is idemlab.Verdict.GENUINE, (ranks, errors)
    assert ranks["controlled"] == [RANK] * len(SEEDS), (ranks, errors)
    assert RANK not in ranks["canonical"], ranks
