"""The command line. Every command is a thin call of a documented function; nothing below this package prints."""

from __future__ import annotations

import sys
from io import TextIOWrapper

from . import browsing, checking, health, results, running, sweeping  # noqa: F401  (each registers its commands)
from .app import app

__all__ = ["app", "main"]


def main() -> None:
    """The command `idemlab`; ends the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # no summary is worth a crash on a terminal that lacks a letter
    app()
