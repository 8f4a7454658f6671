"""Doing a sweep: trials on Optuna's storage, run here or by worker processes, kept whatever becomes of them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from . import drawing, tables
from .catalog import Catalog, installed
from .certificate import Verdict
from .errors import BadInput, Failure, IdemlabError
from .experiment import Experiment
from .files import write_text
from .lock import exclusive
from .results import Results, Trial
from .signals import stop_signals
from .summary import number, summarise
from .sweep import Point, Sweep
from .sweep_figures import sweep_figure
from .trials import Job, Outcome, Task, work
from .workers import Workers

if TYPE_CHECKING:
    from optuna import Study
    from optuna import Trial as OptunaTrial
    from optuna.storages import JournalStorage
    from optuna.trial import FrozenTrial

    _AnyTrial = OptunaTrial | FrozenTrial

__all__ = ["open_sweep", "run_sweep"]

_STACK = 128
"""Trials that are trained as one program, at most."""


def run_sweep(
    plan: Sweep,
    out: str | Path,
    *,
    resume: bool = False,
    retry: bool = False,
    jobs: int = 1,
    say: Callable[[str], None] = lambda text: None,
    catalog: Catalog | None = None,
) -> Results:
    """Run every trial of a sweep and leave a folder with all runs, a table and figures.

    Trials that differ in nothing but seed and optimiser are trained as one batched program where their parts allow it.
    A trial that fails is kept with its error, and the others go on.

    Args:
        plan: what is tried.
        out: folder of the sweep; must not hold one unless `resume`.
        resume: go on with what is not done yet; more seeds than before are welcome.
        retry: run failed trials again.
        jobs: worker processes; 1 trains in this one.
        say: told what is going on, a line at a time.

    Raises:
        BadInput: before any training, if any of the trials does not resolve, or the folder holds another sweep.
        Interrupted: after Ctrl-C or SIGTERM; the sweep can be resumed.
    """
    if jobs < 1:
        raise BadInput(f"{jobs} worker processes", where="--jobs", expected="a number of 1 or more")
    own = installed() if catalog is None else catalog
    experiments = {point.key: (point, plan.resolve(point, own)) for point in plan.points()}
    path = Path(out)
    _check_optimizers([experiment for _, experiment in experiments.values()])
    _open_folder(plan, path, next(iter(experiments.values()))[1], resume=resume)
    with exclusive(path):
        _run(plan, path, experiments, own, retry=retry, jobs=jobs, say=say)
    return open_sweep(path)


def _run(
    plan: Sweep,
    path: Path,
    experiments: Mapping[str, tuple[Point, Experiment]],
    own: Catalog,
    *,
    retry: bool,
    jobs: int,
    say: Callable[[str], None],
) -> None:
    """Do what is not done yet, in a folder that this process holds."""
    _mend(path)
    study = _study(path)
    _enqueue(study, [point for point, _ in experiments.values()], _interrupted(study), retry=retry)
    trials = {trial.number: trial for trial in _claimed(study, plan)}
    tasks = [
        Task(number, str(path / _folder(trial)), experiments[trial.user_attrs["point"]][1])
        for number, trial in trials.items()
        if trial.user_attrs["point"] in experiments
    ]
    known = len(experiments) - len(tasks)
    say(f"trials: {len(experiments)}" + (f", {known} of them done before" if known else ""))
    with stop_signals() as stopped:
        for done, outcome in enumerate(_outcomes(tasks, own, jobs, stopped, say), known + 1):
            row = _tell(study, trials[outcome.number], path, outcome)
            say(f"{done}/{len(experiments)}  {trials[outcome.number].user_attrs['point']}: {_became(row)}")
    _write_summaries(open_sweep(path))


def open_sweep(path: str | Path) -> Results:
    """The results in a sweep's folder, finished or not.

    Raises:
        BadInput: if the folder holds no sweep.
    """
    folder = Path(path)
    if not _file(folder).is_file():
        raise BadInput(
            f"'{path}' holds no sweep", expected="a folder with sweep.toml", next_step="idemlab sweep --help"
        )
    keys = tuple(tables.read(_file(folder))["sweep"]["over"])
    latest: dict[str, Trial] = {}
    for frozen in _trials(folder):
        row = frozen.user_attrs.get("row")
        if row is not None:
            trial = Trial(number=frozen.number, path=folder / _folder(frozen), **row)
            latest[frozen.user_attrs["point"]] = trial
    return Results(tuple(sorted(latest.values(), key=lambda trial: trial.number)), keys, folder)


# -- the folder ---------------------------------------------------------------------------------------------------------


def _file(path: Path) -> Path:
    return path / "sweep.toml"


def _open_folder(plan: Sweep, path: Path, first: Experiment, *, resume: bool) -> None:
    """A new folder, or one that holds the same sweep."""
    content = {"sweep": plan.table(), "first": first.table()}
    text = "# What was tried, and the first trial, resolved: every other differs from it in the keys of `over`.\n"
    text += tomli_w.dumps(_plain(content))
    file = _file(path)
    if file.is_file():
        if not resume:
            raise BadInput(
                f"'{path}' holds a sweep already",
                next_step=f"choose another --out, or go on with --out {path} --resume",
            )
        before = tables.read(file)
        changed = tables.differing([tables.flat(_plain(content["first"])), tables.flat(before["first"])])
        if _plain(plan.table()["over"]) != before["sweep"]["over"]:
            changed.append("over")
        if changed:
            raise BadInput(
                f"the sweep differs from the one in '{path}': {', '.join(changed)}",
                expected="the same experiment and the same values; only --seeds may grow",
                next_step="resume it unchanged, or start a new one in another --out",
            )
    elif path.is_dir() and any(path.iterdir()):
        raise BadInput(
            f"'{path}' holds something else than a sweep",
            expected="a folder that is empty or not there yet",
            next_step="choose another --out",
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_text(file, text)
    except OSError as error:
        raise Failure(f"the folder '{path}' cannot be written: {error}", next_step="choose another --out") from error


def _plain(table: Any) -> Any:
    """Nested tables as they come back from a TOML file."""
    if isinstance(table, Mapping):
        return {key: _plain(value) for key, value in table.items() if value is not None}
    if isinstance(table, (list, tuple)):
        return [_plain(value) for value in table]
    return table


def _write_summaries(results: Results) -> None:
    """table.csv and table.parquet, one row a trial; spread.csv, one row a combination; sweep.png."""
    table = results.table
    table.to_csv(results.path / "table.csv", index=False)
    mixed = {key: table[key].map(tables.toml_value) for key in results.keys if table[key].dtype == object}
    table.assign(**mixed).to_parquet(results.path / "table.parquet", index=False)
    results.spread().to_csv(results.path / "spread.csv", index=False)
    if results.figures:
        drawing.save(drawing.png(sweep_figure(results)), results.path / "sweep.png")


def _check_optimizers(experiments: Sequence[Experiment]) -> None:
    """What resolving does not see: whether there is such an optimiser, and whether it takes its arguments."""
    from torch import nn

    from .assembly import build_optimizers

    different = {repr(experiment.optimizer): experiment.optimizer for experiment in experiments}
    for settings in different.values():
        build_optimizers(settings, list(nn.Linear(1, 1).parameters()))


# -- Optuna's storage -----------------------------------------------------------------------------------------------------


_JOURNAL = "journal.log"


def _mend(path: Path) -> None:
    """Cut off the entry that a process had begun to write when it was killed, or when the disk was full: what is appended
    to it cannot be read."""
    file = path / _JOURNAL
    if file.is_file():
        whole = file.read_bytes().rpartition(b"\n")
        if whole[2]:
            os.truncate(file, len(whole[0]) + len(whole[1]))


def _storage(path: Path) -> JournalStorage:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return JournalStorage(JournalFileBackend(str(path / _JOURNAL)))


def _study(path: Path) -> Study:
    """Optuna's study, made if it is not there yet."""
    import optuna

    return optuna.create_study(storage=_storage(path), study_name="sweep", load_if_exists=True, direction="minimize")


def _trials(path: Path) -> list[FrozenTrial]:
    """All that the storage knows. Nothing is written to it: it may be in use."""
    import optuna

    try:
        study = optuna.load_study(storage=_storage(path), study_name="sweep")
    except KeyError:  # stopped before the first trial was made
        return []
    return study.get_trials(deepcopy=False)


def _folder(trial: _AnyTrial) -> Path:
    """Where the run of a trial lies within the sweep's folder: where an interrupted one of the same point left it."""
    folder = trial.user_attrs.get("folder", f"{trial.number:04}")
    return Path("trials", Path(folder).name)  # a name and no path: the storage may be a stranger's


def _interrupted(study: Study) -> dict[str, str]:
    """Point -> folder of the trials that a process left running when it ended, which now count as ended."""
    from optuna.trial import TrialState

    left = {}
    for frozen in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        left[frozen.user_attrs["point"]] = _folder(frozen).name
        study.tell(frozen.number, state=TrialState.FAIL)
    return left


def _enqueue(study: Study, points: Sequence[Point], left: Mapping[str, str], *, retry: bool) -> None:
    """Every point that has no trial yet that waits or has ended."""
    from optuna.trial import TrialState

    known = set()
    for frozen in study.get_trials(deepcopy=False):
        row = frozen.user_attrs.get("row")
        if frozen.state is TrialState.WAITING or (row and not (retry and row["state"] == "failed")):
            known.add(frozen.user_attrs["point"])
    for point in points:
        if point.key not in known:
            attributes = {"point": point.key, "values": dict(point.values), "seed": point.seed}
            if point.key in left:
                attributes["folder"] = left[point.key]
            study.enqueue_trial(_parameters(point), user_attrs=attributes)


def _parameters(point: Point) -> dict[str, Any]:
    """A point as Optuna's samplers see it: what is no plain value as text."""
    values = {k: v if isinstance(v, (bool, int, float, str)) else tables.toml_value(v) for k, v in point.values.items()}
    return values | {"seed": point.seed}


def _claimed(study: Study, plan: Sweep) -> Iterator[OptunaTrial]:
    """Every waiting trial, which from now on is running."""
    from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
    from optuna.trial import TrialState

    space: dict[str, BaseDistribution] = {
        key: CategoricalDistribution([_parameters(Point({key: value}, 0))[key] for value in values])
        for key, values in plan.axes().items()
    }
    space["seed"] = IntDistribution(0, 2**31)
    while study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        yield study.ask(space)


def _tell(study: Study, trial: OptunaTrial, path: Path, outcome: Outcome) -> dict[str, Any]:
    """Keep what became of a trial as a row in the storage; its folder keeps it as a run."""
    from optuna.trial import TrialState

    row = _row(outcome, trial.user_attrs["values"], trial.user_attrs["seed"], path / _folder(trial))
    trial.set_user_attr("row", row)
    if outcome.error:
        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, _value(row))
    return row


def _value(row: Mapping[str, Any]) -> float:
    """What a sampler minimises: the largest relative error at any inputs; a collapsed operator counts as 1 at least."""
    relative = [value for key, value in row["figures"].items() if key.endswith("/relative")]
    worst = max((math.inf if v is None or math.isnan(v) else v for v in relative), default=math.inf)
    return max(worst, 1.0) if row["verdict"] in (Verdict.CONSTANT, Verdict.IDENTITY) else worst


def _row(outcome: Outcome, values: Mapping[str, Any], seed: int, folder: Path) -> dict[str, Any]:
    from .run import Run

    row: dict[str, Any] = {"values": values, "seed": seed, "error": outcome.error}
    row |= {"state": "failed" if outcome.error else "complete", "verdict": "", "figures": {}}
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
    return f"{row['verdict']}; relative error at {', '.join(errors)}"


# -- the work -------------------------------------------------------------------------------------------------------------


def _outcomes(
    tasks: Sequence[Task],
    catalog: Catalog,
    jobs: int,
    stopped: Callable[[], bool],
    say: Callable[[str], None],
) -> Iterator[Outcome]:
    """What becomes of each task, as soon as it is known."""
    grouped = list(_grouped(tasks, catalog, jobs))
    if jobs == 1:
        for job in grouped:
            yield from work(job, catalog, stopped, say)
        return
    with Workers(jobs, stopped, say) as workers:
        yield from workers.run(grouped)


def _grouped(tasks: Sequence[Task], catalog: Catalog, jobs: int) -> Iterator[Job]:
    """Tasks that can be trained as one program together, the others alone."""
    from .stacked_training import stackable

    groups: dict[str, list[Task]] = {}
    for task in tasks:
        table = task.experiment.table()
        training = {key: value for key, value in table["training"].items() if key != "seed"}
        rest = {key: value for key, value in table.items() if key not in ("optimizer", "training", "summary")}
        groups.setdefault(json.dumps([rest, training], sort_keys=True), []).append(task)
    for group in groups.values():
        size = 1
        try:
            if len(group) > 1 and stackable(group[0].experiment, catalog):
                size = min(_STACK, math.ceil(len(group) / jobs))
        except IdemlabError:
            pass  # it cannot even be built: each of its trials will say so, and the others go on
        for start in range(0, len(group), size):
            yield Job(group[start : start + size])
