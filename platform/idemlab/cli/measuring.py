"""`bench` and `profile`: what a step of each enforcer costs on this machine, and where the time of a run goes."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadInput
from ..watching.terminal import console
from ..wording import counted
from .app import app, example
from .console import loading, show, show_json, table
from .options import ExperimentOrRun, Json

if TYPE_CHECKING:
    from ..benchmarks.profiling import Profile
    from ..benchmarks.result import Benchmark

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the experiment.", show_default=False),
]


@app.command(
    epilog=example(
        "idemlab bench",
        "idemlab bench gradient cubic --model mlp --set model.width=256 --shape 16",
        'idemlab bench ign \'{ name = "ign", routing = "surrogate" }\' --batch 128 --out ign.png',
    )
)
def bench(
    enforcers: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ENFORCER",
            help="Names, or tables '{ name = \"...\", arguments }'. Default: gradient cubic relative ign.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[str, typer.Option(metavar="MODEL", help="Name of a model.")] = "autoencoder",
    shape: Annotated[str, typer.Option(metavar="N,N,...", help="Shape of a sample.")] = "1,28,28",
    batch: Annotated[int, typer.Option(metavar="B", help="Samples per step.")] = 64,
    steps: Annotated[int, typer.Option(metavar="N", help="Number of timed steps for each enforcer.")] = 20,
    device: Annotated[
        str | None,
        typer.Option(metavar="cpu|cuda", help="Default: the device that training would use.", show_default=False),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="Threads on the CPU. Default: torch's setting.", show_default=False)
    ] = None,
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a figure (.png, .svg), the table (.md) or all values (.json).",
            show_default=False,
        ),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table in Markdown.")] = False,
    as_json: Json = False,
) -> None:
    """Measure the cost of a training step with each enforcer, on one model."""
    if markdown and as_json:
        raise BadInput("--markdown and --json exclude each other", next_step="give one of them")
    chosen = [thing(text) for text in enforcers or ()]
    sizes = _sizes(shape)
    with loading():
        from ..benchmarks.benchmark import ENFORCERS
        from ..benchmarks.benchmark import bench as measured
    with _telling() as message:
        result = measured(
            chosen or ENFORCERS,
            model=thing(model),
            shape=sizes,
            batch=batch,
            steps=steps,
            device=device,  # type: ignore[arg-type]  # checked there
            threads=threads,
            overrides=overrides or [],
            out=out,
            message=message,
        )
    if as_json:
        show_json(result.as_dict())
    elif markdown:
        show(result.to_markdown().rstrip("\n"))
    else:
        _show_benchmark(result)
        if out is not None:
            show("", f"Written: {out}")


@app.command(
    epilog=example(
        "idemlab profile digits-projector", "idemlab profile mlp-cubic --set optimizer.name=muon --steps 100"
    )
)
def profile(
    experiment: ExperimentOrRun,
    overrides: Overrides = None,
    steps: Annotated[int, typer.Option(metavar="N", help="Number of training steps.")] = 30,
    as_json: Json = False,
) -> None:
    """Train an experiment for a few steps, and estimate where the time of the whole run goes."""
    from ..benchmarks.profiling import profile as profiled

    result = profiled(experiment, overrides=overrides or [], steps=steps)
    if as_json:
        show_json(result.as_dict())
    else:
        _show_profile(result)


def thing(text: str) -> str | dict[str, Any]:
    """A name, or a table of TOML on one line."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        loaded = tomllib.loads(f"thing = {text}")["thing"]
    except tomllib.TOMLDecodeError as error:
        raise BadInput(
            f"'{text}' cannot be read as a table: {error}", expected="for instance '{ name = \"ign\", tightness = 0 }'"
        ) from error
    if not isinstance(loaded.get("name"), str):
        raise BadInput(f"'{text}' has no name", expected="for instance '{ name = \"ign\", tightness = 0 }'")
    return dict(loaded)


def _sizes(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise BadInput(
            f"'{text}' is not the shape of a sample", where="--shape", expected="whole numbers, such as 1,28,28"
        ) from None


@contextmanager
def _telling() -> Iterator[Callable[[str], None]]:
    """Show on a terminal what is being done."""
    out = console(sys.stderr)
    if not out.is_terminal:
        yield lambda _: None
        return
    with out.status("starting") as status:
        yield status.update


def _show_benchmark(result: Benchmark) -> None:
    from ..benchmarks.result import COLUMNS

    show(result.heading, "", table(COLUMNS, result.table, right=COLUMNS[1:]), "", *result.notes)


def _show_profile(result: Profile) -> None:
    columns = ["phase", "ms a step", "s here", "in the run", "share", "what"]
    show(table(columns, result.table, right=columns[1:5]), "", result.sentence)
    show(f'Measured in {counted(result.steps, "step")}; "in the run" is an estimate for all {result.run_steps}.')
