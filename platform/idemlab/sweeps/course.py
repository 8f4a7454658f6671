"""The trials of a sweep while it runs: which comes next, and what became of it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..catalog.catalog import Catalog
from ..errors import BadInput, IdemlabError
from ..experiment.experiment import Experiment
from ..runs.run import Run
from ..runs.summary import summarise
from ..wording import number
from .jobs import Job, Outcome, Task
from .ledger import Ledger, folder_of
from .samplers import Tried, propose
from .storage import HEARTBEAT
from .sweep import Setting, Sweep

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["Course"]

_STACK = 128
"""Largest number of trials that are trained as one program."""


class Course:
    """One sweep that this process runs, in a folder that it has locked."""

    def __init__(
        self,
        sweep: Sweep,
        path: Path,
        ledger: Ledger,
        settings: dict[str, Setting],
        experiments: dict[str, Experiment],
        catalog: Catalog,
        say: Callable[[str], None],
        parts: Mapping[str, Any],
        label: str = "",
    ) -> None:
        self.sweep, self.path, self.ledger, self.catalog, self.say = sweep, path, ledger, catalog, say
        self.settings, self.experiments, self.parts, self.label = settings, experiments, parts, label
        self.total = sweep.count * sweep.seeds
        self.ended: set[str] = set()
        self.running: dict[int, FrozenTrial] = {}
        self.looked = -math.inf
        self.sizes: dict[str, int] = {}
        self.kinds: dict[str, str] = {}
        self.stackable: dict[str, bool] = {}

    @contextmanager
    def open(self, *, retry: bool) -> Iterator[Course]:
        """Find out which trials are not done yet; in the end, free those that were claimed and have not ended."""
        self._look(retry=retry)
        known = len(self.ended)
        self.say(f"trials: {self.total}" + (f", {known} of them done before" if known else ""))
        with self.ledger.alive():
            try:
                yield self
            finally:
                self.ledger.release()

    @property
    def left(self) -> int:
        """Number of trials that have not ended."""
        return self.total - len(self.ended)

    @property
    def over(self) -> bool:
        """Whether nothing is left to do, here or on other machines, as far as this process knows."""
        return not self.running and (not self.ledger.shared or self.left <= 0)

    # -- the work -----------------------------------------------------------------------------------------------------

    def next_job(self, worker: int, workers: int) -> Job | None:
        """The next trials for one of the workers, which is idle; None if no trial waits now."""
        if self.ledger.shared and time.monotonic() > self.looked + HEARTBEAT:
            self._look()
        while waiting := self._waiting() or self._proposed():
            claimed = [trial for trial in self._together(waiting, workers) if self.ledger.claim(trial, worker)]
            tasks = []
            for trial in claimed:
                self.running[trial.number] = trial
                try:
                    experiment = self._experiment(trial)
                except BadInput as error:  # a sampler chose values that do not fit together
                    self.end(Outcome(trial.number, error.what))
                else:
                    tasks.append(Task(trial.number, str(self.path / folder_of(trial)), experiment))
            if tasks:
                return Job(tasks, watched=self.sweep.pruner != "none", label=self.label)
        return None

    def _waiting(self) -> list[FrozenTrial]:
        from optuna.trial import TrialState

        trials = self.ledger.trials()
        return [trial for trial in trials if trial.state is TrialState.WAITING and self._is_wanted(trial)]

    def _is_wanted(self, trial: FrozenTrial) -> bool:
        """Whether this sweep has a trial of the storage: an earlier call may have asked for more seeds."""
        if self.sweep.sampler != "tpe":
            return trial.user_attrs["point"] in self.settings
        return bool(trial.user_attrs["index"] < self.sweep.count and trial.user_attrs["seed"] < self.sweep.seeds)

    def _proposed(self) -> list[FrozenTrial]:
        """Let the sampler choose the next setting, and add a waiting trial for each of its seeds."""
        if self.sweep.sampler != "tpe":
            return []
        tried = self._tried()
        index = max(tried, default=-1) + 1
        if index >= self.sweep.count:
            return []
        values = propose(self.sweep, index, [tried[i] for i in sorted(tried)])
        self.ledger.add(self.sweep, [Setting(values, seed, index) for seed in range(self.sweep.seeds)], {})
        return self._waiting()

    def _tried(self) -> dict[int, Tried]:
        """Number of a setting -> its values, and its value for the goal once all seeds are done."""
        rows: dict[int, dict[int, float]] = {}
        values: dict[int, dict[str, Any]] = {}
        for trial in self.ledger.trials():
            index, seed, row = (trial.user_attrs.get(key) for key in ("index", "seed", "row"))
            values.setdefault(index, trial.user_attrs["values"])  # type: ignore[arg-type]
            if row is not None and self._is_wanted(trial):
                goal = self.sweep.goal
                complete = row["state"] == "complete"
                worth = goal.of_run(row["figures"], row["verdict"]) if complete else goal.worst
                rows.setdefault(index, {})[seed] = worth  # type: ignore[index,arg-type]
        return {
            index: Tried(
                own, self.sweep.goal.of_setting(list(done.values())) if len(done) == self.sweep.seeds else None
            )
            for index, own in values.items()
            for done in [rows.get(index, {})]
        }

    def _experiment(self, trial: FrozenTrial) -> Experiment:
        key = trial.user_attrs["point"]
        if key not in self.experiments:
            attributes = trial.user_attrs
            setting = Setting(attributes["values"], attributes["seed"], attributes["index"])
            self.experiments[key] = self.sweep.resolve(setting, self.catalog, self.parts)
        return self.experiments[key]

    def _together(self, waiting: Sequence[FrozenTrial], workers: int) -> list[FrozenTrial]:
        """The first waiting trial, with those that can be trained as one program with it."""
        if self.sweep.pruner != "none" or len(waiting) == 1:  # pruning one of a program saves no time
            return [waiting[0]]
        kind = self._kind(waiting[0])
        alike = [trial for trial in waiting if self._kind(trial) == kind]
        if len(alike) == 1:
            return alike
        if kind not in self.stackable:
            self.stackable[kind] = self._stackable(waiting[0])
        if not self.stackable[kind]:
            return [waiting[0]]
        # On a grid, each worker takes its share and leaves as much again for other machines.
        shares = 1 if self.sweep.sampler == "tpe" else workers * (2 if self.ledger.shared else 1)
        return alike[: self.sizes.setdefault(kind, min(_STACK, math.ceil(len(alike) / shares)))]

    def _kind(self, trial: FrozenTrial) -> str:
        """Trials of one kind can be trained as one program: they differ in nothing but seed and optimiser."""
        key: str = trial.user_attrs["point"]
        if key not in self.kinds:
            try:
                table = self._experiment(trial).table()
            except BadInput:
                return key  # running it reports the error
            training = {name: value for name, value in table["training"].items() if name != "seed"}
            rest = {name: value for name, value in table.items() if name not in ("optimizer", "training", "summary")}
            self.kinds[key] = json.dumps([rest, training], sort_keys=True)
        return self.kinds[key]

    def _stackable(self, trial: FrozenTrial) -> bool:
        from ..training.stacked_loop import stackable

        try:
            return stackable(self._experiment(trial))
        except IdemlabError:
            return False  # it cannot be built: each of its trials reports that, and the others run

    # -- the ledger ---------------------------------------------------------------------------------------------------

    def _look(self, *, retry: bool = False) -> None:
        """Read the storage, and add a waiting trial for every setting that has no result and that nobody runs."""
        self.ledger.bury()
        known = self.ledger.known(retry=retry)
        wanted = dict(self.settings)
        if self.sweep.sampler == "tpe":
            values: dict[int, dict[str, Any]] = {}
            for trial in self.ledger.trials():  # if two machines chose at once, the first choice counts
                values.setdefault(trial.user_attrs["index"], trial.user_attrs["values"])
            chosen = [Setting(values[i], seed, i) for i in sorted(values) for seed in range(self.sweep.seeds)]
            wanted = {
                setting.key: setting
                for setting in chosen
                if setting.index is not None and setting.index < self.sweep.count
            }
        missing = [setting for key, setting in wanted.items() if key not in known]
        self.ledger.add(self.sweep, missing, self.ledger.left_behind() if missing else {})
        self._count()
        self.looked = time.monotonic()

    def _count(self) -> None:
        trials = [trial for trial in self.ledger.trials() if self._is_wanted(trial)]
        alive = {trial.user_attrs["point"] for trial in trials if not trial.state.is_finished()}
        self.ended = {trial.user_attrs["point"] for trial in trials if "row" in trial.user_attrs} - alive

    def others(self) -> bool:
        """Whether other machines still run trials of this sweep. One of them may die, so this process waits."""
        if not self.ledger.shared or len(self.ended) >= self.total:
            return False
        self._look()
        return len(self.ended) < self.total

    def passing(self, trial: int, step: int, metrics: Mapping[str, float], verdict: str) -> bool:
        return self.ledger.passing(trial, step, self.sweep.goal.of_run(metrics, verdict))

    def end(self, outcome: Outcome) -> None:
        """Store the result of a trial as a row; its folder keeps the run."""
        trial = self.running.pop(outcome.number)
        attributes = trial.user_attrs
        row = _row(outcome, attributes["values"], attributes["seed"], self.path / folder_of(trial))
        if self.ledger.shared:
            row["machine"] = self.ledger.owner["machine"]
        text = Setting(attributes["values"], attributes["seed"]).text
        if not self.ledger.end(trial.number, row):
            self.say(f"{text}: another process has finished it in the meantime; that result counts")
            return
        self.ended.add(attributes["point"])
        if self.ledger.shared:
            self._count()  # other machines have ended trials, too
        self.say(f"{len(self.ended)}/{self.total}  {text}: {_became(row)}")


def _row(outcome: Outcome, values: Mapping[str, Any], seed: int, folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"values": values, "seed": seed, "error": outcome.error}
    state = "failed" if outcome.error else "pruned" if outcome.pruned else "complete"
    row |= {"state": state, "verdict": "", "figures": {}}
    row |= {"steps": None, "flops": None, "seconds": None}
    if (folder / "experiment.toml").is_file():
        summary = summarise(Run(folder))
        flat = {f"{inputs}/{name}": v for inputs, own in summary.values.items() for name, v in own.items()}
        row |= {"verdict": summary.verdict or "", "figures": flat}
        row |= {"steps": summary.step, "flops": summary.flops, "seconds": summary.seconds}
    plain: dict[str, Any] = json.loads(json.dumps(row))
    return plain


def _became(row: Mapping[str, Any]) -> str:
    """The line that reports a finished trial."""
    if row["error"]:
        return f"failed: {row['error']}"
    errors = [
        f"{key.partition('/')[0]} {number(value)}" for key, value in row["figures"].items() if key.endswith("/relative")
    ]
    became = f"pruned at step {row['steps']}" if row["state"] == "pruned" else row["verdict"]
    return f"{became}; relative error at {', '.join(errors)}"
