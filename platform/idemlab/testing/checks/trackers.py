"""Checks of trackers: they take all that a run sends, in a folder of their own, and do not touch the run."""

from __future__ import annotations

import copy
import random
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import numpy
import torch

from ..kit import check, must
from ..subject import Subject

__all__ = ["elsewhere"]

_EXPERIMENT = {
    "experiment": "check",
    "dataset.name": "gaussian",
    "dataset.shape": "[4]",
    "optimizer.lr": 0.001,
    "training.steps": 4,
    "training.deterministic": True,
}
_ENTRIES = {
    1: {"train/loss": 0.5, "train/rank": 3},
    2: {"train/loss": 0.25, "evaluation/data/relative": 0.125},
}


@contextmanager
def elsewhere() -> Iterator[Path]:
    """Work in a temporary folder: a tracker writes where it stands."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        yield Path(folder)


@contextmanager
def _open(subject: Subject, experiment: dict[str, Any] | None = None) -> Iterator[Any]:
    """A tracker in a temporary folder, as a run opens it."""
    with elsewhere():
        tracker = subject.build()
        tracker.main_process_only = False  # here is one process, and Accelerate need not be started to know it
        tracker.start()
        tracker.store_init_configuration(dict(_EXPERIMENT) if experiment is None else experiment)
        yield tracker


@check("tracker", cause="Accelerate asks for the class attributes `name`, `requires_logging_directory` and `tracker`")
def has_a_name(subject: Subject) -> None:
    """It has the attributes that Accelerate asks for; the name is a text, by which messages call it."""
    with _open(subject) as tracker:
        must(isinstance(tracker.name, str) and bool(tracker.name), f"its name is {tracker.name!r}, not a text")
        must(isinstance(tracker.requires_logging_directory, bool), "requires_logging_directory is not true or false")
        must("tracker" in dir(tracker), "it has no attribute `tracker`")
        tracker.finish()


@check("tracker", cause="`log` must take (values, step=...), and all of numbers, texts and truth values")
def takes_a_whole_run(subject: Subject) -> None:
    """It takes an experiment, entries of the log and the end, and changes none of the values."""
    experiment, entries = copy.deepcopy(_EXPERIMENT), copy.deepcopy(_ENTRIES)
    with _open(subject, experiment) as tracker:
        for step, values in entries.items():
            tracker.log(values, step=step)
        tracker.finish()
    must(experiment == _EXPERIMENT, "it changes the experiment that it is given")
    must(entries == _ENTRIES, "it changes the values that it is given")


@check("tracker", cause="JSON, a plot or a database that refuses NaN and infinity: a run that diverges has them")
def takes_what_is_not_finite(subject: Subject) -> None:
    """It takes values that are infinite or not a number."""
    with _open(subject) as tracker:
        tracker.log({"train/loss": float("inf"), "train/relative": float("nan")}, step=1)
        tracker.finish()


@check("tracker", cause="`finish` needs what `log` makes: a run can fail before its first entry")
def ends_without_an_entry(subject: Subject) -> None:
    """It can be closed before anything is logged."""
    with _open(subject) as tracker:
        tracker.finish()


@check("tracker", cause="`log_artifact(path, folder)` or `log_images({name: pixels}, step=...)` with other arguments")
def takes_pictures_and_files(subject: Subject) -> None:
    """It takes the pictures and files of a finished run, if it has a method for them."""
    with _open(subject) as tracker:
        file = Path("report.html").resolve()
        file.write_text("<p>genuine")
        if hasattr(tracker, "log_artifact"):
            tracker.log_artifact(str(file), "figures")
            tracker.log_artifact(str(file))
            must(file.is_file(), "it takes the file away from the run")
        if hasattr(tracker, "log_images"):
            tracker.log_images({"figures/orbits": numpy.zeros((1, 4, 6, 3), dtype=numpy.uint8)}, step=2)
        tracker.finish()


@check("tracker", cause="it draws a name or a colour from the global generators: use random.Random() of its own")
def randomness_is_left_alone(subject: Subject) -> None:
    """It does not draw from the global generators, which the run may use."""
    before = _generators()
    with _open(subject) as tracker:
        for step, values in _ENTRIES.items():
            tracker.log(dict(values), step=step)
        tracker.finish()
    for name, state in _generators().items():
        must(state == before[name], f"it drew from the generator of {name}")


def _generators() -> dict[str, Any]:
    """The states of the global generators."""
    legacy: Any = numpy.random.get_state()
    return {"torch": torch.get_rng_state().tolist(), "random": random.getstate(), "numpy": legacy[1].tolist()}
