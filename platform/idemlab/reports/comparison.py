"""Compares runs: their results, the differences between their experiments, and their curves in one picture."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ..arguments import several
from ..certificate.verdict import NOT_IDEMPOTENT
from ..errors import BadInput, Failure
from ..experiment import toml
from ..runs.run import WHICH, Run
from ..runs.summary import Summary, summarise
from ..system.files import as_path, write_text
from ..wording import number, time_span
from . import curves, style
from .html import COLOURS, Drawing, check_target, link, render
from .thumbnails import picture_of, thumbnail

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
        page: the comparison as a page, or None.
    """

    rows: tuple[Row, ...]
    picture: Path | None
    page: Path | None = None

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

    @property
    def kept(self) -> dict[str, list[str]]:
        """What the average and the best weights reached, where a run kept them: label -> one text for each run."""
        found = [{kept.which: kept for kept in row.summary.weights} for row in self.rows]
        table: dict[str, list[str]] = {}
        for which in WHICH[1:]:
            own = [each.get(which) for each in found]
            if any(own):
                table[f"{which}: verdict"] = [number(None if one is None else one.verdict) for one in own]
                table[f"{which}: step"] = [number(None if one is None else one.step) for one in own]
                for name in dict.fromkeys(name for one in own if one for name in one.errors):
                    values = [None if one is None else one.errors.get(name) for one in own]
                    table[f"{which}: {name}/relative"] = [number(value) for value in values]
        return table

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
                    "weights": [asdict(kept) for kept in row.summary.weights],
                    "differs": row.differs,
                }
                for row in self.rows
            ],
            "picture": None if self.picture is None else str(self.picture),
            "page": None if self.page is None else str(self.page),
        }


def compare(
    runs: Sequence[Run | str | Path] | Run | str | Path,
    *,
    out: str | Path | None = None,
    html: str | Path | None = None,
) -> Comparison:
    """Compare runs, finished or not.

    Args:
        runs: runs or their folders, at least one; or a single one.
        out: PNG file for the overlaid curves; None draws nothing. Runs without any log entry have no curves.
        html: file for the comparison as a self-contained page; None writes none.

    Raises:
        BadInput: if a folder holds no run, a run is given twice, `out` does not end in .png, or `html` not in .html.
        Failure: if a file of a run is damaged, or `out` or `html` cannot be written.
    """
    runs = several(runs, (os.PathLike, Run), "runs", "runs or their folders")
    out = None if out is None else as_path(out, "out")
    html = None if html is None else as_path(html, "html")
    opened = [run if isinstance(run, Run) else Run.open(run) for run in runs]
    if not opened:
        raise BadInput(
            "there is nothing to compare", expected="one run folder or more", next_step="idemlab compare RUN RUN"
        )
    if out is not None and (out.suffix.lower() != ".png" or out.is_dir()):
        raise BadInput(f"'{out}' is not a file name for a picture", expected="a file that ends in .png")
    if html is not None:
        check_target(html)
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
    entries = {label: run.metrics for label, run in zip(labels, opened, strict=True)}
    picture = out if any(entries.values()) else None
    if picture is not None:
        image = style.png(curves.overlaid_curves(entries))
        _write("picture", picture, lambda: style.save(image, picture))
    comparison = Comparison(rows, picture, html)
    if html is not None:
        page = _page(comparison, opened, curves.overlaid_panels(entries), html)
        _write("page", html, lambda: write_text(html, page))
    return comparison


def _write(what: str, path: Path, write: Callable[[], None]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write()
    except OSError as error:
        raise Failure(
            f"the {what} cannot be written: {error}", where=str(path), next_step="choose another file"
        ) from error


# -- page ---------------------------------------------------------------------------------------------------------------


def _page(comparison: Comparison, runs: Sequence[Run], figures: Sequence[Figure], target: Path) -> str:
    """The comparison as a page, with the curves in the colours of the page."""
    rows = comparison.rows
    pictures = [thumbnail(path) if (path := picture_of(run.figures)) else None for run in runs]
    reached: dict[str, list[str]] = {
        "steps": [number(row.summary.step) for row in rows],
        "counted FLOPs": [number(row.summary.flops) for row in rows],
        "time": [time_span(row.summary.seconds) for row in rows],
    }
    measured = {metric: [comparison.value(row, metric) for row in rows] for metric in comparison.metrics}
    reached |= {
        name: [number(v) for v in values] for name, values in measured.items() if any(v is not None for v in values)
    }
    reached |= comparison.kept
    keys = dict.fromkeys(key for row in rows for key in row.differs)
    caption = (
        "Loss, reconstruction and relative error over the optimiser steps, one line for each run. The dotted line is the "
        "limit of the verdict."
    )
    return render(
        "comparison.html.j2",
        scripts=["zoom.js"],
        names=[row.run for row in rows],
        rows=[
            {
                "name": row.run,
                "link": link(run.report_file, target) if run.report_file.is_file() else None,
                "verdict": row.summary.verdict,
                "sentence": row.summary.sentence,
                "colour": COLOURS.get(row.summary.verdict or "not finished", "wrong"),
                "picture": picture,
            }
            for row, run, picture in zip(rows, runs, pictures, strict=True)
        ],
        pictures=any(pictures),
        reached=reached,
        differs={key: [_told(row.differs[key]) for row in rows] for key in keys},
        curves=figures
        and Drawing(
            panels=tuple(style.inline(figure) for figure in figures), alt="Curves of all runs", caption=caption
        ),
        limit=NOT_IDEMPOTENT,
    )


def _told(value: Any) -> str:
    return number(None) if value is None else str(value)
