"""What a run is told whose threads lack cores."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

import idemlab
from idemlab.objective.engines import DDP, Single
from idemlab.system import neighbours
from idemlab.system.neighbours import Neighbours, crowded
from idemlab.training.accelerator import competition
from idemlab.watching.watcher import Watcher

Times = namedtuple("Times", "user system nice")


@pytest.mark.parametrize(
    ("threads", "busy", "cores", "free"),
    [(2, 1.0, 2, 1), (2, 2.0, 2, 1), (2, 0.6, 2, 1), (16, 4.2, 16, 12), (8, 12.0, 16, 4), (4, 1.6, 4, 2)],
)
def test_it_names_the_cores_that_are_left(threads: int, busy: float, cores: int, free: int) -> None:
    said = crowded(threads, busy, cores, {})
    assert f"keep {busy:.3g} of the {cores} cores busy" in said
    assert f"OMP_NUM_THREADS={free}," in said
    assert crowded(threads, busy, cores, {"OMP_NUM_THREADS": str(threads)}) == ""


@pytest.mark.parametrize(
    ("threads", "busy", "cores"), [(2, 0.5, 2), (1, 2.0, 2), (8, 8.0, 16), (2, 0.0, 2), (16, 0.6, 16), (4, 0.0, 2)]
)
def test_it_is_silent_if_nearly_each_thread_has_a_core(threads: int, busy: float, cores: int) -> None:
    """Also of a run with more threads than cores: that is not the fault of other programs."""
    assert crowded(threads, busy, cores, {}) == ""


def measured(monkeypatch: pytest.MonkeyPatch, seconds: float = 2.0) -> Neighbours:
    """In so many seconds, other programs took 3 CPU seconds on cores 0 and 2, this one took 1, and its child 0.5."""
    clock, own = iter([10.0, 10.0 + seconds]), iter([7.0, 8.0])
    child = iter([Times(1.0, 1.0, 0.0), Times(1.25, 1.25, 0.0)])
    machine = iter(
        [[Times(5, 0, 0), Times(0, 0, 0), Times(2, 1, 1)], [Times(7, 0, 0), Times(99, 0, 0), Times(3, 1.5, 2)]]
    )
    process = SimpleNamespace(
        cpu_affinity=lambda: [0, 2], children=lambda recursive: [SimpleNamespace(cpu_times=lambda: next(child))]
    )
    monkeypatch.setattr(neighbours.psutil, "Process", lambda: process)
    monkeypatch.setattr(neighbours.psutil, "cpu_times", lambda percpu: next(machine))
    monkeypatch.setattr(neighbours.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(neighbours.time, "process_time", lambda: next(own))
    return Neighbours()


def test_only_other_programs_count_and_only_on_the_cores_of_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    beside = measured(monkeypatch)
    assert beside.cores == 2
    assert beside.busy() == pytest.approx(1.5)


@pytest.mark.parametrize("seconds", [0.0, 0.4])
def test_too_short_a_time_says_nothing(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    assert measured(monkeypatch, seconds).busy() == 0


@pytest.mark.parametrize("error", [PermissionError("/proc/stat"), psutil.AccessDenied(), RuntimeError("no /proc")])
def test_where_nothing_can_be_measured_nothing_is_said(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refused(*args: object, **given: object) -> None:
        raise error

    monkeypatch.setattr(neighbours.psutil, "cpu_times", refused)
    beside = Neighbours()
    assert beside.cores >= 1
    assert beside.busy() == 0


def test_only_a_single_process_on_a_cpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    beside = Neighbours()
    monkeypatch.setattr(beside, "busy", lambda: 2.0)
    beside.cores = 2
    assert competition(Single(), beside)
    assert not competition(DDP(world=2), beside)
    assert not competition(Single(torch.device("cuda")), beside)


def test_a_run_says_it_before_its_first_step_and_a_sweep_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(neighbours, "own_cores", lambda: [0, 1])
    monkeypatch.setattr(Neighbours, "busy", lambda self: 1.3)

    class Heard(Watcher):
        def __init__(self) -> None:
            self.events: list[str] = []

        def message(self, text: str) -> None:
            self.events.append(text)

        def stepped(self, step: int) -> None:
            self.events.append("step")

    heard, unheard = Heard(), Heard()
    idemlab.train("mlp-gradient", tmp_path / "run", overrides=["training.steps=1"], watchers=[heard])
    idemlab.train("mlp-gradient", tmp_path / "own", overrides=["training.steps=1"], watchers=[unheard], progress=False)
    assert heard.events[0].startswith("other programs keep 1.3 of the 2 cores busy")
    assert "step" in heard.events[1:]
    assert not any("other programs" in event for event in unheard.events)
