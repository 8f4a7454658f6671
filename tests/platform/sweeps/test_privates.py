"""What Optuna keeps to itself is where a sweep looks for it."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from idemlab.sweeps import privates
from idemlab.sweeps.journal import writing
from idemlab.sweeps.storage import data_base


def test_the_numbers_of_the_operations(tmp_path: Path) -> None:
    storage = writing(tmp_path / "journal.log")
    study = optuna.create_study(storage=storage, study_name="sweep")
    trial = study.ask()
    trial.set_user_attr("row", {})
    codes = [json.loads(line)["op_code"] for line in (tmp_path / "journal.log").read_text().splitlines()]
    assert codes == [privates.CREATE_STUDY, privates.CREATE_TRIAL, privates.SET_TRIAL_ATTRIBUTE]


def test_identities_heartbeats_and_stale_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = data_base(f"sqlite:///{tmp_path}/trials.db", make=True)
    running = create_trial(state=TrialState.RUNNING)
    optuna.create_study(storage=storage, study_name="before").add_trial(running)
    study = optuna.create_study(storage=storage, study_name="sweep")
    study.add_trial(running)
    (frozen,) = study.get_trials()
    identity = privates.identity(frozen)
    assert (frozen.number, storage.get_trial(identity).number) == (0, 0)
    assert storage.get_trial(identity).user_attrs == frozen.user_attrs
    assert identity != frozen.number, "another sweep was there before"
    privates.record_heartbeat(storage, identity)
    assert privates.stale(storage, study) == []
    with monkeypatch.context() as patch:
        inner = getattr(storage, "_backend", storage)
        patch.setattr(inner, "grace_period", -1)
        assert privates.stale(storage, study) == [identity]
