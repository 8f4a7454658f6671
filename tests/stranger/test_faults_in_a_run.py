"""Faults in the middle of a run: it keeps its steps, and the user learns whose fault it is and how to resume."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

Idemlab = Callable[..., Result]
Install = Callable[..., None]
Experiment = Callable[..., str]
Faulty = Callable[..., str]
Lines = Callable[[Result], dict[str, str]]

GOOD = "loss = (orbit.live(2) - y).square().flatten(1).mean(1)\nreturn Enforcement(loss=loss)"

LATE = "if step.purpose == 'train' and step.index == 3:\n    {}\n" + GOOD


def entries(split: str) -> list[int]:
    """Steps of the figures in the run, of one split."""
    logged = [json.loads(line) for line in Path("runs/tiny/metrics.jsonl").read_text().splitlines()]
    return [entry["step"] for entry in logged if entry["split"] == split]


def test_a_run_whose_enforcer_raises_keeps_all_and_goes_on_once_it_is_mended(
    install: Install, call: Idemlab, experiment: Experiment, faulty: Faulty, lines: Lines, origin: str
) -> None:
    install("faulty-one", faulty(LATE.format("raise KeyError('oops')")))
    result = call("run", experiment('name = "faulty"'))
    assert result.exit_code == 1
    assert lines(result)["error"] == (
        "the training step raised KeyError: 'oops', after 3 of 6 steps; the state before it is saved as step-3"
    )
    assert lines(result)["where"].startswith(f"{origin} (faulty_one.py, line ")
    next_step = lines(result)["next"]
    assert next_step.endswith(
        "report it to the authors of faulty-one; once that is fixed: idemlab run runs/tiny --resume"
    )
    assert entries("train") == [1, 2, 3]
    assert {path.name for path in Path("runs/tiny/checkpoints").iterdir()} >= {"step-3"}
    assert not Path("runs/tiny/certificate.json").exists()

    Path("site/faulty_one.py").write_text(faulty(GOOD))
    importlib.invalidate_caches()
    del sys.modules["faulty_one"]
    assert call("run", "runs/tiny", "--resume").exit_code == 0
    assert entries("train") == [1, 2, 3, 4, 5, 6]
    assert Path("runs/tiny/certificate.json").exists()


def test_a_loss_that_turns_nan_stops_the_run_with_all_kept(
    install: Install, call: Idemlab, experiment: Experiment, faulty: Faulty, lines: Lines
) -> None:
    install("faulty-one", faulty(LATE.format("return Enforcement(loss=y.flatten(1).mean(1) * float('nan'))")))
    result = call("run", experiment('name = "faulty"'))
    assert result.exit_code == 1
    assert lines(result)["error"] == "the loss is not finite at step 4 of 6; the state before it is saved as step-3"
    assert entries("train") == [1, 2, 3]
    assert Path("runs/tiny/checkpoints/step-3").is_dir()


def test_a_metric_that_raises_in_the_middle_is_told_and_the_run_kept(
    install: Install, call: Idemlab, experiment: Experiment, lines: Lines, origin: str
) -> None:
    install(
        "faulty-one",
        """
        from idemlab import MetricSpec, hookimpl

        def broken():
            from idemlab import Metric

            class Broken(Metric):
                def __call__(self, orbit, batch):
                    raise IndexError("too far")

            return Broken()

        @hookimpl
        def provide_metrics():
            yield MetricSpec(name="broken", factory=broken, summary="Broken.")
        """,
    )
    result = call("run", experiment('name = "gradient"'), "--set", "evaluation.metrics=['broken']")
    assert result.exit_code == 1
    assert lines(result)["error"].startswith("the evaluation raised IndexError: too far, after 4 of 6 steps; ")
    assert lines(result)["where"].startswith(f"{origin} (faulty_one.py, line ")
    assert entries("train") == [1, 2, 3, 4]
    assert Path("runs/tiny/checkpoints/step-4").is_dir()
