"""Sends a run to experiment trackers, through Accelerate: its experiment, its log, and at the end its pictures and files.

What a tracker raises after its start becomes a message, and the tracker is left out: it does not affect the run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ..catalog.faults import one_line
from ..errors import BadInput, Failure, IdemlabError
from ..experiment.experiment import Experiment
from ..experiment.toml import flat, toml_value
from ..runs.run import WHICH, Run
from ..watching.watcher import Watcher

__all__ = ["Trackers", "chosen_trackers"]

PROJECT = "idemlab"
"""The project, or experiment, that runs are filed under."""


class _Accelerator(Protocol):
    """The part of Accelerate that trackers use."""

    trackers: list[Any]

    def init_trackers(
        self, project_name: str, config: dict[str, Any] | None = None, init_kwargs: dict[str, Any] | None = None
    ) -> Any: ...


def chosen_trackers(experiment: Experiment) -> list[Any]:
    """The experiment's trackers as Accelerate takes them: names, or objects of plugins.

    Raises:
        BadInput: if one is not installed, or Accelerate cannot use it.
    """
    if not experiment.trackers:
        return []
    from accelerate.tracking import GeneralTracker, get_available_trackers

    built = [named.build() for named in experiment.trackers]
    usable = {str(name) for name in get_available_trackers()}
    for named, tracker in zip(experiment.trackers, built, strict=True):
        if isinstance(tracker, GeneralTracker) or tracker in usable:
            continue
        known = isinstance(tracker, str)
        raise BadInput(
            f"{named}: " + (f"Accelerate cannot use '{tracker}'" if known else f"it is {type(tracker).__name__}"),
            where="[training], key 'trackers'",
            expected="an accelerate.tracking.GeneralTracker, or the name of one that Accelerate can use",
            next_step="pip install --upgrade accelerate" if known else named.plugin.remedy,
        )
    return built


class Trackers:
    """The trackers of a run, once they are open.

    Args:
        watcher: hears of trackers that are left out.
        main: whether this process writes the files of the run.
    """

    def __init__(
        self, accelerator: _Accelerator, experiment: Experiment, run: Run, watcher: Watcher, main: bool
    ) -> None:
        self._accelerator, self._experiment, self._run = accelerator, experiment, run
        self._watcher, self._main = watcher, main
        self._open: list[Any] = []

    @contextmanager
    def tracking(self) -> Iterator[None]:
        """Open the trackers with the resolved experiment, and close them however the run ends."""
        if not self._experiment.trackers:
            yield
            return
        failed = True
        try:
            self._start()
            yield
            failed = False
        finally:
            for tracker in self._accelerator.trackers:
                _close(tracker, self._watcher, failed=failed)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Send one entry of the log."""
        self._each(lambda tracker: tracker.log(dict(values), step=step))

    def finish(self, step: int) -> None:
        """Send the pictures, the verdict and the report of a finished run, as far as each tracker can hold them."""
        if not self._open or not self._main:
            return
        from ..reports.page import write_report  # with matplotlib, a second that most runs from Python do not need

        try:
            write_report(self._run)
        except IdemlabError as error:
            self._watcher.message(f"the trackers get no report: {error.what}")
        self._each(lambda tracker: _send_outcome(tracker, self._run, step))

    def _start(self) -> None:
        ids = self._run.path / "trackers.json"
        settings: dict[str, Any] = {"mlflow": {"run_name": self._run.name} | _kept(ids)}
        try:
            self._accelerator.init_trackers(PROJECT, config=_config(self._experiment), init_kwargs=settings)
        except IdemlabError:
            raise
        except Exception as error:
            raise Failure(
                f"a tracker could not be started: {one_line(error)}",
                where="[training], key 'trackers'",
                next_step="correct its settings (environment variables, login), or leave it out",
            ) from error
        self._open = list(self._accelerator.trackers)
        for tracker in self._open:
            if tracker.name == "mlflow" and self._main:  # a resumed run continues the same MLflow run
                ids.write_text(json.dumps({"run_id": tracker.tracker.info.run_id}))

    def _each(self, call: Callable[[Any], object]) -> None:
        for tracker in list(self._open):
            try:
                call(tracker)
            except Exception as error:
                self._open.remove(tracker)
                self._watcher.message(f"tracker '{tracker.name}' failed and is no longer used: {one_line(error)}")


def _kept(file: Path) -> dict[str, str]:
    """What a tracker knows the run by, if it was begun before."""
    try:
        return {"run_id": str(json.loads(file.read_text(encoding="utf-8"))["run_id"])}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def _config(experiment: Experiment) -> dict[str, Any]:
    """The resolved experiment as plain values under dotted keys, in letters that all trackers take."""
    found: dict[str, Any] = {"experiment": experiment.name}
    for key, value in flat(experiment.table()).items():
        plain = value if isinstance(value, (bool, int, float, str)) else toml_value(value)
        found[re.sub(r"[^\w./ -]", "_", key)] = plain
    return found


def _send_outcome(tracker: Any, run: Run, step: int) -> None:
    """Send pictures and files to one tracker."""
    pictures = sorted(run.figures.glob("*.png")) if run.figures.is_dir() else []
    certificate = run.certificate
    if hasattr(tracker, "log_artifact"):
        for picture in pictures:
            tracker.log_artifact(str(picture), "figures")
        for file in (run.experiment_file, *(run.certificate_of(which) for which in WHICH), run.report_file):
            if file.is_file():
                tracker.log_artifact(str(file))
        return
    if hasattr(tracker, "log_images") and pictures:
        import numpy as np
        from PIL import Image

        further = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
        for picture in pictures:
            with Image.open(picture) as opened:
                pixels = np.asarray(opened.convert("RGB"))
            tracker.log_images({f"figures/{picture.stem}": pixels[None]}, step=step, **further)
    if tracker.name == "tensorboard" and certificate is not None:  # not every tracker takes text in its log
        tracker.log({"verdict": f"{certificate['verdict']}: {certificate['sentence']}"}, step=step)


def _close(tracker: Any, watcher: Watcher, *, failed: bool) -> None:
    """Close a tracker."""
    try:
        if failed and tracker.name == "wandb":
            tracker.tracker.finish(exit_code=1)  # Accelerate's `finish` would mark the run as finished
        else:
            tracker.finish()
    except Exception as error:
        watcher.message(f"tracker '{tracker.name}' could not be closed: {error}")
