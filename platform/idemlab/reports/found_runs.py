"""Reads the entries of a board for runs. Loads no torch."""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MinLen
from pydantic import BaseModel, ValidationError

from ..errors import IdemlabError
from ..runs.reading import Entry, fault
from ..runs.run import Run
from ..runs.summary import summarise
from ..system import strict_json
from ..system.lock import held_by
from ..wording import clipped, listed
from .found import TEXT, Found, Values, changed, described, first_file, logged
from .thumbnails import Curve, picture_of

__all__ = ["found_run"]

_NAME = re.compile(r"# (.+), resolved:")
"""The name of an experiment, in the first line of its resolved file."""


def found_run(run: Run, trial: tuple[dict[str, str], tuple[str, ...]] | None) -> Found:
    """A run, finished or not; a trial if the table of a sweep has it."""
    faults: list[str] = []
    experiment = _experiment(run, faults)
    known: dict[str, Any] = {}
    try:
        known = _finished(run) if run.certificate_file.is_file() else _unfinished(run)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        faults.append(f"certificate.json is damaged: {'.'.join(map(str, first['loc']))} {first['msg'].lower()}")
    except IdemlabError as error:
        faults.append(f"{Path(error.where or '').name} is {error.what}")
    except OSError as error:
        faults.append(f"{error.filename} cannot be read: {error.strerror}")
    if trial is not None and known.get("state") != "finished":
        row, _ = trial
        state, told = row.get("state", ""), row.get("error", "")
        if state in ("failed", "pruned"):
            known |= {"state": state, "told": f"{state.capitalize()}. {told}".strip()}
    if faults:
        known |= {"state": "damaged", "told": clipped(f"Damaged: {listed(faults)}.", TEXT)}
    settings = ", ".join(f"{key} = {trial[0].get(key, '')}" for key in trial[1]) if trial else ""
    return Found(
        kind="run" if trial is None else "trial",
        path=run.path,
        settings=clipped(settings, TEXT),
        curves=_curves(run.metrics_file),
        picture=picture_of(run.figures),
        page=first_file(run.path, "report.html"),
        changed=changed(run.certificate_file, run.metrics_file, run.experiment_file),
        **experiment,
        **known,
    )


def _experiment(run: Run, faults: list[str]) -> dict[str, Any]:
    """What the resolved experiment says, as far as it can be read."""
    try:
        text = run.experiment_file.read_text(encoding="utf-8")
        return described(tomllib.loads(text)) | {"experiment": _name(text)}
    except (OSError, ValueError) as error:
        faults.append(f"experiment.toml is damaged: {error}")
        return {}


def _name(text: str) -> str:
    found = _NAME.match(text)
    return clipped(found[1], TEXT) if found else ""


class _Inputs(BaseModel):
    """What a board shows of one set of inputs in certificate.json."""

    relative: Annotated[list[float], MinLen(1)]
    absolute: Annotated[list[float], MinLen(1)]
    spread: float
    input_spread: float | None = None
    rank: float | None
    dimension: int

    @property
    def values(self) -> Values:
        return Values(
            relative=self.relative[0],
            absolute=self.absolute[0],
            spread=self.spread,
            share=self.spread / self.input_spread if self.input_spread else None,
            rank=self.rank,
            dimension=self.dimension,
        )


class _Certificate(BaseModel):
    """What a board shows of certificate.json. The spectra, which are most of a megabyte, become no Python objects."""

    verdict: str
    sentence: str
    steps: int
    inputs: Annotated[dict[str, _Inputs], MinLen(1)]


def _finished(run: Run) -> dict[str, Any]:
    certificate = _Certificate.model_validate_json(run.certificate_file.read_bytes())
    return {
        "state": "finished",
        "verdict": clipped(certificate.verdict),
        "told": clipped(certificate.sentence, TEXT),
        "steps": certificate.steps,
        "values": {clipped(name): one.values for name, one in certificate.inputs.items()},
    }


def _unfinished(run: Run) -> dict[str, Any]:
    summary = summarise(run)
    runs = held_by(run.path) is not None
    told = summary.sentence.replace("Not finished: it reached", "Running: it has reached") if runs else summary.sentence
    return {
        "state": "running" if runs else "not finished",
        "told": told,
        "values": {clipped(name): logged(one) for name, one in summary.values.items()},
    }


def _curves(log: Path) -> dict[str, Curve]:
    """Relative error at each set of inputs over the steps. Only the lines of evaluations are parsed."""
    curves: dict[str, Curve] = {}
    try:
        lines = [line for line in log.read_bytes().splitlines() if b'"evaluation"' in line]
    except OSError:
        return curves
    for line in lines:
        try:
            entry = strict_json.loads(line.decode(errors="replace"))
        except (ValueError, RecursionError):
            continue  # a crash can leave a damaged line
        if fault(Entry, entry) is None:
            for key, value in entry.items():
                if key.endswith("/relative") and value is not None and math.isfinite(value):
                    curves.setdefault(clipped(key.removesuffix("/relative")), []).append((entry["step"], value))
    return curves
