"""The number of workers if nobody gives one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from idemlab import Sweep, run_sweep
from idemlab.sweeps import runner
from idemlab.sweeps.runner import workers_for
from idemlab.system.threads import shared_out

GB = 1024**3


@pytest.mark.parametrize(
    ("cores", "memory", "depend", "accelerators", "workers"),
    [
        (2, 8 * GB, False, 0, 2),
        (64, 16 * GB, False, 0, 8),
        (8, GB, False, 0, 1),
        (8, None, False, 0, 8),
        (8, 64 * GB, True, 0, 1),
        (8, 64 * GB, False, 1, 1),
    ],
)
def test_one_for_each_core_if_they_fit(
    cores: int, memory: int | None, depend: bool, accelerators: int, workers: int
) -> None:
    assert workers_for(cores, memory, depend=depend, accelerators=accelerators) == workers


@pytest.mark.parametrize(
    ("cores", "processes", "chosen", "threads"),
    [(8, 2, None, 4), (2, 4, None, 1), (8, 2, "1", 1), (8, 2, "6", 3), (8, 1, "", 8), (8, 1, "0", 8), (8, 1, "4,2", 8)],
)
def test_workers_share_the_cores(cores: int, processes: int, chosen: str | None, threads: int) -> None:
    assert shared_out(cores, processes, {} if chosen is None else {"OMP_NUM_THREADS": chosen}) == threads


@pytest.mark.parametrize(
    ("changes", "begun"),
    [
        ({"seeds": 3}, 3),
        ({"seeds": 1, "over": {"optimizer.lr": [1e-3]}}, 1),
        ({"seeds": 2, "pruner": "median"}, 1),
        ({"sampler": "tpe", "trials": 4, "over": {"optimizer.lr": "log:1e-4:1e-2"}}, 1),
    ],
)
def test_a_sweep_chooses_by_its_trials(
    changes: dict[str, Any], begun: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No worker for a single trial, which has all cores here, and none beside a pruner or a sampler that learns."""

    class Asked(Exception):
        pass

    def turns(sweeps: object, trials: int, jobs: int, *_: object) -> None:
        raise Asked(jobs)

    monkeypatch.setattr(runner, "Turns", turns)
    monkeypatch.setattr(runner, "own_cores", lambda: list(range(4)))
    monkeypatch.setattr(runner, "free_memory", lambda: 64 * GB)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with pytest.raises(Asked) as caught:
        run_sweep(Sweep(experiment="mlp-cubic", **changes), tmp_path / "sweep", jobs=None)
    assert caught.value.args == (begun,)
