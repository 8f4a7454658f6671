"""Where the trials of a sweep may be kept, that a sweep stays there, and that no password is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from idemlab import BadInput, Failure, Sweep, open_sweep, run_sweep, sweep_status
from idemlab.sweeps import storage as storage_module
from idemlab.sweeps.storage import masked

pytestmark = pytest.mark.long


# -- no password is told ------------------------------------------------------------------------------------------------


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
        ("hunter2", BadInput, "that is not the URL of a database"),
        ("postgresq://me:hunter2@localhost/x", BadInput, "no database of the kind 'postgresq'"),
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
    """The URL names a database with a password. Here, a database without one answers it."""
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


# -- which database -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_data_base_in_memory_is_none(plan: Sweep, url: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="in memory"):
        run_sweep(plan, tmp_path / "sweep", storage=url)
    assert not (tmp_path / "sweep").exists()


def test_a_file_of_sqlite_is_found_from_everywhere(
    plan: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_sweep(Sweep(**(plan.table() | {"over": {}})), "sweep", storage="sqlite:///trials.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(open_sweep(tmp_path / "sweep").trials) == 2


def test_a_sweep_is_resumed_with_the_storage_it_was_begun_with(plan: Sweep, url: str, tmp_path: Path) -> None:
    """In another storage, every trial would be trained again over its run. A moved folder finds its storage."""
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
