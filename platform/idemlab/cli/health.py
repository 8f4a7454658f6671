"""`doctor`: what stands in the way on this machine."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from .app import app, example
from .console import show, show_json, table

_STYLES = {"fine": "green", "note": "yellow", "broken": "bold red"}


@app.command(epilog=example("idemlab doctor", "idemlab doctor --json"))
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Find what stands in the way on this machine, and say what to do."""
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
            show("", f"In the way: {', '.join(broken)}")
        raise typer.Exit(1)
    if not as_json:
        show("", "Nothing stands in the way.")
