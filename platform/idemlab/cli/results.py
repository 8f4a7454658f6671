"""`board`, `compare`, `report` and `apply`: survey and compare runs, write a report, apply a trained operator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..wording import counted, plural
from .app import app, example
from .console import loading, note, show, show_json, table
from .options import Json, OperatorName

if TYPE_CHECKING:
    from ..reports.comparison import Comparison

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)]


@app.command(epilog=example("idemlab board", "idemlab board sweeps/rate --out rate.html"))
def board(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Folder to search, with subfolders. Default: here.", show_default=False),
    ] = Path(),
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html", help="The page to write; default: board.html in the folder.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the path and what the page shows as JSON.")] = False,
) -> None:
    """Write one page with all runs, sweeps and studies below a folder."""
    with loading():
        from ..reports.board import board as written
    done = written(folder, out)
    if as_json:
        show_json({"board": str(done.path), "shows": done.counts, "damaged": done.damaged})
    else:
        show(f"Board:  {done.path}", f"It shows {done.counted}.")
    if done.damaged:
        note(f"{done.damaged} of them {plural(done.damaged, 'is', 'are')} damaged; their rows say how.")


@app.command(
    epilog=example(
        "idemlab compare runs/mlp-cubic runs/mlp-gradient --out curves.png",
        "idemlab compare runs/* --html compared.html",
    )
)
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders of runs.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw the curves of all runs in one picture.", show_default=False),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Write the comparison as one page.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare runs: numbers, differing settings, curves."""
    with loading():
        from ..reports.comparison import compare as compared
    comparison = compared(runs, out=out, html=html)
    if as_json:
        show_json(comparison.as_dict())
        return
    _show_comparison(comparison)
    if comparison.picture is not None:
        show("", f"Curves: {comparison.picture}")
    if comparison.page is not None:
        show("", f"Page: {comparison.page}")


def _show_comparison(comparison: Comparison) -> None:
    """Print one column per run: its results, and below them the keys in which the experiments differ."""
    from ..wording import number, time_span

    rows = comparison.rows
    names = [row.run for row in rows]
    reached = [
        ["verdict", *(row.summary.verdict or "not finished" for row in rows)],
        ["steps", *(str(row.summary.step) for row in rows)],
        ["counted FLOPs", *(number(row.summary.flops) for row in rows)],
        ["time", *(time_span(row.summary.seconds) for row in rows)],
        *([metric, *(number(comparison.value(row, metric)) for row in rows)] for metric in comparison.metrics),
        *([label, *texts] for label, texts in comparison.kept.items()),
    ]
    show(table(["run", *names], reached, right=names))
    keys = list(dict.fromkeys(key for row in rows for key in row.differs))
    if keys:
        differing = [
            [key, *(number(None) if row.differs[key] is None else str(row.differs[key]) for row in rows)]
            for key in keys
        ]
        show("", table(["what differs", *names], differing, right=names))


@app.command(
    epilog=example("idemlab report runs/digits-projector", "idemlab report runs/mine --control runs/mine-without")
)
def report(
    run: RunFolder,
    control: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Run without enforcer to compare with. Default: a matching run nearby.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the path as JSON.")] = False,
) -> None:
    """Write the report of a run, finished or not, as one HTML page."""
    with loading():
        from ..reports.page import write_report
    page = write_report(run, control=control)
    if as_json:
        show_json({"report": str(page)})
    else:
        show(f"Report:  {page}")


@app.command(
    epilog=example(
        "idemlab apply runs/digits-projector images projected",
        "idemlab apply digits-projector images projected --times 2",
        "idemlab apply runs/digits-by-class images threes --condition 3",
    )
)
def apply(
    run: OperatorName,
    inputs: Annotated[
        Path, typer.Argument(metavar="IN", help="Folder of images, or of .npy arrays.", show_default=False)
    ],
    outputs: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make.", show_default=False)],
    times: Annotated[int, typer.Option(metavar="K", help="How often f is applied.")] = 1,
    condition: Annotated[
        int | None, typer.Option(metavar="C", help="The class c, for an operator f(x, c).", show_default=False)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the files written, skipped and left out as JSON.")
    ] = False,
) -> None:
    """Apply a trained operator to a folder of images or arrays."""
    with loading():
        from ..reports.application import apply as applied
    done = applied(run, inputs, outputs, times=times, condition=condition, message=note)
    if as_json:
        skipped = {str(path): reason for path, reason in done.skipped.items()}
        left_out = {reason: [str(path) for path in paths] for reason, paths in done.left_out.items()}
        show_json({"written": [str(path) for path in done], "skipped": skipped, "left_out": left_out})
    else:
        show(f"{counted(len(done), 'file')} written to {outputs}")
    if done.skipped:
        lines = (f"  {path}: {reason}" for path, reason in done.skipped.items())
        note(f"{counted(len(done.skipped), 'file')} skipped:", *lines)
        raise typer.Exit(1)
