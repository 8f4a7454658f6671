"""What watchers hear, how they stop a run, and that their faults do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import idemlab
from idemlab import BadInput, Failure, Interrupted, Watcher

Make = Callable[..., dict[str, Any]]


class Heard(Watcher):
    """Keeps the messages, and how the run ended."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.saves: list[str] = []
        self.ends: list[object] = []

    def saved(self, step: int, checkpoint: Path) -> None:
        assert (checkpoint / "manifest.json").is_file()
        self.saves.append(f"{checkpoint.name} after {step}")

    def ended(self, run: idemlab.Run, error: BaseException | None) -> None:
        self.ends.append(error or run.certificate["verdict"])  # type: ignore[index]

    def message(self, text: str) -> None:
        self.messages.append(text)


def entries(run: idemlab.Run) -> list[dict[str, Any]]:
    return [{k: v for k, v in entry.items() if k != "time"} for entry in run.metrics]


def test_checkpoints_and_the_end_are_heard(tmp_path: Path, tiny: Make) -> None:
    heard = Heard()
    run = idemlab.train(tiny(), tmp_path / "run", watchers=[heard], progress=False)
    assert heard.saves == ["step-0 after 0", "step-5 after 5", "step-10 after 10", "step-12 after 12"]
    assert heard.ends == [run.certificate["verdict"]]  # type: ignore[index]


def test_the_error_that_ends_a_run_is_heard(tmp_path: Path, tiny: Make) -> None:
    heard = Heard()
    with pytest.raises(Failure) as failed:
        idemlab.train(tiny(optimizer={"name": "sgd", "lr": 1e30}), tmp_path / "run", watchers=[heard], progress=False)
    assert heard.ends == [failed.value]


@pytest.mark.parametrize("event", ["started", "stepped", "logged", "evaluated", "saved", "ended", "message"])
def test_a_watcher_that_raises_is_left_out_and_the_run_goes_on(event: str, tmp_path: Path, tiny: Make) -> None:
    calls: list[object] = []

    def fails(self: Watcher, *_: object) -> None:
        calls.append(self)
        raise ZeroDivisionError("in my plot")

    Plotter = type("Plotter", (Watcher,), {event: fails})
    before, after = Heard(), Heard()
    watchers = [before, Plotter(), after]
    run = idemlab.train(tiny(), tmp_path / "run", watchers=watchers, progress=False)
    assert run.certificate is not None
    assert len(calls) <= 1
    told = [text for text in before.messages if "watcher 'Plotter' raised ZeroDivisionError: in my plot" in text]
    assert len(told) == len(calls) == (event != "message")
    assert told == [text for text in after.messages if "Plotter" in text]
    assert after.ends == [run.certificate["verdict"]]


def test_a_fault_that_no_watcher_hears_is_a_warning(tmp_path: Path, tiny: Make) -> None:
    class Plotter(Watcher):
        def stepped(self, step: int) -> None:
            if step == 3:
                raise KeyError("loss")

    with pytest.warns(
        UserWarning, match=r"watcher 'Plotter' raised KeyError: 'loss' \(test_watchers.py, line \d+\) after step 3"
    ):
        run = idemlab.train(tiny(), tmp_path / "run", watchers=[Plotter()], progress=False)
    assert run.certificate is not None


def test_a_watcher_stops_a_run_which_is_resumed_to_the_same_numbers(tmp_path: Path, tiny: Make) -> None:
    class Enough(Watcher):
        def evaluated(self, step: int, evaluation: Any) -> None:
            if step == 6:
                raise Interrupted("it is good enough")

    whole = idemlab.train(tiny(), tmp_path / "whole", progress=False)
    with pytest.raises(Interrupted) as stopped:
        idemlab.train(tiny(), tmp_path / "cut", watchers=[Enough()], progress=False)
    assert stopped.value.what == "stopped after step 6 of 12: it is good enough; the state is saved"
    assert "--resume" in str(stopped.value.next_step)
    cut = idemlab.train(tiny(), tmp_path / "cut", resume=True, progress=False)
    assert entries(cut) == entries(whole)


@pytest.mark.parametrize(
    ("given", "message"),
    [(Heard, "the class Heard"), (Heard(), "a Heard"), ([Heard], "the class Heard"), ([print], "a builtin_function")],
)
def test_what_is_no_list_of_watchers_is_refused(given: Any, message: str, tmp_path: Path, tiny: Make) -> None:
    with pytest.raises(BadInput, match=f"watchers cannot be {message}"):
        idemlab.train(tiny(), tmp_path / "run", watchers=given, progress=False)
    assert not (tmp_path / "run").exists()
