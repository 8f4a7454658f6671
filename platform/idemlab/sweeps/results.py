"""The results of a sweep: one row for each trial, complete, failed or pruned."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..certificate.goal import Goal
from ..experiment.toml import toml_value

if TYPE_CHECKING:
    from pandas import DataFrame

    from ..catalog.catalog import Catalog
    from ..runs.run import Run

__all__ = ["Best", "Results", "Trial", "read_table", "write_table"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial of a sweep.

    Args:
        number: counted from 0 in the order in which trials were added.
        values: key of the experiment -> its value in this trial, for the keys that vary.
        seed: the run's seed.
        state: "complete", "failed", or "pruned": stopped at an evaluation, because others were better.
        error: why the trial failed; empty otherwise.
        verdict: the certificate's, for a complete trial; empty otherwise.
        metrics: ``inputs/metric`` -> value, as in `idemlab compare`; a pruned trial has those of its last evaluation.
        steps, flops, seconds: the cost of the trial; None where it is not known.
        path: the run folder, on the machine that ran the trial.
        machine: the machine that ran the trial, where several share the storage; otherwise empty.
        catalog: used to read its experiment; None for the installed plugins.
    """

    number: int
    values: dict[str, Any]
    seed: int
    state: str
    error: str
    verdict: str
    metrics: dict[str, float | None]
    steps: int | None
    flops: float | None
    seconds: float | None
    path: Path
    machine: str = ""
    catalog: Catalog | None = field(default=None, repr=False, compare=False)

    @property
    def run(self) -> Run:
        """The run folder, with the curves (`run.metrics`), the resolved experiment and the operator."""
        from ..runs.run import Run

        return Run(self.path, self.catalog)

    def row(self) -> dict[str, Any]:
        """As a flat table row."""
        own = {"seed": self.seed, "state": self.state, "verdict": self.verdict, "error": self.error}
        took = {"steps": self.steps, "flops": self.flops, "seconds": self.seconds}
        where = {"machine": self.machine} if self.machine else {}
        return {"trial": self.number} | self.values | own | self.metrics | took | where


_OWN = ("trial", "seed", "state", "verdict", "error", "steps", "flops", "seconds", "machine")
"""Columns of a table that hold neither a setting nor a metric."""
_NULL = "null"
"""Stands in a table for a measured value that is no number. A cell is empty where nothing was measured."""


def write_table(results: Results) -> None:
    """Write table.csv into the sweep's folder: one row per trial."""
    import pandas

    rows = [
        trial.row() | {name: _NULL for name, value in trial.metrics.items() if value is None}
        for trial in results.trials
    ]
    pandas.DataFrame(rows).to_csv(results.path / "table.csv", index=False)


def read_table(folder: Path, values: Mapping[str, Sequence[Any]]) -> list[Trial]:
    """The trials of a sweep as table.csv has them, which is all that a record keeps.

    Args:
        folder: the sweep's folder.
        values: the tried values of each key that varies; empty for a key whose values are not known.
    """
    import pandas

    table = pandas.read_csv(folder / "table.csv", keep_default_na=False, dtype=str)
    known = {key: {text: value for value in some for text in _texts(value)} for key, some in values.items()}
    return [_trial(row, folder, known) for row in table.to_dict("records")]


def _texts(value: Any) -> set[str]:
    """The ways in which pandas may have written a value: it writes 1 as 1.0 in a column of decimals."""
    return {str(value), str(float(value))} if type(value) is int else {str(value)}


def _trial(row: Mapping[str, str], folder: Path, known: Mapping[str, Mapping[str, Any]]) -> Trial:
    def value(key: str) -> Any:
        return known[key][row[key]] if row[key] in known[key] else _parsed(row[key])

    def took(name: str) -> float | None:
        return _parsed(row[name]) if row[name] else None

    number, steps = int(row["trial"]), took("steps")
    measured = {name: text for name, text in row.items() if name not in _OWN and name not in known and text}
    return Trial(
        number=number,
        values={key: value(key) for key in known},
        seed=int(row["seed"]),
        state=row["state"],
        error=row["error"],
        verdict=row["verdict"],
        metrics={name: None if text == _NULL else float(text) for name, text in measured.items()},
        steps=None if steps is None else int(steps),
        flops=took("flops"),
        seconds=took("seconds"),
        path=folder / "trials" / f"{number:04}",
        machine=row.get("machine", ""),
    )


def _parsed(text: str) -> Any:
    """A number, a boolean, a list or a table; otherwise the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


@dataclass(frozen=True)
class Best:
    """The best setting of a sweep.

    Args:
        values: its values of the keys that vary.
        value: its value for the goal, the median over the seeds.
        trials: its trials, one for each seed.
    """

    values: dict[str, Any]
    value: float
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class Results:
    """All trials of a sweep.

    Args:
        trials: ordered by number.
        keys: keys of the experiment that vary, without the seed.
        path: the sweep's folder.
        goal: how runs are compared.
        sampler: the sampler that chose the settings.
        damage: what is wrong with the journal of the sweep, a sentence for each damaged line.
    """

    trials: tuple[Trial, ...]
    keys: tuple[str, ...]
    path: Path
    goal: Goal = Goal()  # noqa: RUF009 (it is frozen)
    sampler: str = "grid"
    damage: tuple[str, ...] = ()

    @cached_property
    def table(self) -> DataFrame:
        """One row per trial: `trial`, the keys that vary, `seed`, `state`, `verdict`, `error`, all metrics, `steps`,
        `flops`, `seconds`."""
        import pandas

        return pandas.DataFrame([trial.row() for trial in self.trials])

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of everything measured, as ``inputs/metric``."""
        return tuple(dict.fromkeys(name for trial in self.trials for name in trial.metrics))

    def worth(self, trial: Trial) -> float:
        """The value of a trial for the goal; the worst for a trial that failed or was pruned."""
        return self.goal.of_run(trial.metrics, trial.verdict) if trial.state == "complete" else self.goal.worst

    @property
    def best(self) -> Best | None:
        """The setting with the best median over its seeds, the first of equal ones. None while all have failed or collapsed.
        A setting that has fewer seeds than another so far is not compared."""
        settings = list(self.settings.values())
        seeds = [len({trial.seed for trial in trials}) for trials in settings]
        best = None
        for trials in (trials for trials, count in zip(settings, seeds, strict=True) if count == max(seeds)):
            value = self.goal.of_setting([self.worth(trial) for trial in trials])
            if self.goal.better(value, self.goal.worst if best is None else best.value):
                best = Best(trials[0].values, value, tuple(trials))
        return best

    @property
    def settings(self) -> dict[str, list[Trial]]:
        """The trials of each setting. The key is its text, since a value may be a table, and True is not 1."""
        settings: dict[str, list[Trial]] = {}
        for trial in self.trials:
            settings.setdefault(toml_value([trial.values[key] for key in self.keys]), []).append(trial)
        return settings

    def _repr_html_(self) -> str:
        """What a notebook shows: the settings, the best first, and the run of the best."""
        from .card import results_html

        return results_html(self)

    def ranges(self, metrics: Sequence[str] | None = None) -> DataFrame:
        """One row per setting: its values, the numbers of trials, of failed and of pruned ones, the verdicts, and each
        metric's median, smallest and largest value over the seeds (columns ``NAME``, ``NAME min``, ``NAME max``). Pruned
        trials do not enter the medians, since their runs are unfinished."""
        import pandas

        names = list(self.metrics if metrics is None else metrics)
        table = self.table
        rows = []
        place = {trial.number: i for i, trial in enumerate(self.trials)}
        for own in self.settings.values():
            group = table.iloc[[place[trial.number] for trial in own]]
            row: dict[str, Any] = {key: own[0].values[key] for key in self.keys}
            row["trials"] = len(group)
            row |= {state: int((group["state"] == state).sum()) for state in ("failed", "pruned")}
            verdicts = group["verdict"][group["verdict"] != ""].value_counts(sort=False).items()
            row["verdicts"] = ", ".join(f"{count} {verdict}" for verdict, count in verdicts)
            for name in names:
                column = pandas.to_numeric(group[name])[group["state"] != "pruned"]
                row |= {name: column.median(), f"{name} min": column.min(), f"{name} max": column.max()}
            rows.append(row)
        return pandas.DataFrame(rows)
