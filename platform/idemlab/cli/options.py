"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["ExperimentOrRun", "Json", "OperatorName"]

ExperimentOrRun = Annotated[
    str,
    typer.Argument(
        metavar="EXPERIMENT",
        help="Name of an experiment, path of a TOML file, or folder of a run.",
        show_default=False,
    ),
]
OperatorName = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="Folder of a run, name of a shipped operator, or OWNER/NAME on the Hugging Face hub.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
