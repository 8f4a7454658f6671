"""Files of a run that are cut short, changed or gone: found out, and mended where there is something to mend them from.

That each file of the newest checkpoint is found out is tested in tests/platform/training/test_faults_of_the_disk.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import idemlab

Resume = Callable[[idemlab.Run], list[str]]


def _figures(run: idemlab.Run) -> list[dict[str, Any]]:
    return [{key: value for key, value in entry.items() if key != "time"} for entry in run.metrics]


def _flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def _files(run: idemlab.Run) -> dict[str, bytes]:
    return {str(p.relative_to(run.path)): p.read_bytes() for p in run.path.rglob("*") if p.is_file()}


def test_going_on_with_a_finished_run_changes_nothing(done: idemlab.Run, resume: Resume) -> None:
    before, figures = _files(done), _figures(done)
    assert resume(done) == ["resuming from step-12"]
    assert _figures(done) == figures
    assert {name for name, content in _files(done).items() if before.get(name) != content} == {"metrics.jsonl"}
    assert _files(done).keys() == before.keys()


def test_a_run_that_ends_before_its_certificate_is_written_evaluates_once(done: idemlab.Run, resume: Resume) -> None:
    before = _figures(done)
    done.certificate_file.unlink()
    resume(done)
    assert _figures(done) == before
    assert done.certificate


def test_the_newest_whole_one_of_several_is_found(done: idemlab.Run, resume: Resume) -> None:
    before = _files(done)
    _flip(done.checkpoints / "step-12" / "objective.safetensors", -1)
    (done.checkpoints / "step-9" / "manifest.json").unlink()
    said = resume(done)
    assert said == [
        "checkpoint step-12 is damaged (objective.safetensors has changed): trying the one before",
        "checkpoint step-9 is damaged (manifest.json is missing): trying the one before",
        "resuming from step-6",
    ]
    after = _files(done)
    del before["metrics.jsonl"], after["metrics.jsonl"]
    assert after == before, "the damaged ones are written again"


def test_what_killed_processes_left_is_removed(done: idemlab.Run, resume: Resume) -> None:
    (done.checkpoints / "step-3").mkdir()  # killed while an old checkpoint was removed
    (done.checkpoints / "step-7.tmp" / "objective.safetensors.tmp").mkdir(parents=True)  # and while one was written
    before = _files(done).keys()
    resume(done)
    assert {path.name for path in done.checkpoints.iterdir()} == {"step-6", "step-9", "step-12"}
    assert _files(done).keys() == before


def test_a_damaged_checkpoint_pushes_no_whole_one_out(done: idemlab.Run, resume: Resume) -> None:
    """Three are kept; going on from the oldest, the damaged newer ones do not count."""
    for step in (9, 12):
        (done.checkpoints / f"step-{step}" / "state.json").unlink()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("idemlab.training.loop._Loop._step", _fail)
        with pytest.raises(ZeroDivisionError):
            resume(done)
    assert resume(done)[-1] == "resuming from step-6"


def _fail(*_: object) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("position", [0, 3, 7, 8, 30, 60, 100, 150, 200, 300, -400, -100, -3, -1])
def test_operator_weights_of_which_one_bit_has_changed_are_not_used(
    done: idemlab.Run, resume: Resume, position: int
) -> None:
    assert idemlab.load(done)
    before = done.weights_file.read_bytes()
    _flip(done.weights_file, position)
    with pytest.raises(idemlab.Failure) as caught:
        idemlab.load(done)
    assert str(done.weights_file) in str(caught.value)
    resume(done)
    assert done.weights_file.read_bytes() == before


def test_operator_weights_that_are_cut_short_or_gone_are_told(done: idemlab.Run) -> None:
    done.weights_file.write_bytes(done.weights_file.read_bytes()[:-1])
    with pytest.raises(idemlab.Failure, match="cannot read the weights"):
        idemlab.load(done)
    done.weights_file.unlink()
    with pytest.raises(idemlab.BadInput, match="no trained operator yet"):
        idemlab.load(done)


def test_weights_that_were_exchanged_are_not_used(done: idemlab.Run) -> None:
    """Of the right names and shapes, behind the header of the others."""
    content = bytearray(done.weights_file.read_bytes())
    content[-8:] = bytes(8)
    done.weights_file.write_bytes(content)
    with pytest.raises(idemlab.Failure, match="have changed since they were written") as caught:
        idemlab.load(done)
    assert "--resume" in str(caught.value)


@pytest.mark.parametrize("line", [b'{"step": 1', b"7", b'{"loss": 1}', b'{"step": "\xff', b"\x00\x00"])
def test_a_damaged_line_of_the_metrics_is_passed_over(done: idemlab.Run, resume: Resume, line: bytes) -> None:
    before = _figures(done)
    lines = done.metrics_file.read_bytes().splitlines()
    done.metrics_file.write_bytes(b"\n".join([lines[0], line, *lines[1:]]) + b"\n")
    assert _figures(done) == before
    resume(done)
    assert _figures(done) == before
    assert all(json.loads(text) for text in done.metrics_file.read_text().splitlines())
