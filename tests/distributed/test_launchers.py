"""Commands that start several processes do; where they start one only, or several that are strangers, that is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tomli_w
import torch
from accelerate import DistributedType

import idemlab
from idemlab.objective.engines import FSDP2, expected_processes, launched_alone
from idemlab.runs.weights import read_weights
from idemlab.watching.watcher import Watcher

Make = Callable[..., dict[str, Any]]

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch", "--mixed_precision", "no", "--dynamo_backend", "no"]
ONE_MACHINE = {
    "torchrun": [*TORCHRUN, "--nproc_per_node", "2", "--master_port", "PORT"],
    "accelerate": [
        *ACCELERATE, "--multi_gpu", "--num_machines", "1", "--num_processes", "2", "--main_process_port", "PORT",
    ],
}  # fmt: skip
TWO_MACHINES = {
    "torchrun": [
        *TORCHRUN, "--nnodes", "2", "--nproc_per_node", "1", "--node_rank", "RANK",
        "--master_addr", "127.0.0.1", "--master_port", "PORT",
    ],
    "accelerate": [
        *ACCELERATE, "--multi_gpu", "--num_machines", "2", "--num_processes", "2", "--machine_rank", "RANK",
        "--main_process_ip", "127.0.0.1", "--main_process_port", "PORT",
    ],
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, tiny: Make) -> Path:
    """A folder with tiny.toml, and what one process makes of it in `alone`."""
    table = tiny(training__steps=4)
    (tmp_path / "tiny.toml").write_text(tomli_w.dumps(table))
    idemlab.train(table, tmp_path / "alone")
    return tmp_path


def _start(place: Path, command: list[str], rank: int, port: int, *options: str) -> subprocess.Popen[str]:
    filled = [{"PORT": str(port), "RANK": str(rank)}.get(word, word) for word in command]
    unset = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    return subprocess.Popen(
        [*filled, "-m", "idemlab", "run", "tiny.toml", "--out", "run", *options],
        cwd=place, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def _assert_the_run_is_that_of_one_process(place: Path, said: str) -> None:
    assert "training in 2 processes, DDP" in said
    assert said.count("Report:") == 1, "one process tells the result"
    assert json.loads((place / "run" / "environment.json").read_text())["processes"] == 2
    weights = read_weights(place / "run" / "operator.safetensors")
    for name, expected in read_weights(place / "alone" / "operator.safetensors").items():
        torch.testing.assert_close(weights[name], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", list(ONE_MACHINE))
def test_a_launcher_starts_two_processes(place: Path, launcher: str, port: int) -> None:
    started = _start(place, ONE_MACHINE[launcher], 0, port)
    said, _ = started.communicate(timeout=200)
    assert started.returncode == 0, said
    _assert_the_run_is_that_of_one_process(place, said)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", list(TWO_MACHINES))
def test_two_launchers_are_two_machines(place: Path, launcher: str, port: int) -> None:
    started = [_start(place, TWO_MACHINES[launcher], rank, port) for rank in range(2)]
    said = [process.communicate(timeout=200)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert "Report:" not in said[1]
    _assert_the_run_is_that_of_one_process(place, said[0])


@pytest.mark.slow
def test_what_is_refused_is_refused_once_and_leaves_nothing(place: Path, port: int) -> None:
    started = _start(place, ONE_MACHINE["torchrun"], 0, port, "--set", "training.batch_size=15")
    said, _ = started.communicate(timeout=200)
    assert started.returncode == 1
    assert said.count("\nerror: ") + said.startswith("error: ") == 1
    assert "training.batch_size = 14" in said
    assert not (place / "run").exists()


@pytest.mark.slow
def test_accelerate_with_cpu_starts_one_process_and_the_run_says_so(place: Path) -> None:
    """The day this fails, docs/distribution.md can do without its remark on --cpu."""
    command = [*ACCELERATE, "--cpu", "--num_machines", "1", "--num_processes", "2"]
    said, _ = _start(place, command, 0, 0).communicate(timeout=200)
    assert "told to start several processes and started one" in said
    assert json.loads((place / "run" / "environment.json").read_text())["processes"] == 1


def test_what_launchers_leave_in_the_environment_is_understood() -> None:
    assert expected_processes({}) == 1
    assert expected_processes({"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}) == 8
    assert expected_processes({"OMPI_COMM_WORLD_SIZE": "3"}) == 3
    assert expected_processes({"WORLD_SIZE": ""}) == 1
    assert launched_alone({}) is None
    assert launched_alone({"ACCELERATE_USE_CPU": "True"}) is None
    assert "--cpu" in (launched_alone({"ACCELERATE_USE_CPU": "True", "MASTER_ADDR": "127.0.0.1"}) or "")
    assert launched_alone({"ACCELERATE_USE_CPU": "True", "MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": "2"}) is None
    assert "srun started this command 4 times" in (launched_alone({"SLURM_STEP_NUM_TASKS": "4"}) or "")
    assert launched_alone({"SLURM_STEP_NUM_TASKS": "4", "WORLD_SIZE": "4"}) is None
    assert launched_alone({"SLURM_STEP_NUM_TASKS": "1"}) is None


def test_a_run_says_that_it_trains_alone(tmp_path: Path, tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    class Heard(Watcher):
        def message(self, text: str) -> None:
            messages.append(text)

    messages: list[str] = []
    monkeypatch.setitem(os.environ, "SLURM_STEP_NUM_TASKS", "2")
    idemlab.train(tiny(training__steps=1), tmp_path / "run", watchers=[Heard()])
    assert "srun started this command 2 times" in messages[0]


@pytest.mark.parametrize(
    ("kind", "fsdp2", "world", "message"),
    [
        (DistributedType.DEEPSPEED, False, 1, "does not train through DEEPSPEED"),
        (DistributedType.MEGATRON_LM, False, 1, "does not train through MEGATRON_LM"),
        (DistributedType.FSDP, False, 1, "does not train through FSDP1"),
        (DistributedType.NO, False, 2, "the launcher says 1 process, but Accelerate found 2"),
    ],
)
def test_engines_that_were_never_tried_are_refused(
    tmp_path: Path, tiny: Make, monkeypatch: pytest.MonkeyPatch, kind: str, fsdp2: bool, world: int, message: str
) -> None:
    found = SimpleNamespace(
        distributed_type=kind, is_fsdp2=fsdp2, num_processes=world, process_index=0, device=torch.device("cpu")
    )
    monkeypatch.setattr("idemlab.training.accelerator.Accelerator", lambda **_: found)
    with pytest.raises(idemlab.errors.IdemlabError, match=message):
        idemlab.train(tiny(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_fsdp2_is_taken_for_what_it_is(tmp_path: Path, tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as a machine without a GPU can tell."""
    from idemlab.training import accelerator

    found = SimpleNamespace(
        distributed_type=DistributedType.FSDP,
        is_fsdp2=True,
        num_processes=1,
        process_index=0,
        device=torch.device("cpu"),
    )
    monkeypatch.setattr(accelerator, "Accelerator", lambda **_: found)
    _, engine = accelerator.start_engine(idemlab.resolve(tiny()), idemlab.Run(tmp_path))
    assert isinstance(engine, FSDP2)
    assert engine.alone
