"""Several processes, as on several machines, at one sweep in a data base: shared, survived, and nothing secret told."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage

from idemlab import BadInput, Failure, Sweep, open_sweep, run_sweep, sweep_status
from idemlab.sweeps import storage as storage_module
from idemlab.sweeps.folder import place_of
from idemlab.sweeps.ledger import Ledger
from idemlab.sweeps.samplers import known_settings
from idemlab.sweeps.storage import masked
from idemlab.sweeps.sweep import Setting

Make = Callable[..., dict[str, Any]]
pytestmark = pytest.mark.long


@pytest.fixture
def plan(tiny: Make, tmp_path: Path) -> Sweep:
    file = tmp_path / "tiny.toml"
    file.write_text(tomli_w.dumps(tiny(training={"steps": 4, "batch_size": 16})))
    return Sweep(experiment=str(file), over={"enforcer.name": ["gradient", "relative"]}, seeds=2)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/trials.db"


def test_machines_share_the_trials(plan: Sweep, url: str, tmp_path: Path) -> None:
    """Two of them make the same call, each with a folder of its own, of one name."""
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


def test_machines_that_are_called_alike_leave_each_others_trials_alone(plan: Sweep, url: str, tmp_path: Path) -> None:
    """As containers of one image are, whose folders have the same path: they tell them by what their files say."""
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


@pytest.mark.parametrize("method", ["set_trial_user_attr", "_create_new_trial"])
def test_a_data_base_that_is_lost_on_the_way_ends_the_sweep_and_loses_nothing(
    method: str, plan: Sweep, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails at every third call, once each; resuming goes on until all is done."""
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


def test_two_who_begin_at_once_make_no_trial_twice(plan: Sweep, url: str, tmp_path: Path) -> None:
    """Both saw that there was none: of the two trials of each setting only the first is ever run."""
    ledgers = [Ledger(tmp_path / name, url, "sweep", make=True) for name in ("a", "b")]
    for ledger in ledgers:
        ledger.add(plan, plan.settings(), {})
    trials = ledgers[0].trials()
    assert len(trials) == 8
    claimed = [ledgers[i % 2].claim(trial, 0) for i, trial in enumerate(reversed(trials))]
    assert claimed == [False] * 4 + [True] * 4


def test_of_two_who_claim_at_once_one_gets_the_trial(plan: Sweep, url: str, tmp_path: Path) -> None:
    """The second tries between the first one's look at the trial and its mark on it."""
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


def test_who_only_reads_waits_for_nobody(plan: Sweep, url: str, tmp_path: Path) -> None:
    run_sweep(Sweep(**(plan.table() | {"over": {}, "seeds": 1})), tmp_path / "sweep", storage=url)
    writing = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    writing.execute("BEGIN IMMEDIATE")
    begun = time.monotonic()
    assert sweep_status(url).counts["complete"] == 1
    assert time.monotonic() - begun < 30  # whoever wants to write waits a minute for the lock
    writing.close()


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


def test_a_tpe_sweep_in_a_data_base(plan: Sweep, url: str, tmp_path: Path) -> None:
    over = {"optimizer.lr": "log:1e-5:1"}
    chosen = Sweep(experiment=plan.experiment, over=over, sampler="tpe", trials=5, seeds=2)
    results = run_sweep(chosen, tmp_path / "sweep", storage=url)
    assert len(results.trials) == 10
    alone = run_sweep(chosen, tmp_path / "alone")
    assert [trial.values for trial in results.trials] == [trial.values for trial in alone.trials]
    assert known_settings(chosen) == []


# -- nothing secret is told -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:hunter2@db.lab:5433/x", "postgresql://me@db.lab:5433/x"),
        (
            "postgresql+psycopg://me:hunter2@db/x?password=hunter2&sslmode=require",
            "postgresql+psycopg://me@db/x?sslmode=require",
        ),
        ("mysql://me:hunter2@db/x?ssl_key=hunter2", "mysql://me@db/x"),
        ("sqlite:///a/b.db", "sqlite:///a/b.db"),
        ("hunter2", "storage"),
    ],
)
def test_passwords_are_masked(url: str, shown: str) -> None:
    assert masked(url) == shown


@pytest.mark.parametrize(
    ("url", "error", "what"),
    [
        ("hunter2", BadInput, "that is no URL of a data base"),
        ("postgresq://me:hunter2@localhost/x", BadInput, "no kind of data base 'postgresq'"),
        ("sqlite:////nowhere/hunter/x.db", Failure, "the storage cannot be reached: unable to open database file"),
    ],
)
def test_a_storage_that_is_not_there_is_told_at_once(
    plan: Sweep, tmp_path: Path, url: str, error: type[Exception], what: str
) -> None:
    with pytest.raises(error, match=what) as caught:
        run_sweep(plan, tmp_path / "sweep", storage=url)
    assert "hunter2" not in str(caught.value)
    assert not (tmp_path / "sweep").exists()


def test_a_password_reaches_no_file_and_no_line(
    plan: Sweep, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URL of a data base that needs one, which here is answered by another."""
    secret = "postgresql://me:hunter2@localhost/x?password=hunter2"
    real = storage_module.data_base
    asked: list[str] = []

    def answer(given: str, *, make: bool) -> Any:
        asked.append(given)
        return real(url, make=make)

    monkeypatch.setattr(storage_module, "data_base", answer)
    said: list[str] = []
    results = run_sweep(plan, tmp_path / "sweep", storage=secret, say=said.append)
    assert secret in asked
    assert len(results.trials) == 4
    assert sweep_status(secret).sweep == "postgresql://me@localhost/x"
    assert "postgresql://me@localhost/x" in (tmp_path / "sweep/sweep.toml").read_text()
    assert "hunter2" not in "".join(said)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [path for path in files if b"hunter2" in path.read_bytes()] == []


# -- how far it is --------------------------------------------------------------------------------------------------------


def test_the_status_of_a_sweep_that_is_being_run(plan: Sweep, tmp_path: Path) -> None:
    seen = []

    def say(text: str) -> None:
        if text.startswith("3/4"):
            seen.append(sweep_status(tmp_path / "sweep"))

    one_by_one = Sweep(**(plan.table() | {"over": {"enforcer.name": ["relative"]}, "seeds": 4}))
    run_sweep(one_by_one, tmp_path / "sweep", say=say)
    (status,) = seen
    assert status.total == 4
    assert status.counts == {"complete": 3, "failed": 0, "pruned": 0, "running": 0, "waiting": 1}
    assert status.held_by is not None
    assert status.held_by.startswith("process ")
    after = sweep_status(tmp_path / "sweep")
    assert (after.held_by, after.seconds_left, after.running) == (None, 0.0, ())


def test_the_status_tells_of_what_was_left_running(plan: Sweep, tmp_path: Path) -> None:
    run_sweep(plan, tmp_path / "sweep")
    more = Sweep(**(plan.table() | {"seeds": 3}))
    ledger = Ledger(tmp_path / "sweep", make=True)
    ledger.add(more, more.settings()[2::3], {})
    for trial in ledger.trials()[4:]:
        assert ledger.claim(trial, 1)
    found = sweep_status(tmp_path / "sweep").running
    assert [(each.trial, each.state, each.worker) for each in found] == [(4, "interrupted", 1), (5, "interrupted", 1)]
    assert found[0].setting == 'enforcer.name="gradient", seed 2'
    assert 0 <= found[0].seconds < 60
    assert json.dumps([vars(each) for each in found])


@pytest.mark.parametrize(
    ("sweep", "what"),
    [("nowhere", "holds no sweep"), ("sqlite:///nowhere.db", "there is no file 'nowhere.db'"), ("x://y", "no kind of")],
)
def test_the_status_of_what_is_no_sweep(sweep: str, what: str) -> None:
    with pytest.raises(BadInput, match=what):
        sweep_status(sweep)
    assert not Path("nowhere.db").exists()


def test_a_data_base_with_several_sweeps(plan: Sweep, url: str, tmp_path: Path) -> None:
    small = Sweep(**(plan.table() | {"over": {}, "seeds": 1}))
    for name in ("one", "two"):
        run_sweep(small, tmp_path / name, storage=url)
    with pytest.raises(BadInput, match="it holds 2 sweeps") as caught:
        sweep_status(url)
    assert caught.value.choices == ("one", "two")
    assert sweep_status(url, name="two").total == 1
    with pytest.raises(BadInput, match="there is no sweep 'too'") as caught:
        sweep_status(url, name="too")
    assert caught.value.nearest == "two"


def test_a_sweep_is_resumed_with_the_storage_it_was_begun_with(plan: Sweep, url: str, tmp_path: Path) -> None:
    """In another, all would be trained again over the runs that are there. A folder that was moved finds its own."""
    begun = run_sweep(plan, tmp_path / "sweep", storage=url)
    kept = (tmp_path / "sweep" / "sweep.toml").read_bytes()
    for other in (None, f"sqlite:///{tmp_path}/other.db"):
        with pytest.raises(BadInput, match=r"are in 'sqlite:///.*trials.db'") as caught:
            run_sweep(plan, tmp_path / "sweep", storage=other, resume=True)
        assert caught.value.where == "storage"
    assert not (tmp_path / "other.db").exists()
    assert (tmp_path / "sweep" / "sweep.toml").read_bytes() == kept
    run_sweep(plan, tmp_path / "alone")
    with pytest.raises(BadInput, match="are in its journal"):
        run_sweep(plan, tmp_path / "alone", storage=url, resume=True)
    (tmp_path / "sweep").rename(tmp_path / "moved")
    said: list[str] = []
    again = run_sweep(plan, tmp_path / "moved", storage=url, resume=True, say=said.append)
    assert said == ["trials: 4, 4 of them done before"]
    assert [trial.metrics for trial in again.trials] == [trial.metrics for trial in begun.trials]


def test_a_file_of_sqlite_is_found_from_everywhere(
    plan: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_sweep(Sweep(**(plan.table() | {"over": {}})), "sweep", storage="sqlite:///trials.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(open_sweep(tmp_path / "sweep").trials) == 2


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_data_base_in_memory_is_none(plan: Sweep, url: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="in memory"):
        run_sweep(plan, tmp_path / "sweep", storage=url)
    assert not (tmp_path / "sweep").exists()


def test_the_data_base_knows_of_a_sweep_that_has_grown(plan: Sweep, url: str, tmp_path: Path) -> None:
    fewer = Sweep(**(plan.table() | {"seeds": 1, "over": {}}))
    run_sweep(fewer, tmp_path / "a" / "sweep", storage=url)
    run_sweep(Sweep(**(fewer.table() | {"seeds": 2})), tmp_path / "a" / "sweep", storage=url, resume=True)
    run_sweep(fewer, tmp_path / "b" / "sweep", storage=url)  # who wants fewer takes nothing away
    status = sweep_status(url)
    assert (status.total, status.counts["complete"], status.counts["waiting"]) == (2, 2, 0)


def test_all_seeds_of_a_point_have_the_values_of_one_machine(plan: Sweep, url: str, tmp_path: Path) -> None:
    """Two of them chose a setting at once, and their trials came in turn."""
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


def test_a_folder_holds_one_sweep(tmp_path: Path, plan: Sweep) -> None:
    run_sweep(Sweep(**(plan.table() | {"seeds": 1, "over": {}})), tmp_path / "sweep")
    with pytest.raises(BadInput, match="holds one sweep") as caught:
        sweep_status(tmp_path / "sweep", name="other")
    assert caught.value.where == "name"
