"""Where the time of a run goes: a short real run of an experiment, timed phase by phase."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import whole
from ..catalog.catalog import Catalog, or_installed
from ..experiment.experiment import Experiment
from ..experiment.resolution import resolve
from ..system.phases import Stopwatch
from ..watching.watcher import Watcher
from ..wording import counted, listed, number, percent, time_span
from .faults import without_files

if TYPE_CHECKING:
    from ..objective.preflight import Plan

__all__ = ["Phase", "Profile", "profile"]

_STEP = ("data", "source", "forward", "backward", "optimiser", "projection")
"""The phases of every step."""
_MEANING = {
    "imports": "torch, Accelerate and the training loop",
    "preflight": "data, model and one batch through everything",
    "data": "reading the samples of the batch, and moving them to the device",
    "source": "the points of the sources, and the corruption of the inputs",
    "forward": "the objective: operator and enforcer",
    "backward": "gradients",
    "optimiser": "clipping and the update",
    "projection": "weight projection, and what enforcers do after a step",
    "between": "everything else in a step",
    "log": "entries of metrics.jsonl",
    "checkpoint": "checkpoints",
    "evaluation": "certificates and metrics during training",
    "final evaluation": "the same at the end, with Jacobians",
    "files": "weights and certificate at the end, and what else the end takes",
    "report": "figures and page",
}


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One phase of a run.

    Args:
        phase: its name.
        what: what happens in it.
        seconds: measured in the short run.
        milliseconds: of a step, the first one left out; None for what does not happen at every step.
        run_seconds: estimate for the whole run.
        share: of the whole run.
    """

    phase: str
    what: str
    seconds: float
    milliseconds: float | None
    run_seconds: float
    share: float


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Where the time of a run goes.

    Args:
        experiment: name of the experiment.
        device: where it trained.
        threads: of the CPU.
        steps: of the short run.
        run_steps: of the whole run.
        evaluations: seconds of each evaluation of the short run; the first may train what all others use.
        phases: in the order of a run.
    """

    experiment: str
    device: str
    threads: int
    steps: int
    run_steps: int
    evaluations: tuple[float, ...]
    phases: tuple[Phase, ...]

    @property
    def seconds(self) -> float:
        """Seconds of the short run."""
        return sum(phase.seconds for phase in self.phases)

    @property
    def run_seconds(self) -> float:
        """Estimate for the whole run."""
        return sum(phase.run_seconds for phase in self.phases)

    @property
    def milliseconds(self) -> float:
        """Milliseconds of a step."""
        return sum(phase.milliseconds or 0.0 for phase in self.phases)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        totals = {"seconds": self.seconds, "run_seconds": self.run_seconds, "milliseconds": self.milliseconds}
        return asdict(self) | totals

    @property
    def table(self) -> list[list[str]]:
        """Rows of phase, ms a step, seconds measured, time in the whole run, share of it, and meaning."""
        return [
            [
                phase.phase,
                "" if phase.milliseconds is None else number(phase.milliseconds),
                number(phase.seconds),
                time_span(phase.run_seconds),
                percent(phase.share),
                phase.what,
            ]
            for phase in self.phases
        ]

    @property
    def sentence(self) -> str:
        """The result in a few words."""
        largest = sorted(self.phases, key=lambda phase: phase.share, reverse=True)[:3]
        named = listed([f"{phase.phase} ({percent(phase.share)})" for phase in largest])
        return (
            f"A step takes {number(self.milliseconds)} ms on {self.device}, "
            f"and the run of {counted(self.run_steps, 'step')} about {time_span(self.run_seconds)}. Most of it is {named}."
        )


def profile(
    experiment: Experiment | str | Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    steps: int = 30,
    watchers: Sequence[Watcher] = (),
    progress: bool = True,
    catalog: Catalog | None = None,
) -> Profile:
    """Train an experiment for a few steps in a temporary folder, and say where the time of the whole run goes.

    It is a real run, from the imports to the report, with two evaluations during training and the final one, but without
    trackers. The time of the whole run is estimated from the mean step (without the first one) and the numbers of steps,
    evaluations, checkpoints and log entries. On an accelerator each phase waits for the device, so steps are a little
    slower than in a run.

    Args:
        experiment: a resolved experiment, or what `resolve` takes.
        overrides: as `resolve` takes them.
        steps: of the short run.
        watchers: receive the events of the short run.
        progress: show the progress of the short run, as `train` does.
        catalog: defaults to the installed plugins.

    Raises:
        BadInput, Failure, Interrupted: as `train`.
    """
    steps = whole(steps, "steps")
    catalog = or_installed(catalog)
    entire = experiment if isinstance(experiment, Experiment) else resolve(experiment, overrides, catalog=catalog)
    began = time.perf_counter()
    from ..reports.page import write_report
    from ..training.loop import train
    from .alone import check_alone

    imported = time.perf_counter()
    check_alone()
    watch = Stopwatch()
    events = _Events(watch)
    with tempfile.TemporaryDirectory() as name, watch.running():
        folder = Path(name) / "run"
        with without_files(folder):
            run = train(_short(entire, steps), folder, watchers=[*watchers, events], progress=progress, catalog=catalog)
        trained = time.perf_counter()
        write_report(run)
    reported = time.perf_counter()
    outside = {
        "imports": imported - began,
        "preflight": events.began - imported,
        "files": trained - events.reached - (sum(watch.totals.values()) - sum(events.totals[-1].values())),
        "report": reported - trained,
    }
    return _profile(entire, events, watch, outside)


def _short(experiment: Experiment, steps: int) -> Experiment:
    """The same experiment with fewer steps: entries and evaluations after each third of them, where there are enough."""
    third = max(1, steps // 3)
    training = experiment.training
    # The rules that may end the run early are checked as in the run, but the short run reaches its end.
    stop = None if training.stop is None else training.stop.model_copy(update={"patience": steps + 1})
    length: dict[str, Any] = {"steps": steps, "epochs": None, "flops": None, "stop": stop, "stop_on_collapse": False}
    changed = length | {"log_every": third}
    return replace(
        experiment,
        trackers=(),
        training=training.model_copy(update=changed),
        evaluation=experiment.evaluation.model_copy(update={"every": third}),
    )


class _Events(Watcher):
    """Notes when training begins and when each step ends.

    Attributes:
        began, reached: when training began, and when the newest step ended.
        totals: seconds in each phase until the end of each step.
        between: seconds of each step that no phase has.
        plan: what the preflight computed.
    """

    plan: Plan

    def __init__(self, watch: Stopwatch) -> None:
        self._watch = watch
        self.began = self.reached = 0.0
        self.totals: list[dict[str, float]] = []
        self.between: list[float] = []

    def started(self, experiment: Experiment, plan: Plan, first_step: int) -> None:
        if plan.device.startswith("cuda"):
            import torch

            self._watch.wait = torch.cuda.synchronize
        self._watch.stretches.clear()  # the preflight takes steps, too
        self.plan = plan
        self.began = self.reached = time.perf_counter()

    def stepped(self, step: int) -> None:
        self._watch.wait()
        now, totals = time.perf_counter(), self._watch.totals
        before = self.totals[-1] if self.totals else {}
        self.between.append(now - self.reached - (sum(totals.values()) - sum(before.values())))
        self.totals.append(totals)
        self.reached = now


def _profile(entire: Experiment, events: _Events, watch: Stopwatch, outside: Mapping[str, float]) -> Profile:
    import torch

    from ..objective.length import planned_steps
    from ..training.schedule import Schedule

    plan, totals = events.plan, watch.totals | dict(outside) | {"between": sum(events.between)}
    run_steps = planned_steps(entire.training, plan.steps_per_epoch, plan.flops_per_step)
    due, dones = Schedule(entire, run_steps), range(1, run_steps + 1)
    each = _each_step(events)
    each["source"] = _with_renewals([step.get("source", 0.0) for step in events.totals], _period(entire))
    entries, saves = sum(map(due.logs, dones)), 1 + sum(map(due.saves, dones))
    evaluations = watch.stretches["evaluation"]
    totals |= {"evaluation": sum(evaluations[:-1]), "final evaluation": evaluations[-1]}
    passing, final = _all_evaluations(evaluations, sum(map(due.evaluates, dones)))
    estimates = {
        **outside,
        **{name: seconds * run_steps for name, seconds in each.items()},
        "log": totals["log"] / len(watch.stretches["log"]) * entries,
        "checkpoint": totals["checkpoint"] / len(watch.stretches["checkpoint"]) * saves,
        "evaluation": passing,
        "final evaluation": final,
    }
    phases = tuple(
        Phase(
            phase=name,
            what=what,
            seconds=totals.get(name, 0.0),
            milliseconds=1000 * each[name] if name in each else None,
            run_seconds=estimates[name],
            share=estimates[name] / sum(estimates.values()),
        )
        for name, what in _MEANING.items()
    )
    return Profile(
        experiment=entire.name,
        device=plan.device,
        threads=torch.get_num_threads(),
        steps=len(events.totals),
        run_steps=run_steps,
        evaluations=tuple(evaluations),
        phases=phases,
    )


def _each_step(events: _Events) -> dict[str, float]:
    """Mean seconds of a step in each phase, without the first step, in which everything warms up."""
    last = events.totals[-1]
    if len(events.totals) == 1:
        first, count, between = dict.fromkeys(last, 0.0), 1, events.between
    else:
        first, count, between = events.totals[0], len(events.totals) - 1, events.between[1:]
    seconds = {name: (last.get(name, 0.0) - first.get(name, 0.0)) / count for name in _STEP}
    return seconds | {"between": sum(between) / count}


def _period(experiment: Experiment) -> int:
    """Number of steps after which the sources compute again; 1 if they compute at every step."""
    from ..contracts.source import Source

    sources = [named.build_as(Source) for named in (*experiment.sources, experiment.corruption)]
    return max(source.period(experiment.training.batch_size) for source in sources)


def _with_renewals(totals: Sequence[float], period: int) -> float:
    """Mean seconds of a step in the sources, from their totals after each step.

    Sources with a period compute much in the first step of each. The very first step is left out where whole periods are
    measured after it.
    """
    after = len(totals) - 1
    whole = after // period * period
    if whole:
        return (totals[whole] - totals[0]) / whole
    others = (totals[-1] - totals[0]) / after if after else 0.0
    return (totals[0] + (period - 1) * others) / period


def _all_evaluations(measured: Sequence[float], passing: int) -> tuple[float, float]:
    """Seconds of (`passing` evaluations during training, the final one) of a run, from those of a short run.

    The first one may train what all others use, and the final one computes more Jacobians.
    """
    *before, last = measured
    first, typical = (before[0], min(before[1:] or before)) if before else (last, last)
    return (first + typical * (passing - 1), last) if passing else (0.0, last + first - typical)
