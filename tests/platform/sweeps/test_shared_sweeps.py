"""Several processes, as on several machines, run one sweep in a database: each trial once, and none is lost."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage

from idemlab import BadInput, Failure, Sweep, open_sweep, run_sweep, sweep_status
from idemlab.sweeps import storage as storage_module
from idemlab.sweeps.folder import place_of
from idemlab.sweeps.ledger import Ledger
from idemlab.sweeps.samplers import known_settings
from idemlab.sweeps.sweep import Setting

pytestmark = pytest.mark.long


def test_machines_share_the_trials(plan: Sweep, url: str, tmp_path: Path) -> None:
    """Two processes run the same sweep, each in its own folder of the same name."""
    many = Sweep(**(plan.table() | {"seeds": 5, "set": {"training.steps": 30}}))
    script = "from idemlab import Sweep, run_sweep\nimport sys\n"
    script += f"run_sweep(Sweep(**{many.table()!r}), sys.argv[1], storage={url!r}, say=print)\n"
    (tmp_path / "script.py").write_text(script)
    machines = [
        subprocess.Popen(
            [sys.executable, tmp_path / "script.py", tmp_path / name / "sweep"], stdout=subprocess.PIPE, text=True
        )
        for name in ("a", "b")
    ]
    told = [machine.communicate(timeout=200)[0].splitlines() for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0]
    here, there = (open_sweep(tmp_path / name / "sweep") for name in ("a", "b"))
    assert [trial.metrics for trial in here.trials] == [trial.metrics for trial in there.trials]
    wanted = Counter(setting.key for setting in many.settings())
    assert Counter(f'enforcer.name="{t.values["enforcer.name"]}", seed {t.seed}' for t in here.trials) == wanted
    ended = [line.partition("  ")[2].partition(":")[0] for lines in told for line in lines if line[:1].isdigit()]
    assert Counter(line for line in ended if line in wanted) == wanted  # each was run by one of them
    assert sum(t.path.is_dir() for t in here.trials) + sum(t.path.is_dir() for t in there.trials) == 10
    assert here.table["machine"].nunique() == 1
    status = sweep_status(url)
    assert status.counts == {"complete": 10, "failed": 0, "pruned": 0, "running": 0, "waiting": 0}


def test_a_tpe_sweep_in_a_data_base(plan: Sweep, url: str, tmp_path: Path) -> None:
    over = {"optimizer.lr": "log:1e-5:1"}
    chosen = Sweep(experiment=plan.experiment, over=over, sampler="tpe", trials=5, seeds=2)
    results = run_sweep(chosen, tmp_path / "sweep", storage=url)
    assert len(results.trials) == 10
    alone = run_sweep(chosen, tmp_path / "alone")
    assert [trial.values for trial in results.trials] == [trial.values for trial in alone.trials]
    assert known_settings(chosen) == []


# -- claiming -----------------------------------------------------------------------------------------------------------


def test_two_who_begin_at_once_make_no_trial_twice(plan: Sweep, url: str, tmp_path: Path) -> None:
    """Both add all trials, so each setting has two. Only the first of the two is ever run."""
    ledgers = [Ledger(tmp_path / name, url, "sweep", make=True) for name in ("a", "b")]
    for ledger in ledgers:
        ledger.add(plan, plan.settings(), {})
    trials = ledgers[0].trials()
    assert len(trials) == 8
    claimed = [ledgers[i % 2].claim(trial, 0) for i, trial in enumerate(reversed(trials))]
    assert claimed == [False] * 4 + [True] * 4


def test_of_two_who_claim_at_once_one_gets_the_trial(plan: Sweep, url: str, tmp_path: Path) -> None:
    """The second tries after the first has read the trial and before it marks it."""
    one, other = (Ledger(tmp_path / name, url, "sweep", make=True) for name in ("a", "b"))
    one.add(plan, plan.settings(), {})
    trial = one.trials()[0]
    claimed: list[bool] = []
    rival = threading.Thread(target=lambda: claimed.append(other.claim(trial, 0)))

    def about_to_write(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE trials") and rival.ident is None:
            rival.start()
            rival.join(timeout=1)

    engine = one._storage._backend.engine  # type: ignore[attr-defined]
    from sqlalchemy import event

    event.listen(engine, "before_cursor_execute", about_to_write)
    claimed.append(one.claim(trial, 0))
    rival.join()
    assert sorted(claimed) == [False, True]


def test_machines_that_are_called_alike_leave_each_others_trials_alone(plan: Sweep, url: str, tmp_path: Path) -> None:
    """Containers of one image have the same paths. A key in the sweep's folder tells them apart."""
    one, other = (Ledger(tmp_path, url, "sweep", key=key, make=True) for key in ("one", "other"))
    one.add(plan, plan.settings(), {})
    assert one.claim(one.trials()[0], 0)
    other.bury()
    assert [trial.state.name for trial in other.trials()] == ["RUNNING", "WAITING", "WAITING", "WAITING"]
    again = Ledger(tmp_path, url, "sweep", key="one", make=True)
    again.bury()
    assert again.trials()[0].state.name == "FAIL"


def test_a_folder_keeps_what_it_is_told_by(plan: Sweep, url: str, tmp_path: Path) -> None:
    small = Sweep(**(plan.table() | {"over": {}, "seeds": 1}))
    run_sweep(small, tmp_path / "a" / "sweep", storage=url)
    begun = place_of(tmp_path / "a" / "sweep")
    run_sweep(Sweep(**(small.table() | {"seeds": 2})), tmp_path / "a" / "sweep", storage=url, resume=True)
    assert place_of(tmp_path / "a" / "sweep") == begun
    run_sweep(small, tmp_path / "b" / "sweep", storage=url)
    other = place_of(tmp_path / "b" / "sweep")
    assert (other.name, other.key != begun.key) == (begun.name, True)
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    assert place_of(tmp_path / "copy" / "sweep").key != begun.key
    (tmp_path / "a").rename(tmp_path / "moved")
    assert place_of(tmp_path / "moved" / "sweep") == begun


def test_all_seeds_of_a_point_have_the_values_of_one_machine(plan: Sweep, url: str, tmp_path: Path) -> None:
    """Two machines chose a setting at the same time and added their trials in turn."""
    chosen = Sweep(**(plan.table() | {"sampler": "tpe", "trials": 1}))
    ledger = Ledger(tmp_path, url, "sweep", make=True)
    for name, seed in (("gradient", 0), ("relative", 0), ("relative", 1), ("gradient", 1)):
        ledger.add(chosen, [Setting({"enforcer.name": name}, seed, 0)], {})
    assert [ledger.claim(trial, 0) for trial in ledger.trials()] == [True, False, False, True]
    ledger.release()
    results = run_sweep(chosen, tmp_path / "sweep", storage=url)
    assert [(trial.seed, trial.values["enforcer.name"]) for trial in results.trials] == [
        (0, "gradient"),
        (1, "gradient"),
    ]


# -- machines and databases that stop -----------------------------------------------------------------------------------


def test_what_a_dead_machine_ran_is_run_again(
    plan: Sweep, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_module, "GRACE", 1)
    (tmp_path / "dead").mkdir()
    dead = Ledger(tmp_path / "dead", url, "sweep", make=True)
    dead.add(plan, plan.settings(), {})
    assert all(dead.claim(trial, 0) for trial in dead.trials()[:3])
    time.sleep(2.5)  # without a sign of life; the clock of SQLite goes in seconds
    with pytest.raises(BadInput, match="this study was not made by an idemlab sweep"):
        sweep_status(url)  # nobody has said what is tried
    results = run_sweep(plan, tmp_path / "alive" / "sweep", storage=url)
    assert Counter(trial.seed for trial in results.trials) == {0: 2, 1: 2}
    assert not dead.end(0, {"state": "complete", "figures": {"data/relative": 0.0}, "verdict": "genuine"})
    assert [t.metrics for t in open_sweep(tmp_path / "alive/sweep").trials] == [t.metrics for t in results.trials]


def test_a_trial_that_gives_signs_of_life_is_left_alone(
    plan: Sweep, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_module, "HEARTBEAT", 1)
    monkeypatch.setattr(storage_module, "GRACE", 3)
    ledgers = [Ledger(tmp_path / name, url, "sweep", make=True) for name in ("a", "b")]
    ledgers[0].add(plan, plan.settings(), {})
    first = ledgers[0].trials()[0]
    assert ledgers[0].claim(first, 0)
    assert not ledgers[1].claim(first, 0)
    with ledgers[0].alive():
        time.sleep(5)
        ledgers[1].bury()
        assert not ledgers[1].stale()
    assert ledgers[0].end(0, {"state": "failed", "error": "x"})


@pytest.mark.parametrize("method", ["set_trial_user_attr", "_create_new_trial"])
def test_a_data_base_that_is_lost_on_the_way_ends_the_sweep_and_loses_nothing(
    method: str, plan: Sweep, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every third call fails, until resuming has finished the sweep."""
    whole = run_sweep(plan, tmp_path / "whole")
    real, calls, lost = getattr(RDBStorage, method), [0], 0

    def failing(self: RDBStorage, *arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == 2 + 3 * lost:
            raise StorageInternalError("server closed the connection")
        return real(self, *arguments, **named)

    monkeypatch.setattr(RDBStorage, method, failing)
    results, told = None, set()
    while results is None:
        calls[0] = 0
        try:
            results = run_sweep(plan, tmp_path / "sweep", storage=url, resume=True)
        except Failure as failure:
            told.add((failure.what, failure.next_step))
            lost += 1
    assert lost >= 1
    assert told == {
        (
            "the storage failed: server closed the connection",
            "once it is back, repeat the command with `resume`",
        )
    }
    assert sorted((t.seed, t.verdict, t.metrics["data/relative"]) for t in results.trials) == sorted(
        (t.seed, t.verdict, t.metrics["data/relative"]) for t in whole.trials
    )
    assert sweep_status(url).counts["complete"] == 4


def test_who_was_stopped_goes_on_and_others_need_not_wait(plan: Sweep, url: str, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def say(text: str) -> None:
        if text.startswith("1/4"):
            raise Stop

    with pytest.raises(Stop):
        run_sweep(plan, tmp_path / "a/sweep", storage=url, say=say)
    assert sweep_status(url).counts["running"] == 0  # it has let go of them
    assert 1 <= len(open_sweep(tmp_path / "a/sweep").trials) < 4
    with pytest.raises(BadInput, match="holds a sweep already"):
        run_sweep(plan, tmp_path / "a/sweep", storage=url)
    assert len(run_sweep(plan, tmp_path / "a/sweep", storage=url, resume=True).trials) == 4
    other = Sweep(**(plan.table() | {"set": {"training.steps": 5}}))
    with pytest.raises(BadInput, match=r"the sweep differs from the one in storage '.*': training\.steps"):
        run_sweep(other, tmp_path / "b/sweep", storage=url)
    assert not (tmp_path / "b").exists()
