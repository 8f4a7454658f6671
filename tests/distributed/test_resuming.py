"""A run goes on in any number of processes: to the same bits in as many as it had, else but for the order of sums."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import idemlab
from idemlab.objective.engines import Single
from idemlab.runs.weights import read_weights
from idemlab.training.folder import newest

Make = Callable[..., dict[str, Any]]
Together = Callable[..., list[list[dict[str, Any]]]]


def _figures(run: idemlab.Run) -> list[dict[str, Any]]:
    return [{key: value for key, value in entry.items() if key != "time"} for entry in run.metrics]


def _assert_same(run: idemlab.Run, whole: idemlab.Run, *, bits: bool) -> None:
    if bits:
        assert run.weights_file.read_bytes() == whole.weights_file.read_bytes()
        assert _figures(run) == _figures(whole)
        return
    weights = read_weights(run.weights_file)
    for name, expected in read_weights(whole.weights_file).items():
        assert (weights[name] - expected).norm() <= 1e-10 * expected.norm()
    for entry, other in zip(_figures(run), _figures(whole), strict=True):
        assert entry.pop("split") == other.pop("split")
        assert entry == pytest.approx(other, rel=1e-9)


def _stopped_in_the_middle(folder: Path) -> None:
    """Leave what a kill after the periodic checkpoint leaves: a state with figures that are not logged yet."""
    shutil.rmtree(folder / "checkpoints" / "step-8")
    assert (folder / "checkpoints" / "step-7").is_dir()
    assert not (folder / "certificate.json").exists()


@pytest.mark.long
def test_a_run_goes_on_in_any_number_of_processes(tmp_path: Path, tiny: Make, together: Together) -> None:
    table = tiny(source={"name": "gaussian"}, training__log_every=4, training__checkpoint_every=7, training__steps=12)

    def job(name: str, **settings: Any) -> dict[str, Any]:
        return {"table": table, "out": str(tmp_path / name), **settings}

    whole = idemlab.train(table, tmp_path / "whole")

    ways = {"copied": {}, "cut": {"sharded": True}}
    begun = [job(name, **way) for name, way in ways.items()]
    begun += [job(f"{name}, stopped", stop=8, **way) for name, way in ways.items()]
    notes = together(begun)
    assert [note.get("error", "") for note in notes[0]][:2] == ["", ""]
    assert all("stopped after step 8 of 12" in note["error"] for one in notes for note in one[2:])

    for name in ways:
        stopped = tmp_path / f"{name}, stopped"
        _stopped_in_the_middle(stopped)
        for way in [*ways, "alone"]:
            shutil.copytree(stopped, tmp_path / f"{name}, then {way}")
    for way in ways:  # a run of one process, stopped likewise: what the two have written is what one would have
        shutil.copytree(tmp_path / "whole", tmp_path / f"alone, then {way}")
        for gone in ("checkpoints/step-12", "certificate.json", "operator.safetensors"):
            path = tmp_path / f"alone, then {way}" / gone
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    pairs = [(name, way) for name in [*ways, "alone"] for way in ways]
    notes = together([job(f"{name}, then {way}", resume=True, **ways[way]) for name, way in pairs])
    for (name, way), one, other in zip(pairs, *notes, strict=True):
        assert "error" not in one
        assert one["print"] == other["print"]
        assert "resuming from step-7" in one["messages"]
        run = idemlab.Run(tmp_path / f"{name}, then {way}")
        same = name == way
        _assert_same(run, idemlab.Run(tmp_path / name) if same else whole, bits=same)
    for name in ways:
        run = idemlab.train(table, tmp_path / f"{name}, then alone", resume=True)
        _assert_same(run, whole, bits=False)


class _Beside(Single):
    """One of two processes. The other one sees no checkpoint."""

    def rows(self, t: Tensor) -> Tensor:
        return t.new_tensor([t.item(), -1])


def test_a_process_that_sees_another_checkpoint_than_the_others_refuses(tmp_path: Path, tiny: Make) -> None:
    run = idemlab.train(tiny(training__steps=2), tmp_path / "run")
    assert newest(run, Single(), pytest.fail) == run.checkpoints / "step-2"
    with pytest.raises(idemlab.Failure, match="different checkpoints; by process: step-2, none") as caught:
        newest(run, _Beside(), pytest.fail)
    assert caught.value.next_step == "give a folder that all machines share"
    shutil.rmtree(run.checkpoints)
    assert newest(run, _Beside(), pytest.fail) is None


@pytest.mark.long
def test_processes_that_see_different_checkpoints_are_refused(tmp_path: Path, tiny: Make, together: Together) -> None:
    """Two machines with folders of one name that are not the same."""
    first = idemlab.train(tiny(training__steps=3), tmp_path / "here" / "run")
    shutil.copytree(first.path, tmp_path / "there" / "run")
    shutil.rmtree(tmp_path / "there" / "run" / "checkpoints" / "step-3")
    job = {"table": tiny(training__steps=3), "resume": True}
    notes = together([tuple(job | {"out": str(tmp_path / place / "run")} for place in ("here", "there"))])
    for (note,) in notes:
        assert "by process: step-3, step-0" in note["error"]
        assert "that all machines share" in note["error"]
