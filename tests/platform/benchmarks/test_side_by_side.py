"""`benchmarks/side_by_side.py`: two processes that train in turn and at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "side_by_side.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)


@pytest.mark.long
def test_two_trainings_are_timed_alone_and_beside_each_other() -> None:
    done = run("--experiment", "linear-cubic", "--seconds", "1", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    for alone, beside, ratio in zip(
        *(result[key] for key in ("alone_steps_per_second", "beside_steps_per_second", "ratio")), strict=True
    ):
        assert alone > 0
        assert ratio == pytest.approx(beside / alone, rel=0.01)
    assert result["gemm_gflops"] > 0
    assert len(result["threads"]) == 2


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--experiment", "linear-cubik"], 2, "did you mean: linear-cubic"),
        (["--rounds", "0"], 2, "--rounds must be at least 1"),
        (["--experiment", "linear-cubic", "--set", "training.batch_size=1000000"], 1, "a training ended early"),
    ],
)
def test_bad_input_is_told_without_a_traceback(arguments: list[str], code: int, told: str) -> None:
    done = run(*arguments)
    assert done.returncode == code
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
