"""How far a sweep is, in a folder or in a database."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path

import pytest

from idemlab import BadInput, Sweep, run_sweep, sweep_status
from idemlab.sweeps.ledger import Ledger

pytestmark = pytest.mark.long


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
    [
        ("nowhere", "holds no sweep"),
        ("sqlite:///nowhere.db", "there is no file 'nowhere.db'"),
        ("x://y", "no database of"),
    ],
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


def test_a_folder_holds_one_sweep(tmp_path: Path, plan: Sweep) -> None:
    run_sweep(Sweep(**(plan.table() | {"seeds": 1, "over": {}})), tmp_path / "sweep")
    with pytest.raises(BadInput, match="holds one sweep") as caught:
        sweep_status(tmp_path / "sweep", name="other")
    assert caught.value.where == "name"


def test_the_data_base_knows_of_a_sweep_that_has_grown(plan: Sweep, url: str, tmp_path: Path) -> None:
    fewer = Sweep(**(plan.table() | {"seeds": 1, "over": {}}))
    run_sweep(fewer, tmp_path / "a" / "sweep", storage=url)
    run_sweep(Sweep(**(fewer.table() | {"seeds": 2})), tmp_path / "a" / "sweep", storage=url, resume=True)
    run_sweep(fewer, tmp_path / "b" / "sweep", storage=url)  # fewer seeds remove no trial
    status = sweep_status(url)
    assert (status.total, status.counts["complete"], status.counts["waiting"]) == (2, 2, 0)


def test_who_only_reads_waits_for_nobody(plan: Sweep, url: str, tmp_path: Path) -> None:
    run_sweep(Sweep(**(plan.table() | {"over": {}, "seeds": 1})), tmp_path / "sweep", storage=url)
    writing = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    writing.execute("BEGIN IMMEDIATE")
    begun = time.monotonic()
    assert sweep_status(url).counts["complete"] == 1
    assert time.monotonic() - begun < 30  # whoever wants to write waits a minute for the lock
    writing.close()
