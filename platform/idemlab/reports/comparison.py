"""Compares runs: their results, the differences between their experiments, and their curves in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BadInput, Failure
from ..experiment import toml
from ..runs.run import Run
from ..runs.summary import Summary, summarise
from . import curves, style

__all__ = ["Comparison", "Row", "compare"]


@dataclass(frozen=True)
class Row:
    """One run of a comparison.

    Args:
        run: name of its folder; its path, if two folders have the same name.
        path: of the folder.
        summary: what it reached.
        differs: key -> value, for the keys in which the experiments differ; None for a key that this experiment lacks.
    """

    run: str
    path: Path
    summary: Summary
    differs: dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """Several runs.

    Args:
        rows: one for each run, in the order given.
        picture: the overlaid curves, or None.
    """

    rows: tuple[Row, ...]
    picture: Path | None

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of everything measured in any run, as ``inputs/metric``; relative errors and ranks come first."""
        named = dict.fromkeys(
            f"{inputs}/{metric}"
            for row in self.rows
            for inputs, values in row.summary.values.items()
            for metric in values
        )
        order = ("relative", "absolute", "rank")
        return tuple(sorted(named, key=lambda key: [key.endswith(f"/{metric}") for metric in order], reverse=True))

    def value(self, row: Row, metric: str) -> float | None:
        """A measured value of one run, or None if the run lacks it."""
        inputs, _, name = metric.partition("/")
        return row.summary.values.get(inputs, {}).get(name)

    def as_dict(self) -> dict[str, Any]:
        """The comparison as plain values for JSON."""
        return {
            "runs": [
                {
                    "run": row.run,
                    "path": str(row.path),
                    "verdict": row.summary.verdict,
                    "sentence": row.summary.sentence,
                    "step": row.summary.step,
                    "steps": row.summary.steps,
                    "flops": row.summary.flops,
                    "seconds": row.summary.seconds,
                    "metrics": {metric: self.value(row, metric) for metric in self.metrics},
                    "differs": row.differs,
                }
                for row in self.rows
            ],
            "picture": None if self.picture is None else str(self.picture),
        }


def compare(runs: Sequence[Run | str | Path], *, out: Path | None = None) -> Comparison:
    """Compare runs, finished or not.

    Args:
        runs: runs or their folders, at least one.
        out: PNG file for the overlaid curves; None draws nothing. Runs without any log entry have no curves.

    Raises:
        BadInput: if a folder holds no run, a run is given twice, or `out` does not end in .png.
        Failure: if a file of a run is damaged, or `out` cannot be written.
    """
    opened = [run if isinstance(run, Run) else Run.open(run) for run in runs]
    if not opened:
        raise BadInput(
            "there is nothing to compare", expected="one run folder or more", next_step="idemlab compare RUN RUN"
        )
    if out is not None and (out.suffix.lower() != ".png" or out.is_dir()):
        raise BadInput(f"'{out}' is no name for a picture", expected="a file that ends in .png")
    folders = [run.path.resolve() for run in opened]
    for i, folder in enumerate(folders):
        if folder in folders[:i]:
            raise BadInput(f"run '{opened[i].path}' is given twice", next_step="name each run once")
    names = [run.name for run in opened]
    labels = [name if names.count(name) == 1 else str(run.path) for name, run in zip(names, opened, strict=True)]
    experiments = [toml.flat(toml.read(run.experiment_file)) for run in opened]
    rows = tuple(
        Row(label, run.path, summarise(run), {key: experiment.get(key) for key in toml.differing(experiments)})
        for label, run, experiment in zip(labels, opened, experiments, strict=True)
    )
    return Comparison(rows, _draw({label: run.metrics for label, run in zip(labels, opened, strict=True)}, out))


def _draw(entries: Mapping[str, Sequence[Mapping[str, Any]]], out: Path | None) -> Path | None:
    if out is None or not any(entries.values()):
        return None
    picture = style.png(curves.overlaid_curves(entries))
    try:
        style.save(picture, out)
    except OSError as error:
        raise Failure(
            f"the picture cannot be written: {error}", where=str(out), next_step="choose another file"
        ) from error
    return out
