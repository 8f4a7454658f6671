"""SIGKILL at any moment: each resume succeeds, and in the end everything is as if nothing had happened, bit for bit."""

from __future__ import annotations

import copy
import json
import random
import runpy
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

import idemlab
from idemlab.runs.weights import read_weights
from idemlab.training.checkpoint import latest

PATIENCE = 60
"""Seconds that a run of the table may take on a busy machine; undisturbed it is half a second."""

TABLE: dict[str, Any] = {
    "summary": "tiny, with many checkpoints, at steps where neither epochs nor logs end",
    "dataset": {"name": "gaussian", "shape": [4], "train": 64, "test": 32},
    "model": {"name": "mlp", "width": 128, "depth": 2},
    "source": {"name": "gaussian"},
    "enforcer": {"name": "gradient"},
    "optimizer": {"name": "adam", "lr": 0.001},
    "training": {"steps": 36, "batch_size": 24, "log_every": 4, "checkpoint_every": 5, "dtype": "float64"},
    "evaluation": {"every": 10, "rank_points": 2, "metrics": ["reconstruction-error"]},
}

KEEPING = copy.deepcopy(TABLE)
"""The same with all that a run can keep, which ends early: no evaluation improves by so much."""
KEEPING["training"] |= {
    "ema": 0.9,
    "best": {"metric": "data/reconstruction_error", "minimum_spread": 0.0},
    "stop": {"metric": "noise/relative", "patience": 4, "margin": 1.0},
}
KEEPING["evaluation"]["every"] = 6

TRACKED = {"idemlab", "figures", "report.html", "trackers.json"}
"""What a tracker writes, what it gets in the end, and the name by which it knows a run: they have times in them."""

# Each process is a fork of a server that has imported everything, as an interpreter of its own takes seconds to start.
SERVER = get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        *("idemlab.training.loop", "torch._dynamo", "idemlab_data.noise", "idemlab_enforcers.gradient"),
        *("idemlab_models.mlp", "mlflow"),
    ]
)


class Attempt:
    """Processes that begin a run or go on with it.

    Args:
        world: number of processes.
        killed_at: number of the operation on a file of the run before which the process kills itself.
    """

    def __init__(self, out: Path, table: dict[str, Any], *, world: int = 1, killed_at: int | None = None) -> None:
        self.out, self.processes, self.logs = out, list[BaseProcess](), list[Path]()
        environment = {"ACCELERATE_USE_CPU": "true"}
        environment |= {"MLFLOW_TRACKING_URI": f"file:{out.parent / 'store'}", "MLFLOW_ALLOW_FILE_STORE": "true"}
        if world > 1:
            environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(world)}
        for rank in range(world):
            ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if world > 1 else {}
            given = {
                "table": table,
                "out": out,
                "environment": environment | ranks,
                "log": out.with_name(f"{out.name}.{rank}.log"),
                "killed_at": killed_at,
            }
            target = str(Path(__file__).with_name("one_process.py"))
            self.processes.append(SERVER.Process(target=runpy.run_path, args=(target, given), daemon=True))
            self.logs.append(given["log"])
        for process in self.processes:
            process.start()

    @property
    def alive(self) -> bool:
        """Whether all its processes are."""
        return all(process.is_alive() for process in self.processes)

    @property
    def writing(self) -> bool:
        """Whether a checkpoint has been begun and is not yet in its place."""
        folder = self.out / "checkpoints"
        return folder.is_dir() and any(path.name.endswith(".tmp") for path in folder.iterdir())

    def kill(self, first: int = 0) -> bool:
        """Kill all processes, one of them first; whether one had not yet ended."""
        codes = [process.exitcode for process in self.processes]
        if any(code not in (None, 0) for code in codes):
            self.fail()
        for process in self.processes[first:] + self.processes[:first]:
            process.kill()
        for process in self.processes:
            process.join()
        return any(process.exitcode != 0 for process in self.processes)

    def finish(self) -> None:
        """Wait until the run is done."""
        for process in self.processes:
            process.join(PATIENCE)
        if any(process.exitcode != 0 for process in self.processes):
            self.fail()

    def fail(self) -> None:
        """Say why it did not go on."""
        codes = [process.exitcode for process in self.processes]
        told = "\n".join(log.read_text() for log in self.logs if log.is_file())
        pytest.fail(f"the run did not go on: exit codes {codes}\n{told}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(autouse=True)
def _no_process_outlives_its_test() -> Iterator[None]:
    from multiprocessing import active_children

    yield
    for process in active_children():
        process.kill()
        process.join()


def content(out: Path) -> dict[str, Any]:
    """All that a run has left, by file: bytes, and of metrics.jsonl the entries less the time they took."""
    found: dict[str, Any] = {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.relative_to(out).parts[0] not in TRACKED
    }
    found["metrics.jsonl"] = [
        {key: value for key, value in json.loads(line).items() if key != "time"}
        for line in found["metrics.jsonl"].splitlines()
    ]
    return found


def undisturbed(folder: Path, table: dict[str, Any], *, world: int = 1) -> tuple[dict[str, Any], float]:
    """What a run leaves that nobody kills, and the seconds that it takes."""
    Attempt(folder / "first", table, world=world).finish()  # this starts the server, if it is not there yet
    began = time.perf_counter()
    Attempt(folder / "second", table, world=world).finish()
    seconds = time.perf_counter() - began
    assert content(folder / "first") == content(folder / "second")
    return content(folder / "second"), seconds


@dataclass
class Tally:
    """What has been done to runs.

    Args:
        kills: before a run was done.
        writing: those of them after a checkpoint had been begun and before it was in its place.
        runs: that came to their end.
    """

    kills: int = 0
    writing: int = 0
    runs: int = 0


def kill_at_random(folder: Path, table: dict[str, Any], *, kills: int, writing: int, world: int = 1) -> Tally:
    """Kill runs at random, `kills` times at least, `writing` of them within a checkpoint; compare each in the end."""
    whole, seconds = undisturbed(folder, table, world=world)
    draw, tally, step = random.Random(kills), Tally(), -1
    out = folder / "run-0"
    for _ in range(5 * kills):
        attempt = Attempt(out, table, world=world)
        until = time.perf_counter() + draw.uniform(0, seconds)
        wait_for_writing = draw.random() < 0.3
        while attempt.alive and (time.perf_counter() < until or (wait_for_writing and not attempt.writing)):
            if not wait_for_writing:
                time.sleep(0.001)
        if attempt.kill(first=draw.randrange(world)):
            tally.kills += 1
            tally.writing += attempt.writing
            newest = latest(idemlab.Run(out).checkpoints, pytest.fail)  # none is damaged
            before, step = step, int(newest.name.removeprefix("step-")) if newest else -1
            assert step >= before, "what was saved is lost"
            if tally.kills >= kills and tally.writing >= writing:
                break
        else:
            assert content(out) == whole
            tally.runs += 1
            out, step = folder / f"run-{tally.runs}", -1
    Attempt(out, table, world=world).finish()
    assert content(out) == whole
    tally.runs += 1
    print(tally)
    assert tally.kills >= kills
    assert tally.writing >= writing
    return tally


@pytest.mark.long
@pytest.mark.parametrize(
    ("kills", "writing"), [(4, 1), pytest.param(50, 15, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_a_run_that_is_killed_goes_on_as_if_nothing_had_happened(tmp_path: Path, kills: int, writing: int) -> None:
    kill_at_random(tmp_path, TABLE, kills=kills, writing=writing)


@pytest.mark.long
@pytest.mark.parametrize("tracker", ["tensorboard", pytest.param("mlflow", marks=pytest.mark.slow)])
@pytest.mark.timeout(900)
def test_average_best_weights_and_early_end_survive_ten_kills(
    tracker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a tracker and a watcher of the user's, too."""
    pytest.importorskip(tracker)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    table = copy.deepcopy(KEEPING)
    table["training"]["trackers"] = [tracker]
    tally = kill_at_random(tmp_path, table, kills=10, writing=2)
    run = idemlab.Run(tmp_path / "run-0")
    assert list(run.certificates) == ["last", "ema", "best"]
    assert run.certificates["last"]["steps"] == 30
    if tracker == "mlflow":
        _assert_filed(tmp_path, tally.runs)


def _assert_filed(folder: Path, runs: int) -> None:
    """What MLflow holds of all the runs: each as finished, with every entry of its log."""
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=f"file:{folder / 'store'}")
    (filed,) = client.search_experiments(filter_string="name = 'idemlab'")
    for number in range(runs):
        run = idemlab.Run(folder / f"run-{number}")
        known = client.get_run(json.loads((run.path / "trackers.json").read_text())["run_id"])
        assert known.info.experiment_id == filed.experiment_id
        assert (known.info.run_name, known.info.status) == (run.name, "FINISHED")
        values = {each.step: each.value for each in client.get_metric_history(known.info.run_id, "train/loss")}
        logged = {entry["step"]: entry["loss"] for entry in run.metrics if entry["split"] == "train"}
        assert {step: values.get(step) for step in logged} == pytest.approx(logged)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_that_are_killed_go_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    kill_at_random(tmp_path, TABLE, kills=10, writing=3, world=2)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_may_be_killed_before_each_of_its_operations_on_files(tmp_path: Path) -> None:
    table = copy.deepcopy(TABLE)
    table["training"] |= {"steps": 2, "checkpoint_every": 1, "log_every": 1, "keep": 1}
    table["evaluation"]["every"] = 1
    whole, _ = undisturbed(tmp_path, table)
    for number in range(1000):
        out = tmp_path / f"run-{number}"
        attempt = Attempt(out, table, killed_at=number)
        attempt.processes[0].join(PATIENCE)
        if attempt.processes[0].exitcode == 0:
            break
        assert attempt.processes[0].exitcode == -signal.SIGKILL
        Attempt(out, table).finish()
        assert content(out) == whole, f"killed before operation {number}"
    assert number > 50, "most operations were not told of"


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_in_one(tmp_path: Path) -> None:
    """To the same figures and weights but for the order of sums. `relative` is left out: it is the mean over the processes
    of the error relative to the spread of what each of them sees."""
    undisturbed(tmp_path, TABLE, world=2)
    whole, run = idemlab.Run(tmp_path / "first"), idemlab.Run(tmp_path / "run")
    attempt = Attempt(run.path, TABLE, world=2)
    while attempt.alive and not (run.checkpoints / "step-20").is_dir():
        time.sleep(0.001)
    assert attempt.kill()
    Attempt(run.path, TABLE).finish()
    weights = read_weights(run.weights_file)
    for name, expected in read_weights(whole.weights_file).items():
        torch.testing.assert_close(weights[name], expected, rtol=1e-10, atol=1e-12)
    for entry, other in zip(run.metrics, whole.metrics, strict=True):
        assert entry.keys() == other.keys()
        for key in entry.keys() - {"time", "split", "relative"}:
            assert entry[key] == pytest.approx(other[key], rel=1e-8), key
