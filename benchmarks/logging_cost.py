"""What logging costs: its share of the time of the training steps of an experiment.

    python benchmarks/logging_cost.py [--experiment digits-projector] [--steps 150] [--rounds 3] [--tracker tensorboard]

Two things are logging: to *write* metrics (to add them up at every step, to read their means from the device, the line of
metrics.jsonl, the trackers), and to *measure* what only the log wants, the idempotence error of the batch. Both are timed
where they are called, as a difference of whole runs would drown in the noise of the machine. Time is that of the
processor, on the CPU, without evaluations and checkpoints. Medians over the rounds are printed, and the share of each round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import idemlab
from idemlab import Objective, Watcher
from idemlab.training.log import Sums
from idemlab.training.loop import _Loop

WARM_UP = 10
PARTS: dict[str, list[tuple[type, str]]] = {
    "write": [(Sums, "add"), (_Loop, "_log")],
    "measure": [(Objective, "_idempotence")],
}


class Clock(Watcher):
    """Seconds from the end of the warm-up to the last step, in all and by part; what is logged after it is left out."""

    def __init__(self, last: int) -> None:
        self.last, self.seconds, self.on = last, 0.0, False
        self.parts = dict.fromkeys(PARTS, 0.0)

    def stepped(self, step: int) -> None:
        if step == WARM_UP:
            self.on, self.seconds = True, -time.process_time()
        elif step == self.last:
            self.on, self.seconds = False, self.seconds + time.process_time()

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A method that adds the time it takes to a part."""

        def call(*arguments: Any, **keywords: Any) -> Any:
            began = time.process_time()
            result = function(*arguments, **keywords)
            if self.on:
                self.parts[part] += time.process_time() - began
            return result

        return call


def shares(table: dict[str, Any], steps: int) -> dict[str, float]:
    """Of the time of the steps, by part; and the milliseconds of a step."""
    clock = Clock(steps + WARM_UP)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for part, methods in PARTS.items():
            for owner, name in methods:
                stack.enter_context(patch.object(owner, name, clock.timed(part, getattr(owner, name))))
        idemlab.train(table, Path(folder) / "run", watchers=[clock], progress=False)
    return {part: seconds / clock.seconds for part, seconds in clock.parts.items()} | {
        "milliseconds": 1000 * clock.seconds / steps
    }


def main() -> None:
    """Train a few times and print the median shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="digits-projector")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--tracker", action="append", default=[], help="a tracker of training.trackers; may be repeated"
    )
    options = parser.parse_args()
    training = {"steps": options.steps + WARM_UP, "checkpoint_every": 10**9, "trackers": options.tracker}
    evaluation = {"every": 10**9, "points": 2, "rank_points": 0, "metrics": []}
    table = {"base": options.experiment, "training": training, "evaluation": evaluation}
    rounds = [shares(table, options.steps) for _ in range(options.rounds)]
    median = {key: statistics.median(result[key] for result in rounds) for key in rounds[0]}
    print(
        json.dumps(
            {
                "experiment": options.experiment,
                "milliseconds_per_step": round(median["milliseconds"], 3),
                "share_of_writing": round(median["write"], 5),
                "share_of_measuring": round(median["measure"], 5),
                "shares": [round(result["write"] + result["measure"], 5) for result in rounds],
            }
        )
    )


if __name__ == "__main__":
    main()
