"""A module, data, an enforcer and a metric of a caller's own. Run by its path: the file lies on no import path."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from idemlab import Batch, Enforcement, Enforcer, Metric, Orbit, Step


class Pull(Enforcer):
    """Idempotence as a plain loss."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self._weight = weight

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        return Enforcement(loss=self._weight * (orbit.live(2) - orbit.output).square().mean(1))


class Size(Metric):
    """Mean norm of f(x)."""

    def __call__(self, orbit: Orbit, batch: Batch) -> dict[str, Tensor]:
        return {"size": orbit.output.flatten(1).norm(dim=1)}


def network(width: int = 8) -> nn.Module:
    return nn.Sequential(nn.Linear(4, width), nn.GELU(), nn.Linear(width, 4))


def tensors() -> tuple[Tensor, Tensor]:
    """Samples to train on, and to test on."""
    points = torch.randn(96, 4, generator=torch.Generator().manual_seed(2))
    return points[:64], points[64:]
