"""One of two processes of test_loose.py: a plain loop with enforcers under DistributedDataParallel; prints its gradient."""

from __future__ import annotations

import json
import sys

import torch
from torch import Tensor, nn

import idemlab
from idemlab import Enforcement, Enforcer, Orbit, Step


class Draws(Enforcer):
    """A loss that is random."""

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        return Enforcement(loss=(step.normal(orbit.input) * orbit.output).sum(1))


def gradient(rank: int, world: int) -> list[float]:
    """The gradient of a task and two enforcers on this process's rows of one batch, as all processes have it."""
    torch.manual_seed(0)
    f: nn.Module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4)).double()
    x: Tensor = torch.randn(8, 4, dtype=torch.float64).chunk(world)[rank]
    parameters = list(f.parameters())
    if world > 1:
        f = nn.parallel.DistributedDataParallel(f)
    relative, draws, cubic = (idemlab.enforcer(each) for each in ("relative", Draws(), "cubic"))
    loss = (f(x) - x).square().mean() + relative(f, x) + draws(f, x) + cubic(f, x)
    loss.backward()
    return torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]).tolist()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        torch.distributed.init_process_group("gloo", rank=int(sys.argv[1]), world_size=2)
        print(json.dumps(gradient(int(sys.argv[1]), 2)))
        torch.distributed.destroy_process_group()
