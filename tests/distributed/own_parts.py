"""A module, data and an enforcer of a caller's own. Run by its path: the file lies on no import path."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from idemlab import Enforcement, Enforcer, Orbit, Step, Traits


class Pull(Enforcer):
    """Idempotence as a plain loss."""

    traits = Traits(live_depth=1)

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        return Enforcement(loss=(orbit.live(2) - orbit.output).square().mean(1))


def parts(seed: int) -> dict[str, Any]:
    """What is given to `idemlab.train`; the seed is that of the module's weights."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4)).double()
    points = torch.randn(96, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    return {"model": module, "dataset": (points[:64], points[64:]), "enforcer": Pull()}
