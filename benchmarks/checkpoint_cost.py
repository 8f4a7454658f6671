"""What a checkpoint costs over a bare `torch.save` and a sha256 of the same state, side by side in one process.

    python benchmarks/checkpoint_cost.py [--experiment mnist-ign] [--shape 1 28 28] [--rounds 40] [--folder FOLDER]

The state is that of the experiment's model, enforcer and optimiser after one step, at the shape of its samples. Ours is
`save_checkpoint` as training calls it: two safetensors files, JSON, the sha256 of each, the renaming, and the removal of the
checkpoint before the last. The bare one is a single file and its sha256, and nothing is removed. Rounds alternate which goes
first, and the medians of the ratios of neighbours are printed, of the processor's time and of the wall clock: the latter has
in it what the disk and the neighbours of a shared machine do.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import idemlab
from idemlab.objective.optimizers import build_optimizers
from idemlab.objective.parts import assemble
from idemlab.runs.weights import sha256
from idemlab.training.checkpoint import save_checkpoint

WARM_UP = 3
KEEP = 2
Optimizers = list[torch.optim.Optimizer]


def trained(name: str, shape: list[int]) -> tuple[nn.Module, Optimizers]:
    """The objective and the optimisers of an experiment after one step along random gradients."""
    # What the data are makes no difference to the cost; their shape does.
    data = {"dataset": {"name": "gaussian", "shape": shape, "train": 1024, "test": 16}, "evaluation": {"metrics": []}}
    parts = assemble(
        idemlab.resolve(
            {"base": name} | data,
        )
    )
    experiment = idemlab.resolve(name)
    parameters = [p for p in parts.objective.parameters() if p.requires_grad]
    optimizers = build_optimizers(experiment.optimizer, parameters)
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return parts.objective, optimizers


def seconds(save: Callable[[], object]) -> tuple[float, float]:
    """Of the processor and of the wall clock."""
    wall, processor = time.perf_counter(), time.process_time()
    save()
    return time.process_time() - processor, time.perf_counter() - wall


def main() -> None:
    """Save in both ways in turn and print the median ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="mnist-ign")
    parser.add_argument("--shape", type=int, nargs="+", default=[1, 28, 28])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--folder", type=Path, help="on the disk that is to be measured; the system's temporary one")
    options = parser.parse_args()
    objective, optimizers = trained(options.experiment, options.shape)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        checkpoints, file = Path(folder) / "checkpoints", Path(folder) / "bare.pt"

        def ours(step: int) -> None:
            save_checkpoint(checkpoints, step, objective, optimizers, {"step": step}, keep=KEEP)

        def bare(step: int) -> None:
            state = [optimizer.state_dict() for optimizer in optimizers]
            torch.save({"objective": objective.state_dict(), "optimizers": state, "step": step}, file)
            sha256(file)

        times: dict[str, list[tuple[float, float]]] = {"ours": [], "bare": []}
        for step in range(options.rounds + WARM_UP):
            for way in [ours, bare][:: 1 if step % 2 else -1]:
                file.unlink(missing_ok=True)  # to write over a file is slower than to write a new one
                took = seconds(lambda way=way, step=step: way(step))  # type: ignore[misc]
                if step >= WARM_UP:
                    times[way.__name__].append(took)
        size = sum(path.stat().st_size for path in (checkpoints / f"step-{step}").iterdir())
    ratios = [[o / b for o, b in zip(*pair, strict=True)] for pair in zip(times["ours"], times["bare"], strict=True)]
    result: dict[str, object] = {"experiment": options.experiment, "megabytes": round(size / 1e6, 1)}
    for index, clock in enumerate(["processor", "wall"]):
        result[f"median_ratio_{clock}"] = round(statistics.median(ratio[index] for ratio in ratios), 3)
        for name, values in times.items():
            result[f"{name}_{clock}_milliseconds"] = round(1000 * statistics.median(v[index] for v in values), 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
