"""What the platform's loop costs over a hand-written one: same model, data and loss, interleaved in one process.

    python benchmarks/loop_overhead.py [--experiment digits|mlp] [--steps 60] [--rounds 7]

Both loops train f with L1 reconstruction and the canonical loss at Gaussian noise. The platform's steps are timed from
its watcher, without the preflight and the evaluation; logging every 50 steps is included. Rounds alternate, and the median
of the ratios of neighbouring rounds is printed. Time is that of the processor, as the wall clock of a shared machine
measures its neighbours; with `OMP_NUM_THREADS=1` threads that wait are not counted either.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import idemlab
from idemlab.objective.parts import build_operator
from idemlab.training.watcher import Watcher

EXPERIMENTS: dict[str, dict[str, Any]] = {
    "digits": {
        "dataset": {"name": "digits"},
        "model": {"name": "autoencoder", "channels": 16},
    },
    "mlp": {
        "dataset": {"name": "torus"},
        "model": {"name": "mlp", "width": 128, "depth": 4},
    },
}
WARM_UP = 10
BATCH, RATE, WEIGHT = 64, 1e-3, 20.0


def table(name: str, steps: int) -> dict[str, Any]:
    """The experiment of the platform's loop."""
    return EXPERIMENTS[name] | {
        "source": {"name": "gaussian"},
        "enforcer": {"name": "gradient"},
        "reconstruction": {"weight": WEIGHT, "distance": "l1"},
        "optimizer": {"name": "adam", "lr": RATE},
        "training": {"steps": steps + WARM_UP, "batch_size": BATCH, "checkpoint_every": 10**9},
        "evaluation": {"every": 10**9, "points": 2, "rank_points": 0},
    }


class Clock(Watcher):
    """Seconds from the end of the warm-up to the last step."""

    def __init__(self, last: int) -> None:
        self.last, self.began, self.seconds = last, 0.0, 0.0

    def stepped(self, step: int) -> None:
        if step == WARM_UP:
            self.began = time.process_time()
        elif step == self.last:
            self.seconds = time.process_time() - self.began


def platform_loop(name: str, steps: int) -> float:
    """Seconds for `steps` steps of `idemlab.train`."""
    clock = Clock(steps + WARM_UP)
    with tempfile.TemporaryDirectory() as folder:
        idemlab.train(table(name, steps), Path(folder) / "run", watcher=clock)
    return clock.seconds


def hand_written_loop(name: str, steps: int) -> float:
    """Seconds for the same steps as anyone would write them."""
    experiment = idemlab.resolve(table(name, steps))
    dataset: idemlab.Dataset = experiment.dataset.build()
    f = build_operator(experiment, dataset.shape)
    optimizer = torch.optim.Adam(f.parameters(), lr=RATE, fused=True)
    data = dataset.train.__getitems__(list(range(len(dataset.train)))).input
    images = data.dtype == torch.uint8
    began = 0.0
    for step in range(steps + WARM_UP):
        if step == WARM_UP:
            began = time.process_time()
        x = data[torch.randint(len(data), (BATCH,))]
        if images:
            x = x.float() / 127.5 - 1
        z = torch.randn_like(x)
        y = f(z)
        loss = WEIGHT * (f(x) - x).abs().mean() + (f(y) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.process_time() - began


def main() -> None:
    """Run both in turn and print the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", choices=sorted(EXPERIMENTS), default="digits")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    ratios, hand = [], []
    for number in range(options.rounds):
        # Which goes first alternates, so that a drift of the machine favours neither.
        loops = [platform_loop, hand_written_loop]
        seconds = {loop.__name__: loop(options.experiment, options.steps) for loop in loops[:: 1 if number % 2 else -1]}
        ratios.append(seconds["platform_loop"] / seconds["hand_written_loop"])
        hand.append(seconds["hand_written_loop"] / options.steps)
    print(
        json.dumps(
            {
                "experiment": options.experiment,
                "median_ratio": round(statistics.median(ratios), 4),
                "ratios": [round(ratio, 4) for ratio in ratios],
                "hand_written_milliseconds_per_step": round(1000 * statistics.median(hand), 3),
            }
        )
    )


if __name__ == "__main__":
    main()
