"""Writes the report of a run: figures as PNG files, and one self-contained HTML page."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..catalog.catalog import Catalog, or_installed
from ..errors import BadInput, Failure, IdemlabError
from ..experiment.experiment import Experiment
from ..experiment.resolution import resolve
from ..runs.run import WHICH, Run
from ..runs.summary import Summary, summarise
from ..system.files import unwritten, write_text
from ..wording import command, listed, number, percent
from . import pictures, style
from .control import Control, control_of
from .drawn import Drawn, curve_drawings, picture_drawings, spectrum_drawings
from .html import COLOURS, link, render

__all__ = ["write_report"]


def write_report(
    run: Run | str | Path, catalog: Catalog | None = None, *, control: Run | str | Path | None = None
) -> Path:
    """Draw the figures of a run, finished or not, and write its page; returns the page's path.

    A finished run is shown next to its control: a finished run in a neighbouring folder, with the same data, model and
    evaluation inputs, that enforces nothing. If there are several, the one with the fewest other differences is taken.

    Args:
        run: the run or its folder.
        catalog: defaults to the installed plugins.
        control: a run to use as the control.

    Raises:
        BadInput: if the folder holds no run, or `control` is no finished run on such samples.
        Failure: if a file of the run is damaged, or the folder cannot be written.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    catalog = or_installed(run.catalog if catalog is None else catalog)
    summary, certificate = summarise(run), run.certificate
    if control is not None and certificate is None:
        raise BadInput(f"run '{run.path}' is not finished, so there is nothing to compare", next_step=run.resuming)
    beside: Control | None = None
    notes: list[str] = []
    drawn = Drawn()
    explanations: dict[str, str] = {}
    try:
        experiment = resolve(run.experiment_file, catalog=catalog)
        explanations = _explanations(experiment)
        if certificate is not None:
            beside = control_of(run, experiment, catalog, control)
            drawn = picture_drawings(run, experiment, catalog, certificate, beside.run if beside else None)
    except IdemlabError as error:  # a plugin or the data are missing: the page says so and shows everything else
        if control is not None and beside is None:
            raise
        notes.append(
            "The pictures could not be drawn. " + " · ".join(f"{k}: {t}" if k else t for k, t in error.lines())
        )
    curves, spectrum = curve_drawings(run), spectrum_drawings(certificate)
    page = render(
        "report.html.j2",
        scripts=["zoom.js"],
        name=run.name,
        summary=summary,
        badge=COLOURS.get(summary.verdict or "not finished", "wrong"),
        notes=notes,
        pictures=drawn.drawings,
        curves=curves.drawings,
        spectrum=spectrum.drawings,
        explanations=explanations,
        tables=_tables(run),
        **_control(run, beside),
        **_certificates(certificate),
        **_metrics(summary, certificate),
        **_experiment(run),
        **_environment(run),
    )
    try:
        for name, png in {**(drawn.files or {}), **(curves.files or {}), **(spectrum.files or {})}.items():
            style.save(png, run.figures / f"{name}.png")
        write_text(run.report_file, page)
    except OSError as error:
        raise Failure(
            f"the report cannot be written: {error}",
            where=str(run.path),
            next_step=unwritten(error),
        ) from error
    return run.report_file


# -- words and tables ---------------------------------------------------------------------------------------------------


def _explanations(experiment: Experiment) -> dict[str, str]:
    """Name -> summary of each metric of the experiment."""
    return {metric.name.replace("-", " "): metric.spec.summary for metric in experiment.metrics}


def _tables(run: Run) -> dict[str, str]:
    """Name of each file with values -> the way to it from the page."""
    certificates = (run.certificate_of(which) for which in WHICH)
    files = (*certificates, run.metrics_file, run.experiment_file, run.environment_file)
    return {file.name: link(file, run.report_file) for file in files if file.is_file()}


def _control(run: Run, control: Control | None) -> dict[str, Any]:
    """The control's name, the way to its report, what differs, and (inputs, value, run, control, factor) line by line."""
    if control is None:
        return {"control": None}
    report = control.run.report_file
    labels = {"relative": "relative error", "absolute": "absolute error", "spread": "spread of f(x)"}
    rows = [
        (inputs, labels.get(name, name.replace("_", " ")), number(own), number(other), _factor(own, other))
        for inputs, values in control.values.items()
        for name, (own, other) in values.items()
        if own is not None or other is not None
    ]
    return {
        "control": {
            "name": control.run.name,
            "verdict": summarise(control.run).verdict,
            "link": link(report, run.report_file) if report.is_file() else None,
            "differs": [f"{key}" for key in control.differs],
            "rows": rows,
        }
    }


def _factor(own: float | None, other: float | None) -> str:
    """How many times as large the control's value is."""
    return f"{number(other / own)} x" if own and other is not None and own > 0 else number(None)


def _certificates(certificate: Mapping[str, Any] | None) -> dict[str, Any]:
    inputs: Mapping[str, Any] = certificate["inputs"] if certificate else {}
    first: Mapping[str, Any] = next(iter(inputs.values()), {"relative": (), "thresholds": {}, "spectra": ()})
    changes = [f"{percent(one['relative'][0])} at {name}" for name, one in inputs.items()]
    return {
        "certificates": inputs,
        "powers": [pictures.power(k + 1) for k in range(len(first["relative"]))],
        "thresholds": first["thresholds"],
        "rank_points": len(first["spectra"]),
        "estimated": any(not spectrum["exact"] for one in inputs.values() for spectrum in one["spectra"]),
        "changes": listed(changes),
    }


def _metrics(summary: Summary, certificate: Mapping[str, Any] | None) -> dict[str, Any]:
    """The table of metrics: label -> one value for each set of inputs, without those in the table of certificates."""
    if certificate is None:
        sets: list[Mapping[str, Any]] = list(summary.values.values())
        labels = {"relative": "relative error", "absolute": "absolute error"}
    else:
        sets, labels = [one["figures"] for one in certificate["inputs"].values()], {}
    keys = dict.fromkeys(key for one in sets for key in one)
    return {
        "inputs": list(summary.values),
        "metrics": {labels.get(key, key.replace("_", " ")): [one.get(key) for one in sets] for key in keys},
    }


def _experiment(run: Run) -> dict[str, Any]:
    """The experiment's file as text, which the installed plugins need not understand."""
    try:
        text = run.experiment_file.read_text(encoding="utf-8")
        description = tomllib.loads(text).get("summary", "")
    except (OSError, ValueError) as error:
        raise Failure(f"damaged: {error}", where=str(run.experiment_file)) from error
    return {
        "toml": text,
        "description": description,
        "resume": run.resuming,
        "again": command("run", run.experiment_file, out="ANOTHER-FOLDER"),
    }


def _environment(run: Run) -> dict[str, Any]:
    environment = dict(run.environment or {})
    parameters = environment.pop("plan", {}).get("parameters")
    return {
        "parameters": parameters,
        "environment": {
            key: ", ".join(f"{name} {version}" for name, version in value.items())
            if isinstance(value, Mapping)
            else value
            for key, value in environment.items()
        },
    }
