"""Make the shipped judge of a data set: ``python -m idemlab_metrics.shipped DATASET [KEY=VALUE ...]``."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from idemlab import BadInput, Failure, IdemlabError, installed

from .cache import SHIPPED, keep
from .cnn import Cnn

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None, folder: Path = SHIPPED) -> int:
    """The command; returns its exit code. It trains the judge, whether or not one is kept, and writes it to `folder`."""
    parser = argparse.ArgumentParser(
        prog="python -m idemlab_metrics.shipped",
        description="Train the classifier of a data set, and ship its weights.",
    )
    parser.add_argument("dataset", metavar="DATASET", help="name of a data set of images with labels")
    parser.add_argument("values", metavar="KEY=VALUE", nargs="*", help="arguments of the data set, root=FOLDER say")
    given = parser.parse_args(arguments)
    try:
        table = {"name": given.dataset} | dict(_pair(value) for value in given.values)
        judge = Cnn(installed().check("dataset", table, "the data set").build())
        network, place = judge.trained(), folder / judge.name
        shutil.rmtree(place, ignore_errors=True)
        if place.exists() or not keep(judge.name, network, judge.card, folder):
            raise Failure(f"'{place}' cannot be written", next_step="work in a clone, where you may write")
    except IdemlabError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{place}: the judge of '{given.dataset}'\n")
    return 0


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign:
        raise BadInput(f"'{text}' is no KEY=VALUE", expected="root=FOLDER, for instance")
    return key, value


if __name__ == "__main__":
    sys.exit(main())
