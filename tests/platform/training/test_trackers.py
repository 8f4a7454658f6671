"""Trackers: opened with the experiment, closed however a run ends, and none of their faults touches the run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import idemlab
from idemlab.catalog.shipped import TRACKERS
from idemlab.errors import Interrupted
from idemlab.watching.watcher import Watcher

Make = Callable[..., dict[str, Any]]


class _Listens(Watcher):
    def __init__(self, stop: int = 0) -> None:
        self.stop, self.said = stop, list[str]()

    def message(self, text: str) -> None:
        self.said.append(text)

    def stepped(self, step: int) -> None:
        if step == self.stop:
            raise Interrupted("enough")


def _spoken_for(factory: Callable[..., Any]) -> idemlab.Catalog:
    return idemlab.installed().including(idemlab.TrackerSpec(name="own", factory=factory, summary=""))


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report of two files, which takes no seconds to draw."""

    def write(run: idemlab.Run) -> Path:
        run.figures.mkdir()
        Image.fromarray(np.full((4, 6, 3), 200, dtype=np.uint8)).save(run.figures / "orbit.png")
        run.report_file.write_text("<p>genuine")
        return run.report_file

    monkeypatch.setattr("idemlab.reports.page.write_report", write)


def test_every_tracker_that_accelerate_knows_has_a_name() -> None:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    assert {package for package, _ in TRACKERS.values()} >= {str(name) for name in LOGGER_TYPE_TO_CLASS}
    assert {entry.spec.name for entry in idemlab.installed().entries("tracker")} >= set(TRACKERS)


def test_tensorboard_has_the_experiment_the_log_the_pictures_and_the_verdict(
    tmp_path: Path, tiny: Make, reported: None
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = idemlab.train(tiny(training__trackers=["tensorboard"]), tmp_path / "run", progress=False)
    events = EventAccumulator(str(run.path / "idemlab"))
    events.Reload()
    logged = {event.step: event.value for event in events.Scalars("train/loss")}
    assert logged == pytest.approx({e["step"]: e["loss"] for e in run.metrics if e["split"] == "train"})
    assert [event.step for event in events.Scalars("evaluation/noise/relative")] == [6, 12]
    (picture,) = events.Images("figures/orbit")
    assert (picture.step, picture.height, picture.width) == (12, 4, 6)
    (verdict,) = events.Tensors("verdict/text_summary")
    assert run.certificate is not None
    assert run.certificate["sentence"] in verdict.tensor_proto.string_val[0].decode()
    (settings,) = run.path.rglob("hparams.yml")
    assert "enforcer.name: gradient" in settings.read_text()


def test_mlflow_has_them_too_and_a_resumed_run_goes_on_there(
    tmp_path: Path, tiny: Make, reported: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow-skinny is in no extra of the tests: it pulls in 15 packages")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'store'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file:{tmp_path / 'store'}")
    table = tiny(training__trackers=["mlflow"], training__ema=0.5)
    with pytest.raises(Interrupted):
        idemlab.train(table, tmp_path / "run", progress=False, watchers=[_Listens(stop=7)])
    run = idemlab.train(table, tmp_path / "run", progress=False, resume=True)
    client = mlflow.MlflowClient()
    (filed,) = client.search_experiments(filter_string="name = 'idemlab'")
    (known,) = client.search_runs([filed.experiment_id])
    assert known.info.run_name == "run"
    assert known.info.status == "FINISHED"
    assert known.data.params["enforcer.name"] == "gradient"
    assert known.data.params["training.steps"] == "12"
    logged = {each.step: each.value for each in client.get_metric_history(known.info.run_id, "train/loss")}
    assert logged == pytest.approx({e["step"]: e["loss"] for e in run.metrics if e["split"] == "train"})
    files = [each.path for each in client.list_artifacts(known.info.run_id)]
    assert sorted(files) == ["certificate-ema.json", "certificate.json", "experiment.toml", "figures", "report.html"]
    assert [each.path for each in client.list_artifacts(known.info.run_id, "figures")] == ["figures/orbit.png"]


def test_a_tracker_of_a_plugin_gets_the_log_and_may_fail(tmp_path: Path, tiny: Make, reported: None) -> None:
    heard: list[Any] = []

    def own(patience: int = 1) -> Any:
        from accelerate.tracking import GeneralTracker, on_main_process

        class Own(GeneralTracker):  # type: ignore[misc]
            name, requires_logging_directory, tracker = "own", False, None

            @on_main_process
            def store_init_configuration(self, values: dict[str, Any]) -> None:
                heard.append(values["training.trackers.0.name"])

            @on_main_process
            def log(self, values: dict[str, float], step: int | None = None, **_: Any) -> None:
                heard.append(step)
                if len(heard) > patience:
                    raise OSError("no network")

        return Own()

    watcher = _Listens()
    table = tiny(training__trackers=[{"name": "own", "patience": 2}])
    run = idemlab.train(table, tmp_path / "run", progress=False, watchers=[watcher], catalog=_spoken_for(own))
    assert heard == ["own", 4, 6]
    assert "tracker 'own' failed and is no longer used: OSError: no network" in watcher.said
    assert run.certificate is not None
    plain = idemlab.train(tiny(), tmp_path / "plain", progress=False)
    assert run.weights_file.read_bytes() == plain.weights_file.read_bytes()


def test_a_tracker_that_cannot_start_is_told(tmp_path: Path, tiny: Make) -> None:
    def own() -> Any:
        from accelerate.tracking import GeneralTracker

        class Own(GeneralTracker):  # type: ignore[misc]
            name, requires_logging_directory, tracker = "own", False, None

            def store_init_configuration(self, values: dict[str, Any]) -> None:
                raise OSError("no login")

        return Own()

    with pytest.raises(idemlab.Failure, match="a tracker could not be started: OSError: no login"):
        idemlab.train(tiny(training__trackers=["own"]), tmp_path / "run", progress=False, catalog=_spoken_for(own))


@pytest.mark.parametrize(
    ("made", "what"), [(3, "it is int"), ("nothing-of-this-name", "Accelerate cannot use 'nothing-of-this-name'")]
)
def test_what_is_no_tracker_is_refused(tmp_path: Path, tiny: Make, made: Any, what: str) -> None:
    def own() -> Any:
        return made

    with pytest.raises(idemlab.BadInput, match=what):
        idemlab.train(tiny(training__trackers=["own"]), tmp_path / "run", progress=False, catalog=_spoken_for(own))
    assert not (tmp_path / "run").exists()


@pytest.mark.long
@pytest.mark.parametrize("ends", ["well", "given up", "not finite"])
def test_trackers_are_closed_however_a_run_ends(
    ends: str, tmp_path: Path, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    from accelerate.tracking import TensorBoardTracker

    class GivesUp(Watcher):
        def evaluated(self, step: int, evaluation: Any) -> None:
            if ends == "given up":
                raise KeyboardInterrupt

    closed: list[str] = []
    monkeypatch.setattr(TensorBoardTracker, "finish", lambda self: closed.append(self.run_name))
    table = tiny(training__trackers=["tensorboard"])
    if ends == "not finite":
        table["optimizer"] = {"name": "sgd", "lr": 1e30}
    with contextlib.suppress(KeyboardInterrupt, idemlab.Failure):
        idemlab.train(table, tmp_path / "run", watchers=[GivesUp()])
    assert closed == ["idemlab"]
    assert (tmp_path / "run" / "certificate.json").is_file() == (ends == "well")


class _Tracker:
    def __init__(self, name: str, closed: list[str], fault: Exception | None = None) -> None:
        self.name, self.closed, self.fault, self.tracker = name, closed, fault, self

    def log(self, values: dict[str, float], step: int) -> None:
        pass

    def finish(self, exit_code: int = 0) -> None:
        self.closed.append(f"{self.name} {exit_code}")
        if self.fault is not None:
            raise self.fault


def test_a_tracker_that_cannot_be_closed_hides_nothing_and_keeps_no_other_open(
    tmp_path: Path, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    trackers = [_Tracker("lost", closed, OSError("no network")), _Tracker("wandb", closed), _Tracker("x", closed)]
    monkeypatch.setattr(
        "accelerate.Accelerator.init_trackers", lambda self, *_, **__: setattr(self, "trackers", trackers)
    )
    said: list[str] = []

    class Listens(Watcher):
        def message(self, text: str) -> None:
            said.append(text)

    table = tiny(training__trackers=["tensorboard"], optimizer={"name": "sgd", "lr": 1e30})
    with pytest.raises(idemlab.Failure, match="not finite"):
        idemlab.train(table, tmp_path / "run", watchers=[Listens()])
    assert closed == ["lost 0", "wandb 1", "x 0"]
    assert "tracker 'lost' could not be closed: no network" in said


def test_a_missing_tracker_is_told_before_anything_runs(
    tmp_path: Path, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("idemlab.catalog.shipped.find_spec", lambda name: None)
    with pytest.raises(idemlab.BadInput, match=r"pip install 'idemlab\[wandb\]'"):
        idemlab.train(tiny(training__trackers=["wandb"]), tmp_path / "run")
