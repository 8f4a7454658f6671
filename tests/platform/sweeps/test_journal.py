"""Damaged journals, and locks whose owner was killed: what can be read is kept, and the sweep goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from idemlab import Results, Sweep, open_sweep, run_sweep, sweep_status
from idemlab.sweeps import journal

Make = Callable[..., dict[str, Any]]
Lines = list[bytes]
pytestmark = pytest.mark.long

NULS = b"\0" * 4096 + b"\n"


def creates(lines: Lines) -> list[int]:
    return [i for i, line in enumerate(lines) if json.loads(line)["op_code"] == 4]


def results_in(lines: Lines) -> list[int]:
    return [i for i, line in enumerate(lines) if b'"row"' in line]


def replaced(places: Callable[[Lines], list[int]], which: int, by: bytes) -> Callable[[Lines], Lines]:
    def damage(lines: Lines) -> Lines:
        place = places(lines)[which]
        return [*lines[:place], by, *lines[place + 1 :]]

    return damage


def inserted(by: bytes) -> Callable[[Lines], Lines]:
    return lambda lines: [*lines[: len(lines) // 2], by, *lines[len(lines) // 2 :]]


DAMAGES: dict[str, tuple[Callable[[Lines], Lines], int, str]] = {
    # how it is damaged, how many results are left, what is said
    "a line of NULs": (inserted(NULS), 4, "nothing but NUL bytes"),
    "NULs before a line": (
        lambda lines: [*lines[:-3], b"\0\0\0" + lines[-3], *lines[-2:]],
        4,
        "NUL bytes around an operation",
    ),
    "two lines joined": (
        lambda lines: [*lines[:-3], lines[-3][:-1] + lines[-2], lines[-1]],
        4,
        "several operations on one line",
    ),
    "a line cut in the middle, and joined": (
        lambda lines: [*lines[:-3], lines[-3][:30] + lines[-2], lines[-1]],
        4,
        "cannot be read",
    ),
    "an unknown operation": (inserted(b'{"op_code":77,"worker_id":"x"}\n'), 4, "Optuna cannot apply"),
    "an operation without its keys": (inserted(b'{"op_code":6,"worker_id":"x"}\n'), 4, "Optuna cannot apply"),
    "attributes that are none": (
        inserted(b'{"op_code":8,"worker_id":"x","trial_id":0,"user_attr":null}\n'),
        4,
        "Optuna cannot apply",
    ),
    "no operation": (inserted(b"[1, 2]\n"), 4, "not an operation"),
    "no text": (inserted(b"\xff\xfe\x80\n"), 4, "cannot be read"),
    "a text that is none": (
        lambda lines: [*lines[:-1], lines[-1].replace(b'"worker_id":"', b'"worker_id":"\x80')],
        4,
        "bytes that are not UTF-8",
    ),
    "an empty line": (inserted(b"\n"), 4, "empty"),
    "cut short": (lambda lines: [*lines, b'{"op_code":8,"wor'], 4, "cut short"),
    "the sweep itself lost": (lambda lines: [NULS, *lines[1:]], 4, "nothing but NUL bytes"),
    "the first trial lost": (replaced(creates, 0, NULS), 3, "a trial that cannot be read"),
    "the second trial lost": (replaced(creates, 1, b"{\n"), 3, "a trial that cannot be read"),
    "the last trial lost": (replaced(creates, -1, NULS), 3, "a trial that cannot be read"),
    "two trials lost in one line": (
        lambda lines: [*lines[: creates(lines)[1]], NULS, *lines[creates(lines)[2] + 1 :]],
        2,
        "a trial that cannot be read",
    ),
    "a result lost": (replaced(results_in, 1, NULS), 3, "nothing but NUL bytes"),
    "nothing left": (lambda lines: [NULS], 0, "nothing but NUL bytes"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sweep, Path, dict[Any, Any]]:
    """A finished sweep of four trials, its folder, and what each setting measured."""
    table = {
        "dataset": {"name": "gaussian", "shape": [4], "train": 64, "test": 32},
        "model": {"name": "mlp", "width": 8, "depth": 1},
        "enforcer": {"name": "gradient"},
        "training": {"steps": 3, "batch_size": 16},
        "evaluation": {"rank_points": 1},
    }
    folder = tmp_path_factory.mktemp("whole")
    (folder / "tiny.toml").write_text(tomli_w.dumps(table))
    sweep = Sweep(experiment=str(folder / "tiny.toml"), over={"optimizer.lr": [1e-3, 1e-2]}, seeds=2)
    return sweep, folder / "sweep", measured(run_sweep(sweep, folder / "sweep"))


def measured(results: Results) -> dict[Any, Any]:
    return {(t.values["optimizer.lr"], t.seed): t.metrics["data/relative"] for t in results.trials}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_journal_is_read_and_gone_on_with(
    name: str, whole: tuple[Sweep, Path, dict[Any, Any]], tmp_path: Path
) -> None:
    sweep, origin, expected = whole
    damage, left, said = DAMAGES[name]
    folder = tmp_path / "sweep"
    shutil.copytree(origin, folder)
    file = folder / "journal.log"
    content = b"".join(damage(file.read_bytes().splitlines(keepends=True)))
    file.write_bytes(content)

    found = open_sweep(folder)
    assert len(found.trials) == left
    assert measured(found).items() <= expected.items(), "each result is that of its own setting"
    assert sweep_status(folder).results.damage == found.damage
    assert any(said in line for line in found.damage)
    assert all(f"{file}, line " in line for line in found.damage)
    assert file.read_bytes() == content, "reading writes nothing"

    told: list[str] = []
    again = run_sweep(sweep, folder, resume=True, say=told.append)
    assert measured(again) == pytest.approx(expected, rel=1e-5)
    assert not again.damage
    assert [line for line in told if ", line " in line] == list(found.damage)
    assert (folder / "journal-damaged.log").read_bytes() == content
    assert all(json.loads(line) for line in file.read_bytes().splitlines())


def test_of_a_lost_direction_the_sweep_is_asked(tmp_path: Path) -> None:
    file = tmp_path / "journal.log"
    file.write_bytes(NULS)
    assert journal.read(file, maximize=True).logs[0]["directions"] == [2]


def test_every_damage_has_a_copy_of_its_own(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / "journal.log").write_bytes(NULS * (number + 1))
        assert journal.mend(tmp_path / "journal.log", maximize=False)
    copies = {path.name: len(path.read_bytes()) // len(NULS) for path in tmp_path.glob("journal-damaged*.log")}
    assert copies == {"journal-damaged.log": 1, "journal-damaged-2.log": 2, "journal-damaged-3.log": 3}
    assert journal.mend(tmp_path / "nowhere.log", maximize=False) == []


def test_a_line_that_is_being_written_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "journal.log").write_bytes(b'{"op_code":0,"worker_id":"","study_name":"sweep","directions":[1]}\n{"op')
    assert journal.read(tmp_path / "journal.log", growing=True).damage == ()
    assert journal.read(tmp_path / "journal.log").damage


KILLED = """
import os, signal, sys
from pathlib import Path
from idemlab.sweeps import journal
class Deadly:
    def __init__(self, lock): self.lock = lock
    def acquire(self):
        self.lock.acquire()
        os.kill(os.getpid(), signal.SIGKILL)
storage = journal.writing(Path(sys.argv[1]) / "journal.log")
storage._backend._lock = Deadly(storage._backend._lock)
storage.create_new_study([1], "sweep")
"""


@pytest.mark.parametrize("where", ["absolute", "relative", "relative, resumed elsewhere"])
def test_a_process_killed_with_the_lock_of_the_journal_blocks_nobody(
    where: str, whole: tuple[Sweep, Path, dict[Any, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, origin, expected = whole
    monkeypatch.chdir(tmp_path)
    shutil.copytree(origin, tmp_path / "sweep")
    folder = tmp_path / "sweep" if where == "absolute" else Path("sweep")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False, timeout=100)
    assert killed.returncode == -signal.SIGKILL
    # What a process of before left, in Optuna's own way.
    os.symlink("sweep/journal.log", tmp_path / "sweep/journal.log.lock")
    if where.endswith("elsewhere"):
        (tmp_path / "below").mkdir()
        monkeypatch.chdir(tmp_path / "below")
        folder = Path("../sweep")
    more = Sweep(experiment=sweep.experiment, over=sweep.over, seeds=3)
    results = run_sweep(more, folder, resume=True)
    assert len(results.trials) == 6
    assert expected.items() <= measured(results).items()
