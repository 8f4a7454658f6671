"""Sweeps: every trial is there once, whatever happens; the same table in one process and in several."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest
import tomli_w

from idemlab import BadInput, Sweep, open_sweep, resolve, run_sweep, train
from idemlab import workers as workers_module
from idemlab.sweep_figures import sweep_figure
from idemlab.sweeping import _value
from idemlab.trainer import Interrupted
from idemlab.trials import Job, Task
from idemlab.workers import Workers

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def plan(tiny: Make, tmp_path: Path) -> Sweep:
    """Four trials that can be trained as one program, and four that cannot."""
    file = tmp_path / "tiny.toml"
    file.write_text(tomli_w.dumps(tiny()))
    over = {"enforcer.name": ["gradient", "relative"], "optimizer.lr": [1e-3, 1e-2]}
    return Sweep(experiment=str(file), over=over, seeds=2)


def figures(table: pandas.DataFrame) -> list[dict[str, Any]]:
    kept = table.drop(columns=["trial", "seconds"]).sort_values(["enforcer.name", "optimizer.lr", "seed"])
    return list(kept.to_dict("records"))


def test_a_sweep_leaves_runs_tables_and_a_figure(plan: Sweep, tmp_path: Path) -> None:
    said: list[str] = []
    results = run_sweep(plan, tmp_path / "sweep", say=said.append)
    assert len(results.trials) == 8
    assert {trial.state for trial in results.trials} == {"complete"}
    for trial in results.trials:
        alone = train(trial.run.experiment, tmp_path / f"alone{trial.number}")
        assert alone.certificate is not None
        expected = alone.certificate["inputs"]["noise"]["relative"][0]
        assert trial.figures["noise/relative"] == pytest.approx(expected, rel=1e-4)
        assert trial.verdict == alone.certificate["verdict"]
    assert any("4 trials as one program" in line for line in said)
    table = pandas.read_csv(tmp_path / "sweep/table.csv")
    assert len(table) == len(pandas.read_parquet(tmp_path / "sweep/table.parquet")) == 8
    assert {"enforcer.name", "optimizer.lr", "seed", "state", "verdict", "error", "data/rank"} <= set(table.columns)
    spread = pandas.read_csv(tmp_path / "sweep/spread.csv")
    assert len(spread) == 4
    group = table[(table["enforcer.name"] == "relative") & (table["optimizer.lr"] == 1e-2)]["data/relative"]
    row = spread[(spread["enforcer.name"] == "relative") & (spread["optimizer.lr"] == 1e-2)].iloc[0]
    assert (row["data/relative min"], row["data/relative max"]) == (group.min(), group.max())
    assert row["data/relative"] == pytest.approx(group.median())
    assert (tmp_path / "sweep/sweep.png").read_bytes()[:4] == b"\x89PNG"
    assert not list((tmp_path / "sweep").rglob("checkpoints"))


def test_a_sweep_goes_on_where_it_was_stopped(plan: Sweep, tmp_path: Path) -> None:
    def stop_at_the_second(text: str) -> None:
        if text.startswith("5/8"):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        run_sweep(plan, tmp_path / "sweep", say=stop_at_the_second)
    before = open_sweep(tmp_path / "sweep")
    assert 4 <= len(before.trials) < 8
    with pytest.raises(BadInput, match="holds a sweep already") as caught:
        run_sweep(plan, tmp_path / "sweep")
    assert "--resume" in str(caught.value.next_step)
    said: list[str] = []
    after = run_sweep(plan, tmp_path / "sweep", resume=True, say=said.append)
    assert said[0] == f"8 trials, {len(before.trials)} of them done before"
    assert len(after.trials) == 8
    whole = run_sweep(plan, tmp_path / "whole")
    assert figures(after.table) == figures(whole.table)


def test_more_seeds_are_added_but_nothing_else(plan: Sweep, tmp_path: Path) -> None:
    few = Sweep(experiment=plan.experiment, over={"optimizer.lr": [1e-3]}, seeds=1)
    run_sweep(few, tmp_path / "sweep")
    more = Sweep(experiment=plan.experiment, over={"optimizer.lr": [1e-3]}, seeds=3)
    results = run_sweep(more, tmp_path / "sweep", resume=True)
    assert [trial.seed for trial in results.trials] == [0, 1, 2]
    for other, changed in (
        (Sweep(experiment=plan.experiment, over={"optimizer.lr": [1e-2]}), "optimizer.lr, over"),
        (Sweep(experiment=plan.experiment, set={"training.steps": 3}, over=few.over), "training.steps"),
    ):
        with pytest.raises(BadInput, match=f"differs from the one in .*: {changed}"):
            run_sweep(other, tmp_path / "sweep", resume=True)


def test_a_trial_that_fails_is_kept_with_its_error(plan: Sweep, tmp_path: Path) -> None:
    wild = Sweep(
        experiment=plan.experiment,
        set={"optimizer.name": "sgd", "training.steps": 60},
        over={"optimizer.lr": [0.01, 1e30], "enforcer.name": ["gradient", "relative"]},
    )
    said: list[str] = []
    results = run_sweep(wild, tmp_path / "sweep", say=said.append)
    states = {(t.values["optimizer.lr"], t.values["enforcer.name"]): t for t in results.trials}
    for enforcer in ("gradient", "relative"):
        assert states[0.01, enforcer].state == "complete"
        failed = states[1e30, enforcer]
        assert failed.state == "failed"
        assert "the loss is not finite at step" in failed.error
    assert sum("failed: the loss is not finite" in line for line in said) == 2
    assert results.spread()["failed"].tolist() == [0, 0, 1, 1]
    again: list[str] = []
    run_sweep(wild, tmp_path / "sweep", resume=True, say=again.append)
    assert again == ["4 trials, 4 of them done before"]
    run_sweep(wild, tmp_path / "sweep", resume=True, retry=True, say=again.append)
    assert again[1] == "4 trials, 2 of them done before"
    assert len(open_sweep(tmp_path / "sweep").trials) == 4
    assert sweep_figure(results).axes


def test_every_trial_is_checked_before_the_first_is_run(plan: Sweep, tmp_path: Path) -> None:
    wrong = Sweep(experiment=plan.experiment, over={"model.depth": [1, -1]})
    with pytest.raises(BadInput, match="depth"):
        run_sweep(wrong, tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


def test_workers_give_the_same_and_survive_being_killed(plan: Sweep, tmp_path: Path) -> None:
    """Each time one of two workers is killed, its trials are run by another."""
    import multiprocessing

    longer = Sweep(experiment=plan.experiment, set={"training.steps": 150}, over=plan.over, seeds=2)
    said: list[str] = []
    ended = threading.Event()

    def kill_some() -> None:
        for _ in range(3):
            time.sleep(4)
            alive = multiprocessing.active_children()
            if ended.is_set() or not alive:
                return
            assert alive[0].pid is not None
            os.kill(alive[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_some)
    killer.start()
    results = run_sweep(longer, tmp_path / "jobs", jobs=2, say=said.append)
    ended.set()
    killer.join()
    assert any("a worker process ended (exit code -9)" in line for line in said)
    assert len(results.trials) == 8
    assert len({(json.dumps(trial.values), trial.seed) for trial in results.trials}) == 8
    alone = run_sweep(longer, tmp_path / "alone")
    for a, b in zip(figures(results.table), figures(alone.table), strict=True):
        for key, value in b.items():
            assert a[key] == (pytest.approx(value, rel=1e-2, nan_ok=True) if isinstance(value, float) else value)


def test_a_trial_over_which_all_workers_die_is_given_up(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not more than a few times, and the others go on."""
    monkeypatch.setattr(workers_module, "_PATIENCE", 2)
    good = resolve(tiny())
    said: list[str] = []
    with Workers(1, lambda: False, said.append) as workers:
        deadly = _Deadly(1, str(tmp_path / "a"), good)
        jobs = [Job([deadly]), Job([Task(2, str(tmp_path / "b"), good)])]
        errors = {outcome.number: outcome.error for outcome in workers.run(jobs)}
    assert errors[2] == ""
    assert "worker processes ended over it" in errors[1]


class _Deadly(Task):
    """A task that kills the process that takes it out of its parcel."""

    def __reduce__(self) -> Any:
        return os._exit, (3,)


def test_a_collapse_is_never_the_best() -> None:
    row = {"figures": {"data/relative": 1e-9, "noise/relative": 0.0}, "verdict": "constant"}
    assert _value(row) == 1.0
    assert _value(row | {"verdict": "genuine"}) == 1e-9
    assert _value(row | {"verdict": "not idempotent", "figures": {"data/relative": float("nan")}}) == float("inf")


def test_a_folder_without_a_sweep(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no sweep"):
        open_sweep(tmp_path)
