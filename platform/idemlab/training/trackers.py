"""Trackers that hear of a run beside its own files: TensorBoard, Weights & Biases, Trackio, through Accelerate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Protocol

from ..errors import BadInput
from ..experiment.experiment import Experiment
from .watcher import Watcher

__all__ = ["check_trackers", "tracking"]


class _Tracker(Protocol):
    name: Any
    tracker: Any

    def finish(self) -> Any: ...


class _Accelerator(Protocol):
    """What is asked of Accelerate, which only the trainer knows."""

    trackers: list[Any]

    def init_trackers(self, project_name: str, config: dict[str, Any] | None = None) -> Any: ...


def check_trackers(experiment: Experiment) -> None:
    """All that the experiment names are installed.

    Raises:
        BadInput: names the first that is not.
    """
    for tracker in experiment.training.trackers:
        if find_spec(tracker) is None:
            raise BadInput(
                f"tracker '{tracker}' is not installed",
                where="[training], key 'trackers'",
                next_step=f"pip install 'idemlab[{tracker}]'",
            )


@contextmanager
def tracking(accelerator: _Accelerator, experiment: Experiment, watcher: Watcher) -> Iterator[None]:
    """The trackers that the experiment names hear of the run, and are closed however it ends."""
    if not experiment.training.trackers:
        yield
        return
    failed = True
    try:
        accelerator.init_trackers("idemlab", config={"experiment": experiment.name})
        yield
        failed = False
    finally:
        for tracker in accelerator.trackers:
            _close(tracker, watcher, failed=failed)


def _close(tracker: _Tracker, watcher: Watcher, *, failed: bool) -> None:
    """What a tracker raises at the end hides nothing: the run is what it is."""
    try:
        if failed and tracker.name == "wandb":
            tracker.tracker.finish(exit_code=1)  # Accelerate's own would call the run finished
        else:
            tracker.finish()
    except Exception as error:
        watcher.message(f"tracker '{tracker.name}' could not be closed: {error}")
