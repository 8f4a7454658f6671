"""`profile`: the phases of a short run, and the estimate for the whole one."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

import idemlab
from idemlab import (
    BadInput,
    Batch,
    Enforcement,
    Enforcer,
    EnforcerSpec,
    Failure,
    Interrupted,
    Points,
    Source,
    SourceSpec,
    Step,
)
from idemlab.benchmarks import profiling
from idemlab.watching.watcher import Watcher

Tiny = Callable[..., dict[str, Any]]
LONG = {"steps": 100, "log_every": 10, "checkpoint_every": 25, "batch_size": 16}


@pytest.fixture
def without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write no report. Its pictures take seconds."""
    monkeypatch.setattr("idemlab.reports.page.write_report", lambda run: run)


class Heard(Watcher):
    """Keeps the events."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def started(self, *_: Any) -> None:
        self.events.append("started")

    def stepped(self, step: int) -> None:
        self.events.append(f"step {step}")

    def logged(self, step: int, values: Any) -> None:
        self.events.append(f"log {step}")

    def evaluated(self, step: int, evaluation: Any) -> None:
        self.events.append(f"evaluation {step}")


@pytest.mark.long
def test_a_profile_adds_up(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    heard = Heard()
    experiment = tiny(training=LONG, source={"name": "gaussian"}, evaluation__every=30)
    made = idemlab.profile(experiment, steps=6, watchers=[heard])
    assert "raised" not in capsys.readouterr().err, "a watcher was left out"
    assert heard.events == [
        *("started", "step 1", "step 2", "log 2", "evaluation 2", "step 3", "step 4", "log 4", "evaluation 4"),
        *("step 5", "step 6", "log 6", "evaluation 6"),
    ]
    phases = {phase.phase: phase for phase in made.phases}
    assert (made.steps, made.run_steps, len(made.evaluations)) == (6, 100, 3)
    assert sum(phase.share for phase in made.phases) == pytest.approx(1)
    assert made.run_seconds == pytest.approx(sum(phase.run_seconds for phase in made.phases))
    for name in ("data", "source", "forward", "backward", "optimiser", "between"):
        assert phases[name].milliseconds > 0, name
        assert phases[name].run_seconds == pytest.approx(phases[name].milliseconds / 1000 * 100)
    for name in ("imports", "preflight", "evaluation", "final evaluation", "log", "checkpoint", "report", "files"):
        assert phases[name].milliseconds is None
        assert phases[name].seconds > 0, name
    assert phases["log"].run_seconds == pytest.approx(phases["log"].seconds / 3 * 10)
    assert phases["checkpoint"].run_seconds == pytest.approx(phases["checkpoint"].seconds / 2 * 5)
    first, typical, last = made.evaluations
    assert phases["evaluation"].run_seconds == pytest.approx(first + 2 * typical)
    assert phases["final evaluation"].run_seconds == phases["final evaluation"].seconds == last
    plain = json.loads(json.dumps(made.as_dict()))
    assert plain["phases"][2]["phase"] == "data"
    assert plain["run_seconds"] == made.run_seconds
    assert len(made.table) == len(made.phases)
    assert "of 100 steps" in made.sentence


def test_a_profile_of_one_step_and_of_a_budget_in_flops(tiny: Tiny, without_report: None) -> None:
    made = idemlab.profile(tiny(training={"flops": 1e8, "batch_size": 16}), steps=1)
    assert made.run_steps > 1000
    assert made.steps == 1
    assert made.milliseconds > 0


@pytest.mark.parametrize(
    ("measured", "passing", "seconds"),
    [
        ((60, 5, 15), 10, (60 + 9 * 5, 15)),
        ((60, 5, 15), 1, (60, 15)),
        ((60, 5, 15), 0, (0, 15 + 55)),
        ((60, 15), 10, (60 * 10, 15)),
        ((60,), 0, (0, 60)),
        ((60,), 2, (120, 60)),
    ],
)
def test_evaluations_of_the_whole_run(measured: tuple[float, ...], passing: int, seconds: tuple[float, float]) -> None:
    assert profiling._all_evaluations(measured, passing) == seconds


@pytest.mark.parametrize(
    ("totals", "period", "seconds"),
    [
        ((50, 51, 52), 1, 1.0),
        ((50, 51, 52), 10, (50 + 9) / 10),
        ((90, 91, 141, 142, 192), 2, 102 / 4),
        ((50,), 10, 5.0),
    ],
)
def test_what_a_source_computes_now_and_then_counts(totals: tuple[float, ...], period: int, seconds: float) -> None:
    assert profiling._with_renewals(totals, period) == pytest.approx(seconds)


def test_a_slow_phase_is_found(tiny: Tiny, without_report: None) -> None:
    """The forward calls the source, but the phase `source` alone holds its time."""

    class Slow(Source):
        def sample(self, batch: Batch, step: Step, operator: Any) -> Points:
            time.sleep(0.02)
            return Points(step.normal(batch.input))

    def slow() -> Any:
        return Slow()

    catalog = idemlab.installed().including(SourceSpec(name="slow", factory=slow, summary="x"))
    made = idemlab.profile(tiny(source="slow"), steps=3, catalog=catalog)
    phases = {phase.phase: phase for phase in made.phases}
    assert phases["source"].milliseconds >= 20
    assert phases["forward"].milliseconds < 20


@pytest.mark.parametrize("steps", [0, -1, 1.5])
def test_impossible_steps_are_refused(steps: Any, tiny: Tiny) -> None:
    with pytest.raises(BadInput, match="steps cannot be"):
        idemlab.profile(tiny(), steps=steps)


def test_it_refuses_a_metric_that_the_run_would_refuse(tiny: Tiny) -> None:
    table = tiny()
    table["training"]["stop"] = "nothing"
    with pytest.raises(BadInput, match="no evaluation measures 'nothing'"):
        idemlab.profile(table, steps=1)


def test_several_processes_are_refused(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadInput, match="2 processes were launched"):
        idemlab.profile(tiny(), steps=1)


def test_errors_do_not_speak_of_the_temporary_folder(tiny: Tiny) -> None:
    class Raises(Enforcer):
        calls = 0

        def forward(self, orbit, step):
            Raises.calls += 1
            if Raises.calls > 2:
                raise RuntimeError("wrong")
            return Enforcement(loss=orbit.output.flatten(1).sum(1))

    def raises() -> Any:
        return Raises()

    catalog = idemlab.installed().including(EnforcerSpec(name="raises", factory=raises, summary="x"))
    with pytest.raises(Failure) as failed:
        idemlab.profile(tiny(enforcer="raises"), steps=4, catalog=catalog)
    assert failed.value.what == "the training step raised RuntimeError: wrong, after 1 of 4 steps"
    assert "run" not in str(failed.value.next_step)
    assert "tmp" not in str(failed.value)

    class Stops(Watcher):
        def stepped(self, step: int) -> None:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted) as stopped:
        idemlab.profile(tiny(), steps=2, watchers=[Stops()])
    assert stopped.value.lines() == [("", "stopped after step 1 of 2")]
