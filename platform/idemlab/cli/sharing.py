"""`push` and `export`: give a trained operator to others, through the hub or as a file of another format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .app import app, example
from .console import loading, note, show, show_json
from .options import Json, OperatorName


@app.command(
    epilog=example(
        "idemlab push runs/digits-projector me/digits-projector --license mit",
        "idemlab push runs/digits-projector me/digits-projector --license mit --update",
    )
)
def push(
    run: OperatorName,
    name: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Name on the hub.", show_default=False)],
    license: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Licence of the operator: mit, apache-2.0, cc-by-4.0, ...", show_default=False),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a repository that only its owner sees.")] = False,
    update: Annotated[bool, typer.Option("--update", help="Add a commit to an existing repository.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the address as JSON.")] = False,
) -> None:
    """Push a trained operator to the Hugging Face hub, with a model card made of its certificate."""
    with loading():
        from ..sharing.push import push as pushed
    address = pushed(run, name, license=license, private=private, update=update, message=note)
    if as_json:
        show_json({"address": address})
    else:
        show(f"Pushed:  {address}", f'Load it: idemlab.load("{name}")')


@app.command(
    epilog=example(
        "idemlab export runs/digits-projector",
        "idemlab export runs/digits-projector --to torch-export --out digits.pt2",
    )
)
def export(
    run: OperatorName,
    to: Annotated[str, typer.Option(metavar="onnx|torch-export", help="Format of the file.")] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The file. Default: operator.onnx or operator.pt2 in RUN.", show_default=False
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    as_json: Json = False,
) -> None:
    """Export a trained operator to ONNX or torch.export, and compare the export with it on the run's inputs."""
    with loading():
        from ..sharing.exporting import export as exported
    done = exported(run, to, out=out, overwrite=overwrite)  # type: ignore[arg-type]  # checked there
    if as_json:
        content: dict[str, Any] = {"path": str(done.path), "format": done.format, "inputs": done.inputs}
        show_json(content | {"largest": done.largest, "mean": done.mean, "scale": done.scale})
    else:
        show(f"Exported: {done.path}", done.sentence)
