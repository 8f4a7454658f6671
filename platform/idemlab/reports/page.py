"""Writes the report of a run: figures as PNG files, and one self-contained HTML page."""

from __future__ import annotations

import base64
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined

from .. import __version__
from ..catalog.catalog import Catalog, installed
from ..errors import Failure, IdemlabError
from ..experiment.experiment import Experiment
from ..experiment.resolution import resolve
from ..objective.evaluation import examples
from ..objective.parts import build_inputs
from ..runs.loading import load
from ..runs.run import Run
from ..runs.summary import Summary, summarise
from ..system.files import write_text
from ..wording import command, listed, number, percent, time_span
from . import curves, pictures, style

__all__ = ["write_report"]

_BADGES = {"genuine": "genuine", None: "open"}
_SAMPLES = 80
"""Number of orbits in a picture of vectors."""


@dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Args:
        png: content of the PNG file.
        alt: text for readers who cannot see the picture.
        caption: what to look at.
    """

    png: bytes
    alt: str
    caption: str

    @property
    def source(self) -> str:
        """Data URI of the image."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


def write_report(run: Run | str | Path, catalog: Catalog | None = None) -> Path:
    """Draw the figures of a run, finished or not, and write its page; returns the page's path.

    Args:
        run: the run or its folder.
        catalog: defaults to the installed plugins.

    Raises:
        BadInput: if the folder holds no run.
        Failure: if a file of the run is damaged, or the folder cannot be written.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    catalog = catalog or run.catalog or installed()
    summary, certificate = summarise(run), run.certificate
    notes: list[str] = []
    drawn: dict[str, Picture] = {}
    explanations: dict[str, str] = {}
    try:
        experiment = resolve(run.experiment_file, catalog=catalog)
        explanations = _explanations(experiment)
        if certificate is not None:
            drawn |= _pictures(run, experiment, catalog, certificate)
    except IdemlabError as error:  # a plugin or the data are missing: the page says so and shows everything else
        notes.append(
            "The pictures could not be drawn. " + " · ".join(f"{k}: {t}" if k else t for k, t in error.lines())
        )
    pictures = [picture for name, picture in drawn.items() if name != "hero"]
    drawn |= _curves(run) | _spectrum(certificate)
    page = _template().render(
        name=run.name,
        summary=summary,
        badge=_BADGES.get(summary.verdict, "wrong"),
        notes=notes,
        pictures=pictures,
        curves=drawn.get("curves"),
        spectrum=drawn.get("spectrum"),
        explanations=explanations,
        version=__version__,
        **_certificates(certificate),
        **_metrics(summary, certificate),
        **_experiment(run),
        **_environment(run),
    )
    try:
        for name, picture in drawn.items():
            style.save(picture.png, run.figures / f"{name}.png")
        write_text(run.report_file, page)
    except OSError as error:
        raise Failure(
            f"the report cannot be written: {error}",
            where=str(run.path),
            next_step="free some disk space, or make the folder writable",
        ) from error
    return run.report_file


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("idemlab", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "time_span": time_span}
    return environment.get_template("report.html.j2")


# -- pictures -----------------------------------------------------------------------------------------------------------


def _pictures(run: Run, experiment: Experiment, catalog: Catalog, certificate: Mapping[str, Any]) -> dict[str, Picture]:
    """File name -> picture of orbits at one set of inputs; for images also the summary picture, "hero"."""
    operator = load(run, catalog=catalog)
    parts = build_inputs(experiment)
    images = pictures.is_image(parts.dataset.shape)
    shown = examples(
        experiment,
        parts,
        operator,
        torch.device("cpu"),
        pictures.COLUMNS if images else _SAMPLES,
    )
    origin = {"data": f"test samples of '{experiment.dataset.name}'"}
    origin |= {name: f"source '{source.name}'" for name, source in experiment.inputs.items()}
    drawn = {}
    for name, figure in pictures.orbit_figures(shown, parts.dataset.range).items():
        inputs = [name] if images else list(origin)
        said = "; ".join(f"{each}: {origin[each]}" for each in inputs)
        reading = "Each column is one orbit, from top to bottom." if images else "Each point, or curve, is one sample."
        drawn[f"orbits-{name}" if images else "orbits"] = Picture(
            style.png(figure),
            f"x, f(x), f(f(x)), and so on, for {', '.join(inputs)}",
            f"x is {said}. {reading} {_measured(certificate, inputs)}".rstrip(),
        )
    if images:
        ordered = sorted(shown, key=lambda each: each.name == "data")[-3:]
        picture = pictures.hero(ordered, parts.dataset.range)
        drawn["hero"] = Picture(style.png(picture), "x, f(x) and f(f(x)), side by side", "")
    return drawn


def _measured(certificate: Mapping[str, Any], inputs: Sequence[str]) -> str:
    """A sentence with the metrics at these inputs: the picture shows a few samples, the metrics cover all."""
    parts = []
    for name, measured in certificate["inputs"].items():
        if name not in inputs:
            continue
        said = ", ".join(f"{key.replace('_', ' ')} {number(value)}" for key, value in measured["figures"].items())
        if said:
            parts.append(f"Measured at {measured['points']} inputs of '{name}': {said}.")
    return " ".join(parts)


def _curves(run: Run) -> dict[str, Picture]:
    if not run.metrics:
        return {}
    caption = "During training, the rank is measured at one point; at the end, it is the median over several points."
    figure = curves.training_curves(run.metrics)
    return {"curves": Picture(style.png(figure), "Loss terms, relative error, rank and learning rate", caption)}


def _spectrum(certificate: Mapping[str, Any] | None) -> dict[str, Picture]:
    inputs = certificate["inputs"] if certificate else {}
    if not any(one["spectra"] for one in inputs.values()):
        return {}
    caption = (
        "The Jacobian of an exact projection has only the eigenvalues 0 and 1, and its singular values are 0 or at least 1: "
        "look for a cliff at the rank. A slope across the dashed line means directions that are neither kept nor dropped."
    )
    figure = curves.jacobian_spectrum(inputs)
    return {"spectrum": Picture(style.png(figure), "Singular values and eigenvalues of the Jacobian at f(x)", caption)}


# -- words and tables ---------------------------------------------------------------------------------------------------


def _explanations(experiment: Experiment) -> dict[str, str]:
    """Name -> summary of each metric of the experiment."""
    return {metric.name.replace("-", " "): metric.spec.summary for metric in experiment.metrics}


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
