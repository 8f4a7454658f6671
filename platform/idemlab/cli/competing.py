"""`league`: enforcers compete on a fixed suite of tasks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .app import app, example
from .console import loading, note, show, show_json, table
from .measuring import thing
from .options import Json
from .sweeping import Resume, Storage, stoppable

if TYPE_CHECKING:
    from ..standings.record import League

LEAGUES = Path("leagues")
"""Default folder for leagues."""


@app.command(
    epilog=example(
        "idemlab league --quick",
        "idemlab league mine --quick",
        "idemlab league none gradient relative mine --jobs 2",
        "idemlab league none '{ name = \"mine\", weight = 0.3 }' --quick",
    )
)
def league(
    enforcers: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ENFORCER",
            help="Names, or tables '{ name = \"...\", arguments }'. Default: the arms of the suite.",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Run the quick version: two tasks, your arms and fixed ones, in minutes.")
    ] = False,
    suite: Annotated[str, typer.Option(metavar="NAME", help="Name of a suite, or path of its TOML file.")] = "league",
    storage: Storage = None,
    jobs: Annotated[int, typer.Option(metavar="N", help="Number of worker processes, which share the cores.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to make. Default: leagues/NAME, or leagues/NAME-quick.", show_default=False),
    ] = None,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Let enforcers compete on the same tasks, with equal tuning and equal counted FLOPs."""
    chosen = [thing(text) for text in enforcers or ()]
    path = out or LEAGUES / (Path(suite).stem + "-quick" * quick)
    with loading():
        from ..standings.league import run_league
    with stoppable(path):
        done = run_league(chosen, path, suite=suite, quick=quick, resume=resume, jobs=jobs, storage=storage, say=note)
    if as_json:
        show_json({"league": str(path)} | done.as_dict())
    else:
        _show(done)


def _show(league: League) -> None:
    """Print the table of each task."""
    for task in league.tasks:
        heads = task.headings
        show("", task.title, table(heads, map(task.cells, task.rows), right=heads[1:-1]), task.worst)
    show("", " ".join(filter(None, [league.rules, league.note])), f"Page: {league.path / 'league.html'}")
