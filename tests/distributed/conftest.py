"""Pairs of processes that train together over gloo, and a tiny experiment in double precision."""

from __future__ import annotations

import json
import runpy
import socket
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

# Each process is a fork of a server that has imported everything, as an interpreter of its own takes seconds to start.
SERVER = get_context("forkserver")
SERVER.set_forkserver_preload(
    ["idemlab.training.loop", "torch._dynamo", "torch.distributed.fsdp", "torch.distributed.tensor"]
)

PATIENCE = 400
"""Seconds that a pair may take on a busy machine."""

TABLE: dict[str, Any] = {
    "summary": "tiny, in double precision",
    "dataset": {"name": "gaussian", "shape": [4], "train": 64, "test": 32},
    "model": {"name": "mlp", "width": 8, "depth": 1},
    "enforcer": {"name": "gradient"},
    "optimizer": {"name": "adam", "lr": 0.01},
    "training": {"steps": 20, "batch_size": 16, "log_every": 1, "checkpoint_every": 100, "dtype": "float64"},
    "evaluation": {"every": 100, "rank_points": 1, "points": 16, "depth": 1},
}


@pytest.fixture
def tiny(changing: Callable[..., Callable[..., dict[str, Any]]]) -> Callable[..., dict[str, Any]]:
    """A function that gives the tiny experiment's table with whole tables or single keys (`table__key`) replaced."""
    return changing(TABLE)


@pytest.fixture
def together(tmp_path: Path) -> Callable[..., list[list[dict[str, Any]]]]:
    """A function that has two processes do a list of jobs together, see worker.py, and gives what each of them noted."""

    def launch(jobs: list[Any]) -> list[list[dict[str, Any]]]:
        """Each job may also be a pair, where the two are told different things."""
        world = 2
        folder = tmp_path / "processes"
        folder.mkdir(exist_ok=True)
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(world)}
        processes = []
        for rank in range(world):
            environment = shared | {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(world)}
            own = [job[rank] if isinstance(job, tuple) else job for job in jobs]
            given = {"jobs": own, "environment": environment, "told": folder / f"{rank}.json"}
            given["log"] = folder / f"{rank}.log"
            worker = str(Path(__file__).with_name("worker.py"))
            processes.append(SERVER.Process(target=runpy.run_path, args=(worker, given), daemon=True))
            processes[-1].start()
        for process in processes:
            process.join(PATIENCE)
        for rank, process in enumerate(processes):
            ended = process.exitcode
            process.kill()
            assert ended == 0, (folder / f"{rank}.log").read_text()
        return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world)]

    return launch


@pytest.fixture
def port() -> int:
    """A port that nobody listens at."""
    return free_port()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
