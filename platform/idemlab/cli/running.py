"""`run`: train an experiment, certify it, report on it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from ..errors import BadInput, IdemlabError
from ..watching.terminal import is_main_process
from .app import app, example
from .console import loading, note, show, show_json
from .options import ExperimentOrRun

RUNS = Path("runs")
"""Default folder for runs."""


class Stopped(IdemlabError):
    """Raised by Ctrl-C outside the training loop and its final evaluation, or by a second Ctrl-C in the loop."""

    exit_code = 130


@app.command(
    epilog=example(
        "idemlab run digits-projector",
        "idemlab run mlp-cubic --set enforcer.weight=0.5 --set training.seed=1 --out runs/half",
        "idemlab run digits-projector --resume",
    )
)
def run(
    experiment: ExperimentOrRun,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change one key; `idemlab show EXPERIMENT` lists all.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the run. Default: runs/NAME, or NAME-2, NAME-3, ... if taken.", show_default=False
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume from the last checkpoint. Without --out: the newest run.")
    ] = False,
    allow_changes: Annotated[
        bool,
        typer.Option(
            "--allow-changes",
            help="With --resume: continue even if the experiment, idemlab, torch or a plugin has changed.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the certificate as JSON instead of tables.")] = False,
) -> None:
    """Train an experiment, certify the operator, and write the report."""
    from ..experiment.resolution import resolve

    if allow_changes and not resume:
        raise BadInput("--allow-changes needs --resume", next_step="add --resume, or leave --allow-changes out")
    resolved = resolve(experiment, overrides or [])
    folder = _own_folder(experiment)
    name = resolved.name if folder is None else folder.resolve().name
    if out is None:
        out = (folder or _newest(name)) if resume else _free(name)
    try:
        with loading():
            from ..reports.page import write_report
            from ..runs.summary import summarise
            from ..training.loop import train
            from .certificates import show_certificate, show_other_weights
        finished = train(resolved, out, resume=resume, allow_changes=allow_changes)
        if not is_main_process():
            return
        if not as_json and finished.certificate is not None:
            show_certificate(finished.certificate)
            show_other_weights(summarise(finished).weights)
        report = write_report(finished)
    except KeyboardInterrupt:
        raise _stopped(out) from None
    if as_json:
        show_json({"run": str(finished.path), "report": str(report)} | (finished.certificate or {}))
    else:
        show(f"Report:  {report}")


def _own_folder(reference: str) -> Path | None:
    """The run folder that a reference names, directly or through its experiment.toml; None for any other reference."""
    path = Path(reference)
    folder = path.parent if path.name == "experiment.toml" else path
    return folder if (folder / "environment.json").is_file() else None


def _free(name: str) -> Path:
    """runs/NAME, or the first free one of runs/NAME-2, -3, ..."""
    number, path = 1, RUNS / name
    while path.exists():
        number += 1
        path = RUNS / f"{name}-{number}"
    return path


def _newest(name: str) -> Path:
    """The newest of runs/NAME, runs/NAME-2, ..."""
    own = re.compile(re.escape(name) + r"(-\d+)?")
    found = [path for path in RUNS.glob("*/environment.json") if own.fullmatch(path.parent.name)]
    if not found:
        raise BadInput(
            f"there is no run of '{name}' in '{RUNS}' to resume",
            next_step="leave --resume out, or give the folder with --out",
        )
    newest = max(found, key=lambda path: path.stat().st_mtime).parent
    if is_main_process():
        note(f"resuming {newest}")
    return newest


def _stopped(out: Path) -> Stopped:
    """The message after Ctrl-C at a place where the trainer does not save."""
    if not (out / "environment.json").is_file():
        return Stopped("stopped before training began; nothing was written")
    folder = shlex.quote(str(out))
    if (out / "certificate.json").is_file():
        return Stopped(
            "stopped while the report was written; the run is complete", next_step=f"idemlab report {folder}"
        )
    return Stopped(
        "stopped at once; everything up to the last checkpoint is saved",
        next_step=f"idemlab run {folder} --resume",
    )
