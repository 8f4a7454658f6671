"""What a run is told whose threads have no core of their own."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import pytest
import torch

import idemlab
from idemlab.system import neighbours
from idemlab.system.neighbours import Neighbours, crowded

Times = namedtuple("Times", "user system")


@pytest.mark.parametrize(
    ("threads", "others", "cores", "free"),
    [(2, 1.0, 2, 1), (2, 2.0, 2, 1), (16, 4.2, 16, 12), (8, 12.0, 16, 4), (2, 0.6, 2, 1)],
)
def test_it_names_the_cores_that_are_left(threads: int, others: float, cores: int, free: int) -> None:
    said = crowded(threads, others, cores, {})
    assert f"keep {others:.3g} of the {cores} cores busy" in said
    assert f"OMP_NUM_THREADS={free} " in said
    assert crowded(threads, others, cores, {"OMP_NUM_THREADS": str(threads)}) == ""


@pytest.mark.parametrize(("threads", "others", "cores"), [(2, 0.4, 2), (1, 2.0, 2), (8, 8.0, 16), (2, 0.0, 2)])
def test_it_is_silent_if_each_thread_has_a_core(threads: int, others: float, cores: int) -> None:
    assert crowded(threads, others, cores, {}) == ""


def test_the_cpu_time_of_this_program_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """In two seconds all programs took four CPU seconds, and this one took one of them."""
    clock, machine, own = iter([10.0, 12.0]), iter([Times(100.0, 50.0), Times(103.0, 51.0)]), iter([7.0, 8.0])
    monkeypatch.setattr(neighbours.psutil, "cpu_times", lambda: next(machine))
    monkeypatch.setattr(neighbours.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(neighbours.time, "process_time", lambda: next(own))
    assert Neighbours().cores() == pytest.approx(1.5)


def test_a_run_says_it_before_its_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(Neighbours, "cores", lambda self: 1.3)
    idemlab.train("mlp-gradient", tmp_path / "run", overrides=["training.steps=1"])
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("other programs keep 1.3 of the 2 cores busy")
