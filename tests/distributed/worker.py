"""What each process of these tests does: run its list of jobs through `idemlab.train`, and note how they ended.

It is run by its path (`runpy`), with `jobs`, `environment`, `told` and `log` among its globals. A job is a table for
`train` with `out`; `resume`; `stop`, the step after which the main process is told to; `sharded`, whether the parameters are
shared out by `fully_shard` on a mesh of CPUs, which tests the mathematics of FSDP2 (Accelerate's own needs a GPU); `own`, a
seed for the objects of own_parts.py, which are then given.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import torch
from torch import nn

import idemlab
from idemlab.objective.engines import FSDP2, Engine, Whole, shard_all
from idemlab.objective.fingerprint import fingerprint
from idemlab.training import loop
from idemlab.training.evaluations import Evaluations
from idemlab.watching.watcher import Watcher

alone = loop.start_engine
finished = Evaluations.finish
prints: list[str] = []


class Listening(Watcher):
    """Keeps what the run says, and asks it to stop after a step."""

    def __init__(self, stop: int | None) -> None:
        self.stop, self.messages = stop, list[str]()

    def stepped(self, step: int) -> None:
        if step == self.stop:
            signal.raise_signal(signal.SIGTERM)

    def message(self, text: str) -> None:
        self.messages.append(text)


def sharded(*arguments: Any) -> tuple[Any, Engine]:
    """Accelerate's engine with `fully_shard`, by block and at the root, in place of DDP."""
    accelerator, engine = alone(*arguments)
    accelerator.prepare = share_out
    return accelerator, FSDP2(engine.device, world=engine.world, rank=engine.rank)


def share_out(objective: nn.Module, *optimizers: torch.optim.Optimizer) -> tuple[Any, ...]:
    """Cut the parameters among the processes and give the optimisers the cut ones."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    names = {id(p): name for name, p in objective.named_parameters()}
    groups = [(group, [names[id(p)] for p in group["params"]]) for o in optimizers for group in o.param_groups]
    blocks = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.MultiheadAttention, nn.GroupNorm, nn.LayerNorm)
    for block in [m for m in objective.operator.modules() if isinstance(m, blocks)]:
        fully_shard(block, mesh=mesh)
    fully_shard(objective, mesh=mesh)
    cut = dict(objective.named_parameters())
    assert all(isinstance(p, DTensor) for p in cut.values())
    for group, own in groups:
        group["params"] = [cut[name] for name in own]
    return objective, *optimizers


def finish(evaluations: Any, done: int, remark: str) -> None:
    """Note what this process holds at the end: weights and buffers, and the optimisers' state."""
    run = evaluations._loop
    shard_all(run.bare)
    state = Whole(run.bare).state_dict()
    for number, optimizer in enumerate(run.optimizers):
        for index, values in Whole(optimizer).state_dict()["state"].items():
            state |= {f"{number} {index} {key}": torch.as_tensor(value) for key, value in values.items()}
    prints.append(fingerprint(state))
    finished(evaluations, done, remark)


given = globals()
catalog = runpy.run_path(str(Path(__file__).with_name("penalty.py")))["catalog"]
own_parts = runpy.run_path(str(Path(__file__).with_name("own_parts.py")))["parts"]
log = Path(given["log"]).open("a")  # noqa: SIM115 -- to the end of the process
os.dup2(log.fileno(), sys.stderr.fileno())
sys.stderr = log
os.environ.update(given["environment"])
Evaluations.finish = finish  # type: ignore[method-assign]
notes: list[dict[str, Any]] = []
for job in given["jobs"]:
    loop.start_engine = sharded if job.get("sharded") else alone
    watcher = Listening(job.get("stop"))
    note: dict[str, Any] = {}
    prints.clear()
    try:
        parts = own_parts(job["own"]) if "own" in job else {}
        resume = job.get("resume", False)
        idemlab.train(job["table"], job["out"], resume=resume, watchers=[watcher], catalog=catalog, **parts)
    except Exception as error:
        traceback.print_exc()
        note["error"] = f"{type(error).__name__}: {error}"
    notes.append(note | {"print": prints[0] if prints else None, "messages": watcher.messages})
Path(given["told"]).write_text(json.dumps(notes))
if torch.distributed.is_initialized():
    torch.distributed.destroy_process_group()
