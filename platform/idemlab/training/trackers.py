"""Sends the metrics of a run to experiment trackers: TensorBoard, Weights & Biases, Trackio, through Accelerate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Protocol

from ..errors import BadInput
from ..experiment.experiment import Experiment
from ..watching.watcher import Watcher

__all__ = ["check_trackers", "tracking"]


class _Tracker(Protocol):
    name: Any
    tracker: Any

    def finish(self) -> Any: ...


class _Accelerator(Protocol):
    """The part of Accelerate that trackers use."""

    trackers: list[Any]

    def init_trackers(self, project_name: str, config: dict[str, Any] | None = None) -> Any: ...


def check_trackers(experiment: Experiment) -> None:
    """Check that every tracker of the experiment is installed.

    Raises:
        BadInput: names the first missing tracker.
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
    """Open the experiment's trackers, and close them however the run ends."""
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
    """Close a tracker. An error in it becomes a message, because it does not affect the run."""
    try:
        if failed and tracker.name == "wandb":
            tracker.tracker.finish(exit_code=1)  # Accelerate's `finish` would mark the run as finished
        else:
            tracker.finish()
    except Exception as error:
        watcher.message(f"tracker '{tracker.name}' could not be closed: {error}")
