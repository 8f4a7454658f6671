"""`doctor`: finds what is broken on this machine, or describes the data of an experiment."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ..errors import BadInput
from ..wording import counted
from .app import app, example
from .console import loading, show, show_json, table
from .options import Json

_STYLES = {"fine": "green", "note": "yellow", "broken": "bold red"}


@app.command(epilog=example("idemlab doctor", "idemlab doctor --json", "idemlab doctor digits-projector"))
def doctor(
    experiment: Annotated[
        str | None,
        typer.Argument(
            metavar="[EXPERIMENT]",
            help="Describe the data set of this experiment instead.",
            show_default=False,
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="With EXPERIMENT: change one key of it.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check this machine and say how to fix each problem, or describe the data of an experiment."""
    if experiment is not None:
        _tell_data(experiment, overrides or [], as_json)
        return
    if overrides:
        raise BadInput("--set changes a key of an experiment", next_step="name the experiment, or leave --set out")
    from rich.text import Text

    from ..doctor import examine

    findings = examine()
    if as_json:
        show_json([asdict(finding) for finding in findings])
    else:
        rows = [
            [
                Text(finding.state, style=_STYLES[finding.state]),
                finding.subject,
                Text.assemble(finding.text, (f"\nfix: {finding.fix}" if finding.fix else "", "bold")),
            ]
            for finding in findings
        ]
        show(table(["state", "what", "found"], rows))
    broken = [finding.subject for finding in findings if finding.state == "broken"]
    if broken:
        if not as_json:
            show("", f"Broken: {', '.join(broken)}")
        raise typer.Exit(1)
    if not as_json:
        show("", "Nothing is broken.")


def _tell_data(reference: str, overrides: list[str], as_json: bool) -> None:
    """Build only the data set of an experiment, and describe it."""
    from ..experiment.resolution import resolve

    resolved = resolve(reference, overrides)
    with loading():
        from ..objective.data import build_dataset

        dataset = build_dataset(resolved)
    classes = "" if dataset.classes is None else f", in {counted(dataset.classes, 'class', 'classes')}"
    sizes = f"{counted(len(dataset.train), 'sample')} to train on, {len(dataset.test)} to test on"
    first = f"dataset '{resolved.dataset.name}': {sizes}, each {' x '.join(map(str, dataset.shape))}{classes}"
    if as_json:
        show_json({"dataset": resolved.dataset.name, "description": [first, *dataset.description]})
    else:
        show(first, *dataset.description)
