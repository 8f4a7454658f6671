"""Doing a sweep: trials on Optuna's storage, run here or by worker processes, kept whatever becomes of them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..catalog.catalog import Catalog, installed
from ..errors import BadInput, IdemlabError, nearest_match
from ..experiment import toml
from ..experiment.experiment import Experiment
from ..reports import style
from ..runs.summary import summarise
from ..system.lock import exclusive
from ..system.signals import stop_signals
from ..wording import number
from .folder import check_folder, check_same, content_of, is_kept, open_folder, place_of, read_plan
from .jobs import Job, Outcome, Task, work
from .ledger import Ledger, folder_of
from .pictures import sweep_figure
from .results import Results, Trial, read_table, write_table
from .samplers import Tried, known_points, propose
from .storage import HEARTBEAT, located, masked
from .sweep import Point, Sweep
from .workers import Workers

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["open_sweep", "results_of", "run_sweep"]

_STACK = 128
"""Trials that are trained as one program, at most."""
_CERTIFIED = ("relative", "absolute", "spread", "input_spread", "rank", "trace")
"""Figures that every evaluation gives at every inputs."""


def run_sweep(
    plan: Sweep,
    out: str | Path,
    *,
    resume: bool = False,
    retry: bool = False,
    jobs: int = 1,
    storage: str | None = None,
    say: Callable[[str], None] = lambda text: None,
    catalog: Catalog | None = None,
) -> Results:
    """Run every trial of a sweep and leave a folder with all runs, a table and figures.

    Trials that differ in nothing but seed and optimiser are trained as one batched program where their parts allow it.
    A trial that fails is kept with its error, and the others go on.

    Args:
        plan: what is tried.
        out: folder of the sweep; must not hold one unless `resume`.
        resume: go on with what is not done yet; more seeds and more trials than before are welcome.
        retry: run failed trials again.
        jobs: worker processes; 1 trains in this one.
        storage: URL of a data base, ``postgresql://USER@HOST/DATABASE``, whose sweep of the folder's name this process joins
            or begins: machines that make the same call share its trials, and each ends when all have ended. Default: a
            journal in the folder.
        say: told what is going on, a line at a time.

    Raises:
        BadInput: before any training, if any of the trials does not resolve, the metric is none, or the folder or the
            storage holds another sweep.
        Failure: if the storage cannot be reached.
        Interrupted: after Ctrl-C or SIGTERM; the sweep can be resumed.
    """
    if jobs < 1:
        raise BadInput(f"{jobs} worker processes", where="--jobs", expected="a number of 1 or more")
    own = installed() if catalog is None else catalog
    plan.check()
    points = known_points(plan)
    experiments = {point.key: plan.resolve(point, own) for point in points}
    probed = list(experiments.values()) or [plan.resolve(point, own) for point in plan.probes()]
    path = Path(out)
    storage = None if storage is None else located(storage)
    check_folder(plan, path, probed[0], storage, resume=resume)
    _check_optimizers(probed)
    _check_metric(plan, probed, own)

    place = place_of(path)

    def ledger() -> Ledger:
        every = probed[0].evaluation.every
        return Ledger(
            path, storage, place.name, key=place.key, goal=plan.goal, pruner=plan.pruner, every=every, make=True
        )

    shared = None if storage is None else ledger()  # before anything is written here: it may not be reached
    if shared is not None:
        check_same(shared.agreed(content_of(plan, probed[0])), plan, probed[0], f"storage '{masked(storage or '')}'")
        shared.grow(plan)
    with exclusive(path):
        open_folder(plan, path, probed[0], storage, place)
        run = _Running(
            plan, path, shared or ledger(), {point.key: point for point in points}, experiments, own, jobs, say
        )
        run.all(retry=retry)
    return open_sweep(path, storage=storage)


class _Running:
    """A sweep that this process runs, in a folder that it holds."""

    def __init__(
        self,
        plan: Sweep,
        path: Path,
        ledger: Ledger,
        points: dict[str, Point],
        experiments: dict[str, Experiment],
        catalog: Catalog,
        jobs: int,
        say: Callable[[str], None],
    ) -> None:
        self.plan, self.path, self.ledger, self.catalog, self.jobs, self.say = plan, path, ledger, catalog, jobs, say
        self.points, self.experiments = points, experiments
        self.total = plan.count * plan.seeds
        self.ended: set[str] = set()
        self.running: dict[int, FrozenTrial] = {}
        self.looked = -math.inf
        self.sizes: dict[str, int] = {}
        self.kinds: dict[str, str] = {}
        self.stackable: dict[str, bool] = {}

    def all(self, *, retry: bool) -> None:
        """Do what is not done yet, and write tables and a figure of all that is."""
        self._look(retry=retry)
        known = len(self.ended)
        self.say(f"trials: {self.total}" + (f", {known} of them done before" if known else ""))
        with stop_signals() as stopped, self.ledger.alive():
            try:
                for outcome in self._outcomes(stopped):
                    self._end(outcome)
            finally:
                self.ledger.release()
        _write_summaries(results_of(self.plan, self.path, self.ledger))

    # -- the work -----------------------------------------------------------------------------------------------------

    def _outcomes(self, stopped: Callable[[], bool]) -> Iterator[Outcome]:
        """What becomes of each trial, as soon as it is known."""
        if self.jobs > 1:
            with Workers(self.jobs, stopped, self.say) as workers:
                yield from workers.run(self._next_job, self._passing, self._others)
            return
        from ..errors import Interrupted

        while True:
            job = self._next_job(0)
            if job is not None:
                yield from work(job, self.catalog, stopped, self.say, self._passing)
            elif not self._others():
                return
            elif stopped():
                raise Interrupted("stopped; what has ended is kept", next_step="the same command with --resume")
            else:
                time.sleep(0.5)

    def _next_job(self, worker: int) -> Job | None:
        """Trials for a worker that has none; None if there are none now."""
        if self.ledger.shared and time.monotonic() > self.looked + HEARTBEAT:
            self._look()
        while waiting := self._waiting() or self._proposed():
            claimed = [trial for trial in self._together(waiting) if self.ledger.claim(trial, worker)]
            tasks = []
            for trial in claimed:
                self.running[trial.number] = trial
                try:
                    experiment = self._experiment(trial)
                except BadInput as error:  # a sampler chose what does not fit together
                    self._end(Outcome(trial.number, error.what))
                else:
                    tasks.append(Task(trial.number, str(self.path / folder_of(trial)), experiment))
            if tasks:
                return Job(tasks, watched=self.plan.pruner != "none")
        return None

    def _waiting(self) -> list[FrozenTrial]:
        from optuna.trial import TrialState

        trials = self.ledger.trials()
        return [trial for trial in trials if trial.state is TrialState.WAITING and self._is_wanted(trial)]

    def _is_wanted(self, trial: FrozenTrial) -> bool:
        """Whether a trial of the storage is among those of this plan, which may have fewer seeds than the one before."""
        if self.plan.sampler != "tpe":
            return trial.user_attrs["point"] in self.points
        return bool(trial.user_attrs["index"] < self.plan.count and trial.user_attrs["seed"] < self.plan.seeds)

    def _proposed(self) -> list[FrozenTrial]:
        """The next point that the sampler chooses, which from now on waits with all its seeds."""
        if self.plan.sampler != "tpe":
            return []
        tried = self._tried()
        index = max(tried, default=-1) + 1
        if index >= self.plan.count:
            return []
        values = propose(self.plan, index, [tried[i] for i in sorted(tried)])
        self.ledger.add(self.plan, [Point(values, seed, index) for seed in range(self.plan.seeds)], {})
        return self._waiting()

    def _tried(self) -> dict[int, Tried]:
        """Number of a point -> what is known of it."""
        rows: dict[int, dict[int, float]] = {}
        values: dict[int, dict[str, Any]] = {}
        for trial in self.ledger.trials():
            index, seed, row = (trial.user_attrs.get(key) for key in ("index", "seed", "row"))
            values.setdefault(index, trial.user_attrs["values"])  # type: ignore[arg-type]
            if row is not None and self._is_wanted(trial):
                goal = self.plan.goal
                complete = row["state"] == "complete"
                worth = goal.of_run(row["figures"], row["verdict"]) if complete else goal.worst
                rows.setdefault(index, {})[seed] = worth  # type: ignore[index,arg-type]
        return {
            index: Tried(own, self.plan.goal.of_point(list(done.values())) if len(done) == self.plan.seeds else None)
            for index, own in values.items()
            for done in [rows.get(index, {})]
        }

    def _experiment(self, trial: FrozenTrial) -> Experiment:
        key = trial.user_attrs["point"]
        if key not in self.experiments:
            attributes = trial.user_attrs
            point = Point(attributes["values"], attributes["seed"], attributes["index"])
            self.experiments[key] = self.plan.resolve(point, self.catalog)
        return self.experiments[key]

    def _together(self, waiting: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """The first of the trials, with those that can be trained as one program with it."""
        if self.plan.pruner != "none" or len(waiting) == 1:  # one that is given up would leave the others no faster
            return [waiting[0]]
        kind = self._kind(waiting[0])
        alike = [trial for trial in waiting if self._kind(trial) == kind]
        if len(alike) == 1:
            return alike
        if kind not in self.stackable:
            self.stackable[kind] = self._stackable(waiting[0])
        if not self.stackable[kind]:
            return [waiting[0]]
        # On a grid each worker has its share, and leaves as much to machines that it knows nothing of.
        shares = 1 if self.plan.sampler == "tpe" else self.jobs * (2 if self.ledger.shared else 1)
        return alike[: self.sizes.setdefault(kind, min(_STACK, math.ceil(len(alike) / shares)))]

    def _kind(self, trial: FrozenTrial) -> str:
        """What trials have in common that can be trained as one program: all but seed and optimiser."""
        key: str = trial.user_attrs["point"]
        if key not in self.kinds:
            try:
                table = self._experiment(trial).table()
            except BadInput:
                return key  # it will say so
            training = {name: value for name, value in table["training"].items() if name != "seed"}
            rest = {name: value for name, value in table.items() if name not in ("optimizer", "training", "summary")}
            self.kinds[key] = json.dumps([rest, training], sort_keys=True)
        return self.kinds[key]

    def _stackable(self, trial: FrozenTrial) -> bool:
        from ..training.stacked_loop import stackable

        try:
            return stackable(self._experiment(trial))
        except IdemlabError:
            return False  # it cannot even be built: each of its trials will say so, and the others go on

    # -- the ledger ---------------------------------------------------------------------------------------------------

    def _look(self, *, retry: bool = False) -> None:
        """See what has ended, and let each point wait again that nobody runs and of which there is no row."""
        self.ledger.bury()
        known = self.ledger.known(retry=retry)
        wanted = dict(self.points)
        if self.plan.sampler == "tpe":
            values: dict[int, dict[str, Any]] = {}
            for trial in self.ledger.trials():  # of two machines that chose at once, the first
                values.setdefault(trial.user_attrs["index"], trial.user_attrs["values"])
            chosen = [Point(values[i], seed, i) for i in sorted(values) for seed in range(self.plan.seeds)]
            wanted = {point.key: point for point in chosen if point.index is not None and point.index < self.plan.count}
        missing = [point for key, point in wanted.items() if key not in known]
        self.ledger.add(self.plan, missing, self.ledger.left_behind() if missing else {})
        self._count()
        self.looked = time.monotonic()

    def _count(self) -> None:
        trials = [trial for trial in self.ledger.trials() if self._is_wanted(trial)]
        alive = {trial.user_attrs["point"] for trial in trials if not trial.state.is_finished()}
        self.ended = {trial.user_attrs["point"] for trial in trials if "row" in trial.user_attrs} - alive

    def _others(self) -> bool:
        """Whether other machines are still at trials of this sweep: one of them may fail."""
        if not self.ledger.shared or len(self.ended) >= self.total:
            return False
        self._look()
        return len(self.ended) < self.total

    def _passing(self, trial: int, step: int, figures: Mapping[str, float], verdict: str) -> bool:
        return self.ledger.passing(trial, step, self.plan.goal.of_run(figures, verdict))

    def _end(self, outcome: Outcome) -> None:
        """Keep what became of a trial as a row in the storage; its folder keeps it as a run."""
        trial = self.running.pop(outcome.number)
        attributes = trial.user_attrs
        row = _row(outcome, attributes["values"], attributes["seed"], self.path / folder_of(trial))
        if self.ledger.shared:
            row["machine"] = self.ledger.owner["machine"]
        text = Point(attributes["values"], attributes["seed"]).text
        if not self.ledger.end(trial.number, row):
            self.say(f"{text}: another process has run it meanwhile; that one counts")
            return
        self.ended.add(attributes["point"])
        if self.ledger.shared:
            self._count()  # others have ended, too
        self.say(f"{len(self.ended)}/{self.total}  {text}: {_became(row)}")


def open_sweep(path: str | Path, *, storage: str | None = None) -> Results:
    """The results in a sweep's folder, finished or not; in a record's, which keeps no more of it, those of its table.

    Args:
        storage: URL of the data base, for a sweep that has one and needs a password; the folder does not keep it.

    Raises:
        BadInput: if the folder holds no sweep.
        Failure: if its data base cannot be reached.
    """
    folder = Path(path)
    plan, url, name = read_plan(folder)
    if storage is None and is_kept(folder):
        return kept_results(plan, folder)
    return results_of(plan, folder, Ledger(folder, storage or url, name))


def kept_results(plan: Sweep, folder: Path) -> Results:
    """The results that a record keeps."""
    trials = read_table(folder, plan.axes() if plan.sampler == "grid" else dict.fromkeys(plan.over, ()))
    return Results(tuple(trials), tuple(plan.over), folder, plan.goal, plan.sampler)


def results_of(plan: Sweep, folder: Path, ledger: Ledger) -> Results:
    latest: dict[str, Trial] = {}
    for frozen in ledger.trials():
        row = frozen.user_attrs.get("row")
        if row is not None:
            latest[frozen.user_attrs["point"]] = Trial(number=frozen.number, path=folder / folder_of(frozen), **row)
    trials = tuple(sorted(latest.values(), key=lambda trial: trial.number))
    return Results(trials, tuple(plan.over), folder, plan.goal, plan.sampler)


def _write_summaries(results: Results) -> None:
    """table.csv and table.parquet, one row a trial; spread.csv, one row a combination; sweep.png."""
    table = results.table
    write_table(results)
    mixed = {key: table[key].map(toml.toml_value) for key in results.keys if table[key].dtype == object}
    table.assign(**mixed).to_parquet(results.path / "table.parquet", index=False)
    results.spread().to_csv(results.path / "spread.csv", index=False)
    figure = sweep_figure(results)
    if figure is not None:
        style.save(style.png(figure), results.path / "sweep.png")


def _check_optimizers(experiments: Sequence[Experiment]) -> None:
    """What resolving does not see: whether there is such an optimiser, and whether it takes its arguments."""
    from torch import nn

    from ..objective.optimizers import build_optimizers

    different = {repr(experiment.optimizer): experiment.optimizer for experiment in experiments}
    for settings in different.values():
        build_optimizers(settings, list(nn.Linear(1, 1).parameters()))


def _check_metric(plan: Sweep, experiments: Sequence[Experiment], catalog: Catalog) -> None:
    """The metric is one that evaluations give. What plugins measure is known once it is measured: of the untrained operator,
    by one evaluation."""
    inputs, slash, figure = plan.metric.rpartition("/")
    every = [{"data", *experiment.inputs} for experiment in experiments]
    if figure in _CERTIFIED and (not slash or all(inputs in names for names in every)):
        return
    names = _measured(experiments[0])
    choices = sorted(names | {name.partition("/")[2] for name in names})
    if plan.metric not in choices:
        raise BadInput(
            f"no evaluation gives '{plan.metric}'",
            where="--metric",
            choices=choices,
            nearest=nearest_match(plan.metric, choices),
        )


def _measured(experiment: Experiment) -> set[str]:
    """Names of all that an evaluation measures."""
    import torch

    from ..experiment.blame import blame
    from ..objective.evaluation import evaluate
    from ..objective.parts import assemble

    parts = assemble(experiment)
    operator = parts.objective.operator.eval()

    found = blame(
        experiment,
        lambda: evaluate(experiment, parts, operator, torch.device("cpu"), rank_points=1),
        "the evaluation",
    )
    return set(found.flat())


# -- rows ---------------------------------------------------------------------------------------------------------------


def _row(outcome: Outcome, values: Mapping[str, Any], seed: int, folder: Path) -> dict[str, Any]:
    from ..runs.run import Run

    row: dict[str, Any] = {"values": values, "seed": seed, "error": outcome.error}
    state = "failed" if outcome.error else "pruned" if outcome.pruned else "complete"
    row |= {"state": state, "verdict": "", "figures": {}}
    row |= {"steps": None, "flops": None, "seconds": None}
    if (folder / "experiment.toml").is_file():
        summary = summarise(Run(folder))
        flat = {f"{inputs}/{name}": v for inputs, own in summary.figures.items() for name, v in own.items()}
        row |= {"verdict": summary.verdict or "", "figures": flat}
        row |= {"steps": summary.step, "flops": summary.flops, "seconds": summary.seconds}
    plain: dict[str, Any] = json.loads(json.dumps(row))
    return plain


def _became(row: Mapping[str, Any]) -> str:
    """What is said of a trial that has ended."""
    if row["error"]:
        return f"failed: {row['error']}"
    errors = [
        f"{key.partition('/')[0]} {number(value)}" for key, value in row["figures"].items() if key.endswith("/relative")
    ]
    became = f"given up at step {row['steps']}" if row["state"] == "pruned" else row["verdict"]
    return f"{became}; relative error at {', '.join(errors)}"
