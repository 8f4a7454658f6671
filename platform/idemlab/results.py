"""The results of a sweep: one row a trial, whatever became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .tables import toml_value

if TYPE_CHECKING:
    from pandas import DataFrame

    from .run import Run

__all__ = ["Results", "Trial"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial of a sweep.

    Args:
        number: in the order in which trials were made.
        values: key of the experiment -> its value in this trial, for the keys that vary.
        seed: of the run.
        state: "complete" or "failed".
        error: why it failed; empty otherwise.
        verdict: of a complete trial; empty otherwise.
        figures: ``inputs/figure`` -> value, as in `idemlab compare`.
        steps, flops, seconds: what it took; None for what is not known.
        path: of the run folder.
    """

    number: int
    values: dict[str, Any]
    seed: int
    state: str
    error: str
    verdict: str
    figures: dict[str, float | None]
    steps: int | None
    flops: float | None
    seconds: float | None
    path: Path

    @property
    def run(self) -> Run:
        """The run folder, with the curves (`run.metrics`), the resolved experiment and the operator."""
        from .run import Run

        return Run(self.path)

    def row(self) -> dict[str, Any]:
        """As a flat table row."""
        own = {"seed": self.seed, "state": self.state, "verdict": self.verdict, "error": self.error}
        took = {"steps": self.steps, "flops": self.flops, "seconds": self.seconds}
        return {"trial": self.number} | self.values | own | self.figures | took


@dataclass(frozen=True)
class Results:
    """All trials of a sweep.

    Args:
        trials: by number.
        keys: of the experiment that vary, without the seed.
        path: of the sweep's folder.
    """

    trials: tuple[Trial, ...]
    keys: tuple[str, ...]
    path: Path

    @cached_property
    def table(self) -> DataFrame:
        """One row a trial: `trial`, the keys that vary, `seed`, `state`, `verdict`, `error`, all figures, `steps`, `flops`,
        `seconds`."""
        import pandas

        return pandas.DataFrame([trial.row() for trial in self.trials])

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of everything measured, as ``inputs/figure``."""
        return tuple(dict.fromkeys(name for trial in self.trials for name in trial.figures))

    def spread(self, figures: Sequence[str] | None = None) -> DataFrame:
        """Over the seeds of each combination of values: how many trials, how many failed, the verdicts, and of each figure
        the median, the smallest and the largest value (columns ``figure``, ``figure min``, ``figure max``)."""
        import pandas

        names = list(self.figures if figures is None else figures)
        table = self.table
        combinations: dict[str, list[int]] = {}  # by their text, as a value may be a table, and True is not 1
        for i, trial in enumerate(self.trials):
            combinations.setdefault(toml_value([trial.values[key] for key in self.keys]), []).append(i)
        rows = []
        for own in combinations.values():
            group = table.iloc[own]
            row: dict[str, Any] = {key: self.trials[own[0]].values[key] for key in self.keys}
            row["trials"], row["failed"] = len(group), int((group["state"] == "failed").sum())
            verdicts = group["verdict"][group["verdict"] != ""].value_counts(sort=False).items()
            row["verdicts"] = ", ".join(f"{count} {verdict}" for verdict, count in verdicts)
            for name in names:
                column = pandas.to_numeric(group[name])
                row |= {name: column.median(), f"{name} min": column.min(), f"{name} max": column.max()}
            rows.append(row)
        return pandas.DataFrame(rows)
