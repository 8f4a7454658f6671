"""A disk that is full or flips bits: told as what it is, and the last good state stays whole."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import idemlab
from idemlab import installed
from idemlab.errors import Interrupted
from idemlab.system.files import sha256, unwritten
from idemlab.training.checkpoint import latest
from idemlab.training.stacked_loop import train_stacked
from idemlab.watching.watcher import Watcher

Make = Callable[..., dict[str, Any]]


class _StopAt7(Watcher):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def stepped(self, step: int) -> None:
        if step == 7:
            signal.raise_signal(signal.SIGTERM)

    def message(self, text: str) -> None:
        self.messages.append(text)


FULL = """
import json, resource, sys
import idemlab
from idemlab.watching.watcher import Watcher

class Full(Watcher):
    def stepped(self, step):
        if step == int(sys.argv[3]):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))  # from here on the system refuses what is longer

try:
    idemlab.train(json.loads(sys.argv[1]), sys.argv[2], watchers=[Full()])
except idemlab.Failure as failure:
    print(failure)
    sys.exit(failure.exit_code)
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("step", "what", "whole"),
    [(9, "the checkpoint of step 10", "step-5"), pytest.param(4, "metrics.jsonl", "step-0", marks=pytest.mark.slow)],
)
def test_the_system_refuses_to_write_and_the_run_goes_on_later(
    tmp_path: Path, tiny: Make, step: int, what: str, whole: str
) -> None:
    table = tiny()
    run = idemlab.Run(tmp_path / "run")
    command = [sys.executable, "-c", FULL, json.dumps(table), str(run.path), str(step)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 1, ended.stderr
    assert f"{what} cannot be written" in ended.stdout
    assert "free some disk space" in ended.stdout
    assert "resume" in ended.stdout
    newest = latest(run.checkpoints, pytest.fail)
    assert newest is not None
    assert newest.name == whole
    assert not list(run.path.rglob("*.tmp"))
    undisturbed = idemlab.train(table, tmp_path / "whole")
    resumed = idemlab.train(table, run.path, resume=True)
    assert resumed.weights_file.read_bytes() == undisturbed.weights_file.read_bytes()
    assert [entry["step"] for entry in resumed.metrics] == [entry["step"] for entry in undisturbed.metrics]


@pytest.mark.parametrize(
    ("error", "way_out"),
    [
        (OSError(errno.ENOSPC, "full"), "free some disk space"),
        (OSError(errno.EISDIR, "a folder"), "move away what is in the place"),
        (OSError(errno.EROFS, "read only"), "make the folder writable"),
        (ValueError("of safetensors"), "free some disk space"),
    ],
)
def test_the_next_step_after_a_failed_write_follows_from_its_cause(error: Exception, way_out: str) -> None:
    assert unwritten(error).startswith(way_out)


@pytest.mark.parametrize("name", ["operator.safetensors", "certificate.json", "environment.json", "experiment.toml"])
def test_a_file_that_cannot_be_written_is_told_and_not_left_in_part(
    tmp_path: Path, tiny: Make, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from os import replace

    def full(source: Path, target: Path) -> None:
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr("os.replace", full)
        with pytest.raises(idemlab.Failure, match=f"{name} cannot be written: .*No space left") as caught:
            idemlab.train(tiny(), tmp_path / "run")
    assert caught.value.exit_code == 1
    assert "free some disk space" in str(caught.value)
    assert not (tmp_path / "run" / name).exists()
    assert not list((tmp_path / "run").rglob("*.tmp"))
    assert idemlab.train(tiny(), tmp_path / "run", resume=True).certificate


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any], Path], idemlab.Run]:
    """A function that copies a run, trained once, which was stopped at step 7 with checkpoints of steps 5 and 7."""
    folder = tmp_path_factory.mktemp("stopped") / "run"

    def copy(table: dict[str, Any], to: Path) -> idemlab.Run:
        if not folder.exists():
            with pytest.raises(Interrupted):
                idemlab.train(table, folder, watchers=[_StopAt7()])
        shutil.copytree(folder, to)
        return idemlab.Run(to)

    return copy


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)


FILES = ["objective.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [_truncate, _flip, Path.unlink])
def test_a_run_falls_back_to_the_checkpoint_before_a_damaged_one(
    tmp_path: Path,
    tiny: Make,
    stopped: Callable[[dict[str, Any], Path], idemlab.Run],
    name: str,
    damage: Callable[[Path], None],
) -> None:
    run = stopped(tiny(), tmp_path / "run")
    damage(run.checkpoints / "step-7" / name)
    watcher = _StopAt7()
    with pytest.raises(Interrupted):
        idemlab.train(tiny(), run.path, resume=True, watchers=[watcher])
    assert watcher.messages[0].startswith("checkpoint step-7 is damaged (")
    # A manifest whose hashes have changed cannot know that it is itself what has.
    assert name in watcher.messages[0] or (name == "manifest.json" and "has changed" in watcher.messages[0])
    assert watcher.messages[1] == "resuming from step-5"
    # Stopped at step 7 again: the damaged checkpoint has been written anew, to the same bytes.
    undamaged = stopped(tiny(), tmp_path / "undamaged")
    assert latest(run.checkpoints, pytest.fail) == run.checkpoints / "step-7"
    for file in FILES[:2]:
        path = Path("step-7") / file
        assert sha256(run.checkpoints / path) == sha256(undamaged.checkpoints / path)


def test_with_all_checkpoints_damaged_a_run_starts_over(
    tmp_path: Path, tiny: Make, stopped: Callable[[dict[str, Any], Path], idemlab.Run]
) -> None:
    run = stopped(tiny(), tmp_path / "run")
    for step in (5, 7):
        _truncate(run.checkpoints / f"step-{step}" / "state.json")
    watcher = _StopAt7()
    with pytest.raises(Interrupted):
        idemlab.train(tiny(), run.path, resume=True, watchers=[watcher])
    assert "starting from the beginning" in watcher.messages[2]
    assert latest(run.checkpoints, pytest.fail) == run.checkpoints / "step-7"


def test_a_new_checkpoint_is_never_pruned_for_a_damaged_one(
    tmp_path: Path, tiny: Make, stopped: Callable[[dict[str, Any], Path], idemlab.Run]
) -> None:
    """One checkpoint is kept, the damaged one is of a later step."""
    whole = idemlab.train(tiny(), tmp_path / "whole")
    run = stopped(tiny(), tmp_path / "run")
    _truncate(run.checkpoints / "step-7" / "state.json")

    class StopAt6(_StopAt7):
        def stepped(self, step: int) -> None:
            if step == 6:
                signal.raise_signal(signal.SIGTERM)

    table = tiny(training__keep=1)
    with pytest.raises(Interrupted):
        idemlab.train(table, run.path, resume=True, allow_changes=True, watchers=[StopAt6()])
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-6"]
    assert idemlab.train(table, run.path, resume=True).weights_file.read_bytes() == whole.weights_file.read_bytes()


@pytest.mark.parametrize(
    "name", ["operator.safetensors", "certificate.json", "environment.json", "experiment.toml", "metrics.jsonl"]
)
def test_stacked_runs_tell_a_full_disk_as_single_ones_do(
    tmp_path: Path, tiny: Make, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from os import replace

    def full(source: Path, target: Path) -> None:
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    def single(out: Path) -> None:
        idemlab.train(tiny(), out)

    def stacked(out: Path) -> None:
        train_stacked(
            [idemlab.resolve(tiny(training__seed=seed)) for seed in (0, 1)], [out, tmp_path / "b"], installed()
        )

    told = []
    for train, out in ((single, tmp_path / "single"), (stacked, tmp_path / "a")):
        with monkeypatch.context() as patched:
            patched.setattr("os.replace", full)
            with pytest.raises(idemlab.Failure) as caught:
                train(out)
        told.append(str(caught.value).replace(str(out), "OUT"))
        assert not (out / name).exists()
        assert not list(out.rglob("*.tmp"))
    if name == "certificate.json":  # the last file that is written
        stacked(tmp_path / "a")
        assert idemlab.Run(tmp_path / "a").certificate
    assert told[0] == told[1]
    assert f"{name} cannot be written" in told[0]
    assert "free some disk space" in told[0]
