"""The progress of a sweep: finished and running trials, the best setting so far, the time left. Read-only."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ..errors import BadInput
from ..system.files import as_path
from ..system.lock import held_by
from .folder import is_kept, read_sweep, sweep_of
from .ledger import Ledger
from .reading import kept_results, results_of
from .results import Best, Results
from .storage import masked
from .sweep import Setting

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["Running", "Status", "sweep_status"]


@dataclass(frozen=True)
class Running:
    """A trial that a process has claimed.

    Args:
        trial: its number.
        setting: values and seed, as text.
        state: "running"; or, if its process is gone, "interrupted" (resuming the sweep continues the trial) or "no sign of
            life" (another machine will run the trial again).
        machine: machine of the process; empty where it is not known.
        worker: number of the worker process, from 0.
        seconds: time since the process claimed it.
        step: step of the last evaluation that a pruner has seen; None without one.
    """

    trial: int
    setting: str
    state: str
    machine: str
    worker: int
    seconds: float
    step: int | None


@dataclass(frozen=True)
class Status:
    """The progress of a sweep.

    Args:
        sweep: its folder, or its database.
        total: number of trials that the sweep will have.
        counts: number of complete, failed, pruned, running and waiting trials. Trials that a sampler has not chosen yet
            count as waiting.
        running: the trials that a process has claimed.
        best: the best setting among those that have ended.
        results: all trials that have ended.
        held_by: the process that runs a sweep without a database; None if no process runs it.
        seconds_left: an estimate from the time per trial so far and the present workers; None if it is not known.
    """

    sweep: str
    total: int
    counts: dict[str, int]
    running: tuple[Running, ...]
    best: Best | None
    results: Results
    held_by: str | None
    seconds_left: float | None


def sweep_status(sweep: str | Path, *, name: str | None = None) -> Status:
    """The progress of a sweep, without disturbing it.

    Args:
        sweep: its folder, or the URL of the database that holds it.
        name: which sweep, if a database holds several.

    Raises:
        BadInput: if there is no such sweep.
        Failure: if the database cannot be reached.
    """
    held, kept = None, False
    if "://" in str(sweep):
        where, folder = masked(str(sweep)), Path()
        ledger = Ledger(folder, str(sweep), name)
        if ledger.begun is None:
            raise BadInput(
                "this study was not made by an idemlab sweep", where=where, next_step="idemlab sweep starts one"
            )
        tried = sweep_of(ledger.begun)
    else:
        where, folder = str(sweep), as_path(sweep, "sweep")
        if name is not None:
            raise BadInput(
                f"'{where}' is a folder, which holds one sweep",
                where="name",
                next_step="leave `name` out, or give the URL of a database",
            )
        tried, url, own = read_sweep(folder)
        held, kept = held_by(folder), is_kept(folder)
        ledger = Ledger(folder, url, own, goal=tried.goal, growing=held is not None)
    results = kept_results(tried, folder) if kept else results_of(tried, folder, ledger)
    running = tuple(_running(ledger, held))
    ended = Counter(trial.state for trial in results.trials)
    total = tried.count * tried.seeds
    busy = [each for each in running if each.state == "running"]
    counts = {state: ended[state] for state in ("complete", "failed", "pruned")}
    counts |= {"running": len(busy)}
    counts |= {"waiting": max(0, total - sum(counts.values()))}
    left = _seconds_left(results, counts, busy)
    return Status(where, total, counts, running, results.best, results, held, left)


def _running(ledger: Ledger, held: str | None) -> list[Running]:
    from optuna.trial import TrialState

    claimed = [t for t in ledger.trials() if t.state is TrialState.RUNNING and "row" not in t.user_attrs]
    stale = ledger.stale()
    found = []
    for trial in claimed:
        by: dict[str, Any] = trial.user_attrs.get("by", {})
        dead = "no sign of life" if trial.number in stale else "interrupted" if not (ledger.shared or held) else ""
        found.append(
            Running(
                trial.number,
                Setting(trial.user_attrs["values"], trial.user_attrs["seed"]).text,
                dead or "running",
                by.get("machine", ""),
                by.get("worker", 0),
                _age(trial),
                trial.last_step,
            )
        )
    return found


def _age(trial: FrozenTrial) -> float:
    start = trial.datetime_start
    return 0.0 if start is None else max(0.0, (datetime.now(start.tzinfo) - start).total_seconds())


def _seconds_left(results: Results, counts: dict[str, int], busy: list[Running]) -> float | None:
    """Estimate the time left: every open trial takes the mean time of the finished ones, less the time that workers have
    already spent. A worker may train several trials as one program, whose time they share."""
    took = [trial.seconds for trial in results.trials if trial.seconds is not None]
    workers = {(each.machine, each.worker): each.seconds for each in busy}
    to_do = counts["running"] + counts["waiting"]
    if not to_do:
        return 0.0
    if not took or not workers:
        return None
    return max(0.0, fmean(took) * to_do - sum(workers.values())) / len(workers)
