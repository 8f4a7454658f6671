"""Two processes never write to one run folder, and a dead one stands in nobody's way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import idemlab
from idemlab.system.lock import exclusive

HOLD = """
import sys, time
from pathlib import Path
from idemlab.system.lock import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def _held_elsewhere(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a folder until its input ends."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


def test_the_second_process_is_refused_and_told_who_holds_the_folder(
    tmp_path: Path, tiny: Callable[..., dict[str, Any]]
) -> None:
    run = tmp_path / "run"
    with _held_elsewhere(run) as process:
        with pytest.raises(idemlab.BadInput) as caught:
            idemlab.train(tiny(), run)
        assert f"written to by process {process.pid} on {os.uname().nodename}, since 20" in str(caught.value)
        assert "give another folder" in str(caught.value)
        assert {path.name for path in run.iterdir()} == {".lock", ".lock.json"}, "nothing of the second was written"
    with exclusive(run):
        pass


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    with _held_elsewhere(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / ".lock.json").is_file(), "it had no time to tidy up"
    with exclusive(tmp_path):
        assert str(os.getpid()) in (tmp_path / ".lock.json").read_text()
    assert not (tmp_path / ".lock.json").exists()


def test_one_process_does_not_hold_a_folder_twice(tmp_path: Path) -> None:
    with exclusive(tmp_path):
        with pytest.raises(idemlab.BadInput, match=f"process {os.getpid()}"), exclusive(tmp_path):
            pass
        (tmp_path / ".lock.json").write_text("{")
        with pytest.raises(idemlab.BadInput, match="by another process"), exclusive(tmp_path):
            pass


def test_a_folder_is_free_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), exclusive(tmp_path):
        1 / 0  # noqa: B018
    with exclusive(tmp_path):
        pass


def test_a_full_disk_does_not_keep_a_folder_from_being_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, *arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with (
        exclusive(tmp_path),
        pytest.raises(idemlab.BadInput, match="by another process"),
        exclusive(tmp_path),
    ):
        pass


@pytest.mark.parametrize("resumed", ["where it was", "elsewhere"])
def test_a_killed_process_that_was_given_a_relative_folder_holds_nothing(
    resumed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with _held_elsewhere(Path("sweep")) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    folder = Path("sweep")
    if resumed == "elsewhere":
        (tmp_path / "below").mkdir()
        monkeypatch.chdir(tmp_path / "below")
        folder = Path("../sweep")
    with exclusive(folder):
        assert (tmp_path / "sweep" / ".lock.json").is_file()


def test_a_folder_is_let_go_of_from_another_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with exclusive(Path("run")):
        monkeypatch.chdir("/")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {".lock"}
