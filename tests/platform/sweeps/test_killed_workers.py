"""Whatever is killed, a sweep ends with a result for each of its trials, none twice and none missing."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest
import tomli_w

from idemlab import Sweep, open_sweep, run_sweep
from idemlab.runs.run import Run

Make = Callable[..., dict[str, Any]]


def many(tiny: Make, folder: Path, trials: int, steps: int) -> Sweep:
    """So many trials, each trained alone: an enforcer that looks at the whole batch cannot be stacked."""
    file = folder / "tiny.toml"
    table = tiny(enforcer={"name": "relative"})
    table["evaluation"]["rank_points"] = 1
    file.write_text(tomli_w.dumps(table))
    over = {"optimizer.lr": [round(1e-3 * 1.02**i, 9) for i in range(trials // 2)]}
    return Sweep(experiment=str(file), set={"training.steps": steps}, over=over, seeds=2)


def assert_whole(plan: Sweep, folder: Path) -> None:
    """One row for each trial in the table, one run for each row, and in the storage one that counts."""
    results = open_sweep(folder)
    wanted = Counter((json.dumps(dict(setting.values)), setting.seed) for setting in plan.settings())
    assert Counter((json.dumps(trial.values), trial.seed) for trial in results.trials) == wanted
    assert set(wanted.values()) == {1}
    assert [trial.state for trial in results.trials] == ["complete"] * len(wanted)
    table = pandas.read_csv(folder / "table.csv")
    assert Counter(zip(table["optimizer.lr"], table["seed"], strict=True)) == Counter(
        (setting.values["optimizer.lr"], setting.seed) for setting in plan.settings()
    )
    assert len({trial.path for trial in results.trials}) == len(wanted)
    for trial in results.trials:
        certificate = Run(trial.path).certificate
        assert certificate is not None
        assert certificate["inputs"]["data"]["relative"][0] == trial.metrics["data/relative"]
        experiment = Run(trial.path).experiment
        assert (experiment.optimizer.lr, experiment.training.seed) == (trial.values["optimizer.lr"], trial.seed)


@pytest.mark.long
@pytest.mark.parametrize(
    ("trials", "jobs", "every", "each"),
    [
        # Where workers take longer to start than it takes to the next kill, none would ever get to a trial: wait for some.
        pytest.param(8, 2, 0.05, 3, id="short"),
        pytest.param(200, 4, 5.0, 0, id="long", marks=[pytest.mark.slow, pytest.mark.timeout(3000)]),
    ],
)
def test_workers_that_are_killed_lose_and_repeat_nothing(
    trials: int, jobs: int, every: float, each: int, tiny: Make, tmp_path: Path
) -> None:
    """One is killed `every` so many seconds, if at least `each` trials have ended since the last time."""
    plan = many(tiny, tmp_path, trials, steps=40)
    said: list[str] = []
    ended = threading.Event()
    chosen = random.Random(0)
    killed: list[int] = []

    def kill() -> None:
        while not ended.wait(every):
            alive = [process.pid for process in multiprocessing.active_children() if process.pid]
            if alive and done(said) >= each * (len(killed) + 1):
                killed.append(chosen.choice(alive))
                os.kill(killed[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        run_sweep(plan, tmp_path / "sweep", jobs=jobs, say=said.append)
    finally:
        ended.set()
        killer.join()
    assert killed
    assert any("a worker process ended (exit code -9)" in line for line in said)
    assert done(said) == trials
    assert_whole(plan, tmp_path / "sweep")


def done(said: list[str]) -> int:
    """How many trials have been told of as ended."""
    return sum(re.match(r"\d+/\d+  ", line) is not None for line in said)


@pytest.mark.slow
def test_a_sweep_whose_parent_is_killed_is_gone_on_with(tiny: Make, tmp_path: Path) -> None:
    """Its workers end with it: who resumes must not meet their runs."""
    plan = many(tiny, tmp_path, 8, 40)
    script = tmp_path / "script.py"
    script.write_text(
        "from idemlab import Sweep, run_sweep\n"
        "if __name__ == '__main__':\n"
        f"    plan = Sweep(**{plan.table()!r})\n"
        f"    run_sweep(plan, {str(tmp_path / 'sweep')!r}, jobs=2, say=lambda text: print(text, flush=True))\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    for line in parent.stdout:
        if line.startswith("2/8"):
            break
    parent.kill()
    parent.wait()
    parent.stdout.close()
    said: list[str] = []
    run_sweep(plan, tmp_path / "sweep", resume=True, say=said.append)
    assert said[0].startswith("trials: 8, ")
    assert_whole(plan, tmp_path / "sweep")


@pytest.mark.long
def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    """Also one that is busy and hears nothing."""
    script = tmp_path / "script.py"
    script.write_text(
        "import time\n"
        "from idemlab import Catalog\n"
        "from idemlab.sweeps.workers import Workers\n"
        "if __name__ == '__main__':\n"
        "    workers = Workers(1, lambda: False, print, Catalog([])).__enter__()\n"
        "    worker = next(iter(workers._running.values()))\n"
        "    next(workers.run(lambda place: None, waited_for=lambda: not worker.ready), None)\n"
        "    print(worker.process.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    os.kill(worker, signal.SIGSTOP)  # so that it cannot read the end of its pipe, and then
    parent.kill()
    parent.wait()
    parent.stdout.close()
    os.kill(worker, signal.SIGCONT)
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{worker}/stat").is_file() and " Z " in Path(f"/proc/{worker}/stat").read_text():
            return
        time.sleep(0.1)
    pytest.fail(f"worker {worker} outlived its parent")
