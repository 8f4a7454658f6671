"""Make a shipped operator from a finished run: ``python -m idemlab_registry.shipped RUN [NAME]``.

Its weights are rounded to float16, and its certificate is measured with the rounded weights. An experiment of the same name
offers the operator: see `plugin`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from idemlab import BadInput, IdemlabError, Run, Verdict, installed
from idemlab.sharing.rounding import packed_size, write_rounded

from .plugin import OPERATORS

__all__ = ["LARGEST", "main", "ship"]

LARGEST = 2_000_000
"""Bytes that the files of a shipped operator may take together in the wheel."""


def ship(run: Run | str | Path, name: str | None = None, folder: Path = OPERATORS) -> Run:
    """Make the shipped operator from a finished run.

    Args:
        name: of the experiment that it is shipped with; by default that of the run's folder.
        folder: where shipped operators lie.

    Raises:
        BadInput: if the run is not finished or not genuine, there is no such experiment, or it has a shipped operator.
        Failure: if rounding changes the verdict.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    name = name or run.name
    installed().find("experiment", name)
    verdict = None if run.certificate is None else run.certificate["verdict"]
    if verdict not in (None, Verdict.GENUINE.value):
        raise BadInput(f"run '{run.path}' is '{verdict}'", expected="a genuine projection", next_step="train it better")
    return write_rounded(run, folder / name, largest=LARGEST)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m idemlab_registry.shipped", description=(__doc__ or "").split(":")[0]
    )
    parser.add_argument("run", metavar="RUN", help="folder of a finished run")
    parser.add_argument("name", metavar="NAME", nargs="?", help="of the experiment; default: the folder's name")
    given = parser.parse_args(arguments)
    try:
        shipped = ship(given.run, given.name)
    except IdemlabError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sentence = (shipped.certificate or {})["sentence"]
    sys.stdout.write(f"{shipped.path}: {packed_size(shipped.path) / 1e6:.2f} MB in a wheel. {sentence}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
