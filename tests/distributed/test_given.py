"""Given objects train in two processes as in one, or are refused."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import idemlab
from idemlab.runs.weights import read_weights

Make = Callable[..., dict[str, Any]]
Together = Callable[..., list[list[dict[str, Any]]]]
OWN = Path(__file__).with_name("own_parts.py")
TOLERANCE = 1e-10
"""Relative, after 20 steps in double precision: that of named models."""

SCRIPT = """
    import runpy
    import idemlab

    parts = runpy.run_path({own!r})["parts"](3)
    idemlab.train({table!r}, "run", **parts)
"""


def _alone(table: dict[str, Any], out: Path) -> idemlab.Run:
    return idemlab.train(table, out, **runpy.run_path(str(OWN))["parts"](3))


def _assert_same(run: Path, alone: idemlab.Run) -> None:
    weights = read_weights(run / "operator.safetensors")
    for name, expected in read_weights(alone.weights_file).items():
        assert (weights[name] - expected).norm() <= TOLERANCE * expected.norm(), name


@pytest.mark.long
def test_given_objects_are_the_same_in_one_process_and_two(tmp_path: Path, tiny: Make, together: Together) -> None:
    alone = _alone(tiny(), tmp_path / "alone")
    ways: dict[str, dict[str, Any]] = {"DDP": {}, "FSDP2": {"sharded": True}}
    jobs: list[Any] = [{"table": tiny(), "out": str(tmp_path / way), "own": 3} | more for way, more in ways.items()]
    other = {"table": tiny(), "out": str(tmp_path / "other")}
    jobs.append((other | {"own": 3}, other | {"own": 4}))
    first, second = together(jobs)
    for way, one, two in zip(ways, first, second, strict=False):
        assert "error" not in one, one
        assert one["print"] == two["print"]
        _assert_same(tmp_path / way, alone)
    for note in (first[-1], second[-1]):
        assert "the processes were given different objects: model 'given:sequential'" in note["error"]
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_script_with_objects_can_be_launched(tmp_path: Path, tiny: Make, port: int) -> None:
    from textwrap import dedent

    alone = _alone(tiny(), tmp_path / "alone")
    (tmp_path / "script.py").write_text(dedent(SCRIPT.format(own=str(OWN), table=tiny())))
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launch += ["--multi_gpu", "--num_machines", "1", "--num_processes", "2", "--main_process_port", str(port)]
    unset = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    done = subprocess.run(
        [*launch, "script.py"], cwd=tmp_path, env=environment, text=True, capture_output=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert (idemlab.Run(tmp_path / "run").environment or {})["processes"] == 2
    _assert_same(tmp_path / "run", alone)
