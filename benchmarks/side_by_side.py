"""Measure how much a training slows down while others run on the same cores.

    python benchmarks/side_by_side.py [--experiment digits-projector] [--trainings 2] [--seconds 10] [--rounds 3]

Each training is a process of its own with as many threads as torch takes, or OMP_NUM_THREADS. In each round every training
first steps alone for some seconds, then all of them step at once, and between them a matrix product of 1024 x 1024 is timed
with the same threads. Steps are those of `idemlab run`, logging included, without evaluations and checkpoints. Medians over
the rounds are printed as JSON: steps a second alone and beside the others, their ratio, and the rate of the product.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import idemlab  # before torch, which is loaded in the functions: it sets how long idle threads spin

SIZE = 1024
WARM_UP = 2
ENDLESS = "training.steps=1000000000"


def worker(connection: Connection, name: str, overrides: list[str], seed: int) -> None:
    """Step for as many seconds as the connection says, and answer with the steps a second; end at None."""
    try:
        steps(connection, idemlab.resolve(name, [*overrides, f"training.seed={seed}", ENDLESS]))
    except idemlab.IdemlabError as error:
        sys.exit(str(error))


def steps(connection: Connection, experiment: idemlab.Experiment) -> None:
    """Step a resolved experiment, as `worker` says."""
    import torch

    from idemlab.objective.data import build_dataset
    from idemlab.training.stepping import Steps

    with tempfile.TemporaryDirectory() as folder:
        run = Steps(experiment, Path(folder), build_dataset(experiment))
        for _ in range(WARM_UP):
            run.step()
        connection.send(torch.get_num_threads())
        while (seconds := connection.recv()) is not None:
            began, done = time.perf_counter(), 0
            while time.perf_counter() - began < seconds:
                run.step()
                done += 1
            connection.send(done / (time.perf_counter() - began))


def paces(connections: list[Connection], seconds: float) -> list[float]:
    """Steps a second of these trainings, all at once."""
    for connection in connections:
        connection.send(seconds)
    return [connection.recv() for connection in connections]


def gflops() -> float:
    """Rate of a matrix product, the median of a few."""
    import torch

    a, b = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    times = []
    for _ in range(WARM_UP + 9):
        began = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - began)
    return 2e-9 * SIZE**3 / statistics.median(times[WARM_UP:])


def main() -> None:
    """Let the trainings step alone and together in turn, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="digits-projector")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="may be repeated")
    parser.add_argument("--trainings", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=10, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for name, lowest in {"trainings": 2, "seconds": 1, "rounds": 1}.items():
        if getattr(options, name) < lowest:
            parser.error(f"--{name} must be at least {lowest}")
    try:
        idemlab.resolve(options.experiment, [*options.set, ENDLESS])
    except idemlab.IdemlabError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(options.trainings)]
    started = [
        context.Process(target=worker, args=(theirs, options.experiment, options.set, seed), daemon=True)
        for seed, (_, theirs) in enumerate(pipes)
    ]
    ours = [own for own, _ in pipes]
    for process, (_, theirs) in zip(started, pipes, strict=True):
        process.start()
        theirs.close()  # so that the death of a training ends the waiting for it
    try:
        threads = [connection.recv() for connection in ours]
        alone, beside, rates = [], [], []
        for _ in range(options.rounds):
            alone.append([paces([connection], options.seconds)[0] for connection in ours])
            rates.append(gflops())
            beside.append(paces(ours, options.seconds))
        for connection in ours:
            connection.send(None)
        for process in started:
            process.join()  # each removes its folder
    except (EOFError, BrokenPipeError):
        sys.exit("a training ended early; see its message above")
    ratios = [[b / a for a, b in zip(*pair, strict=True)] for pair in zip(alone, beside, strict=True)]
    rounds = {"alone_steps_per_second": alone, "beside_steps_per_second": beside, "ratio": ratios}
    result: dict[str, object] = {"experiment": options.experiment, "threads": threads}
    for key, values in rounds.items():
        result[key] = [round(statistics.median(own), 3) for own in zip(*values, strict=True)]
    print(json.dumps(result | {"gemm_gflops": round(statistics.median(rates), 1)}))


if __name__ == "__main__":
    main()
