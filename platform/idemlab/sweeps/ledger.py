"""The trials of a sweep in Optuna's storage: waiting, running and ended."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..certificate.goal import Goal
from ..errors import BadInput, Failure, nearest_match
from ..experiment import toml
from ..wording import AGAIN
from . import journal, privates, storage
from .sweep import Setting, Sweep
from .values import Range

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.trial import FrozenTrial

Direction = Literal["maximize", "minimize"]

__all__ = ["Ledger", "folder_of"]

_HUGE = 1e300
"""Stands in for infinity, of which Optuna takes no median."""


def folder_of(trial: FrozenTrial) -> Path:
    """Folder of a trial's run, within the sweep's. A trial that repeats an interrupted one uses its folder."""
    folder = trial.user_attrs.get("folder", f"{trial.number:04}")
    return Path("trials", Path(folder).name)  # a name, not a path: the storage may not be trusted


class Ledger:
    """The trials of one sweep, as Optuna keeps them.

    A trial is one run: a setting with one seed. It waits, one process claims it, and it ends with a row of results. A trial
    that ended without a row was cut short, and its setting runs again.

    Args:
        path: the sweep's folder.
        url: URL of the database; None for the journal in the folder.
        name: name of the sweep in the database; None if it holds only one.
        key: identifies this folder in the database; default: its path.
        goal: how runs are compared.
        pruner: as in `Sweep`.
        every: steps between evaluations.
        make: create a missing storage or sweep; otherwise nothing is written.
        growing: another process may be writing to the journal.
        say: called with each sentence about a journal that is mended.

    Attributes:
        damage: what is wrong with a journal that is only read.

    Raises:
        BadInput: if there is no such storage, or no such sweep in it.
        Failure: if it cannot be reached.
    """

    def __init__(
        self,
        path: Path,
        url: str | None = None,
        name: str | None = "sweep",
        *,
        key: str = "",
        goal: Goal | None = None,
        pruner: str = "none",
        every: int = 1,
        make: bool = False,
        growing: bool = False,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.shared = url is not None
        name = name if self.shared else journal.STUDY
        self.owner = {"machine": socket.gethostname(), "folder": key or str(path.resolve()), "process": os.getpid()}
        self._goal = goal or Goal()
        self._claimed: dict[int, int] = {}
        self.damage: tuple[str, ...] = ()
        if url is not None:
            self._storage = storage.data_base(url, make=make)
        elif make:
            for fault in journal.mend(path / journal.JOURNAL, maximize=self._goal.maximize):
                say(fault)
            self._storage = journal.writing(path / journal.JOURNAL)
        else:
            found = journal.read(path / journal.JOURNAL, maximize=self._goal.maximize, growing=growing)
            self.damage = found.damage
            self._storage = journal.reading(found)
        direction: Direction = "maximize" if self._goal.maximize else "minimize"
        with self.reaching():
            if make:
                optuna.create_study(storage=self._storage, study_name=name, load_if_exists=True, direction=direction)
            names = [summary.study_name for summary in optuna.get_all_study_summaries(self._storage, False)]
            if name is None and len(names) == 1:
                name = names[0]
            self._there = name in names
            if self._there:
                self._study = optuna.load_study(storage=self._storage, study_name=name, pruner=_pruner(pruner, every))
            elif self.shared:
                raise BadInput(
                    f"there is no sweep '{name}' in that database" if name else f"it holds {len(names)} sweeps",
                    where=storage.masked(url or ""),
                    expected=None
                    if name
                    else "`name`: the name of one of these sweeps, which is the name of its folder",
                    choices=names,
                    nearest=nearest_match(name or "", names),
                )

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """Turn errors of the storage into a `Failure` with their cause.

        Raises:
            Failure: if the storage cannot be reached or written.
        """
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (StorageInternalError, SQLAlchemyError) as error:
            raise Failure(
                f"the storage failed: {storage.cause(error)}",
                next_step=f"once it is back, {AGAIN}",
            ) from None

    def trials(self) -> list[FrozenTrial]:
        """All trials by number, without stand-ins for trials that a damaged journal lost. Writes nothing."""
        if not self._there:  # stopped before the first trial was made
            return []
        with self.reaching():
            return [trial for trial in self._study.get_trials(deepcopy=False) if "point" in trial.user_attrs]

    def agreed(self, content: Mapping[str, Any]) -> Mapping[str, Any]:
        """The content of sweep.toml that the first process of this sweep stored; `content` if this process is the first."""

        def write() -> None:
            if "sweep" not in self._study.user_attrs:
                self._study.set_user_attr("sweep", dict(content))

        with self.reaching():
            storage.insisting(write)
            agreed: Mapping[str, Any] = self._study.user_attrs["sweep"]
        return agreed

    def grow(self, sweep: Sweep) -> None:
        """Raise the stored numbers of seeds and trials to those of this sweep."""
        agreed: dict[str, Any] = self._study.user_attrs["sweep"]
        more = {
            key: number
            for key, number in (("seeds", sweep.seeds), ("trials", sweep.trials))
            if number is not None and number > agreed["sweep"].get(key, 0)
        }
        if more:
            with self.reaching():
                self._study.set_user_attr("sweep", agreed | {"sweep": agreed["sweep"] | more})

    @property
    def begun(self) -> Mapping[str, Any] | None:
        """The stored content of sweep.toml, or None before the sweep began."""
        return self._study.user_attrs.get("sweep") if self._there else None

    # -- making trials ------------------------------------------------------------------------------------------------

    def add(self, sweep: Sweep, settings: Iterable[Setting], folders: Mapping[str, str]) -> None:
        """Add a waiting trial for each setting.

        Args:
            folders: key of a setting -> the folder of an unfinished earlier trial.
        """
        from optuna.trial import TrialState, create_trial

        space = _space(sweep)
        with self.reaching():
            for setting in settings:
                attributes = {"point": setting.key, "values": dict(setting.values), "seed": setting.seed}
                if setting.index is not None:
                    attributes["index"] = setting.index
                if setting.key in folders:
                    attributes["folder"] = folders[setting.key]
                self._study.add_trial(
                    create_trial(
                        state=TrialState.WAITING,
                        params={key: _shown(value) for key, value in setting.values.items()} | {"seed": setting.seed},
                        distributions=space,
                        user_attrs=attributes,
                    )
                )

    def known(self, *, retry: bool = False) -> set[str]:
        """Keys of the settings that need no further trial, since one waits, runs or has ended with a row.

        Args:
            retry: count failed trials as missing.
        """
        known = set()
        for trial in self.trials():
            row = trial.user_attrs.get("row")
            if not trial.state.is_finished() or (row and not (retry and row["state"] == "failed")):
                known.add(trial.user_attrs["point"])
        return known

    def left_behind(self) -> dict[str, str]:
        """Key of a setting -> folder of its unfinished trial in this sweep's folder."""
        return {
            trial.user_attrs["point"]: folder_of(trial).name
            for trial in self.trials()
            if trial.state.is_finished() and "row" not in trial.user_attrs and self._is_own(trial)
        }

    def _is_own(self, trial: FrozenTrial) -> bool:
        """Whether a process with this folder ran the trial, which is always so in a journal."""
        by = trial.user_attrs.get("by", {})
        return not self.shared or all(by.get(key) == self.owner[key] for key in ("machine", "folder"))

    # -- running them -------------------------------------------------------------------------------------------------

    def claim(self, trial: FrozenTrial, worker: int) -> bool:
        """Take a waiting trial. Returns True to one process only, and for one trial of each setting."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        identity = privates.identity(trial)
        with self.reaching():
            self._beat(identity)  # before it runs: Optuna never frees a trial that has no heartbeat
            try:
                if not self._storage.set_trial_state_values(identity, state=TrialState.RUNNING):
                    return False
            except UpdateFinishedTrialError:
                return False
            if self.shared and self._has_elder(trial):
                self._storage.set_trial_state_values(identity, state=TrialState.FAIL)
                return False
            self._claimed[trial.number] = identity  # from here on `release` frees it, whatever happens
            self._storage.set_trial_user_attr(identity, "by", self.owner | {"worker": worker})
        return True

    def _has_elder(self, trial: FrozenTrial) -> bool:
        """Whether an earlier trial takes the place of this one: it has the same setting and is alive or done, or it has the
        same number with other values. Two machines may have made one each at once, and all seeds of a setting must have
        the same values. Trials are numbered one by one, so that the later one always sees the earlier."""
        own, trials = trial.user_attrs, self.trials()
        if "index" in own:
            first = next(other for other in trials if other.user_attrs["index"] == own["index"])
            if first.user_attrs["values"] != own["values"]:
                return True
        return any(
            other.number < trial.number and (not other.state.is_finished() or "row" in other.user_attrs)
            for other in trials
            if other.user_attrs["point"] == own["point"]
        )

    def passing(self, number: int, step: int, value: float) -> bool:
        """Store the value of a running trial at a step; returns whether to prune the trial."""
        from optuna.exceptions import UpdateFinishedTrialError

        identity = self._claimed[number]
        with self.reaching():
            try:
                self._storage.set_trial_intermediate_value(identity, step, max(-_HUGE, min(_HUGE, value)))
            except UpdateFinishedTrialError:
                return False  # another process took the trial over: its result will count
            return self._study.pruner.prune(self._study, self._storage.get_trial(identity))

    def end(self, number: int, row: Mapping[str, Any]) -> bool:
        """Store the row of a finished trial; False if another process took the trial over, whose row then counts."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        states = {"complete": TrialState.COMPLETE, "failed": TrialState.FAIL, "pruned": TrialState.PRUNED}
        state = states[row["state"]]
        values = [self._goal.of_run(row["figures"], row["verdict"])] if state is TrialState.COMPLETE else None
        identity = self._claimed.pop(number)
        with self.reaching():
            try:
                self._storage.set_trial_user_attr(identity, "row", dict(row))
                self._storage.set_trial_state_values(identity, state, values)
            except UpdateFinishedTrialError:
                return False
        return True

    def release(self) -> None:
        """Free the trials that this process claimed and did not finish."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        with self.reaching():
            for number in list(self._claimed):
                try:
                    self._storage.set_trial_state_values(self._claimed.pop(number), state=TrialState.FAIL)
                except UpdateFinishedTrialError:
                    continue

    def bury(self) -> None:
        """End, without a row, the trials that nobody runs any more: those of an earlier process with this folder and, in a
        shared storage, those without a recent heartbeat."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.storages import fail_stale_trials
        from optuna.trial import TrialState

        with self.reaching():
            for trial in self.trials():
                if trial.state is TrialState.RUNNING and trial.number not in self._claimed and self._is_own(trial):
                    try:
                        self._storage.set_trial_state_values(privates.identity(trial), state=TrialState.FAIL)
                    except UpdateFinishedTrialError:
                        continue  # another machine was first
        if self.shared:
            with self.reaching(), storage.quiet():
                fail_stale_trials(self._study)

    def stale(self) -> set[int]:
        """Numbers of running trials without a recent heartbeat; none in a journal, which has no heartbeats."""
        if not (self.shared and self._there):
            return set()
        with self.reaching():
            found = privates.stale(self._storage, self._study)
            return {self._storage.get_trial(identity).number for identity in found}

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Send heartbeats for the claimed trials while the block runs."""
        if not self.shared:
            yield
            return
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(storage.HEARTBEAT):
                for identity in list(self._claimed.values()):
                    try:
                        self._beat(identity)
                    except (
                        Exception
                    ):  # the next beat may come through; the caller reports a lasting fault with the trial
                        break

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _beat(self, identity: int) -> None:
        if self.shared:
            privates.record_heartbeat(self._storage, identity)


def _shown(value: Any) -> Any:
    """A value for Optuna's own tools: lists and tables become text."""
    return value if isinstance(value, (bool, int, float, str)) else toml.toml_value(value)


def _space(sweep: Sweep) -> dict[str, BaseDistribution]:
    """The search space for Optuna's own tools."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    chosen: dict[str, Range | list[Any]] = {**(sweep.axes() if sweep.sampler == "grid" else sweep.space())}
    space: dict[str, BaseDistribution] = {
        key: values.distribution() if isinstance(values, Range) else CategoricalDistribution(list(map(_shown, values)))
        for key, values in chosen.items()
    }
    return space | {"seed": IntDistribution(0, 2**31)}


def _pruner(name: str, every: int) -> BasePruner:
    from optuna.pruners import MedianPruner, NopPruner, SuccessiveHalvingPruner

    if name == "median":
        return MedianPruner()
    return SuccessiveHalvingPruner(min_resource=every) if name == "halving" else NopPruner()
