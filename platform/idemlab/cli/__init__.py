"""The command line. Every command is a thin call of a documented function; no package below this one prints."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from io import TextIOWrapper

from ..system.heap import keep_freed_memory
from ..system.threads import rest_while_waiting
from . import (  # noqa: F401  (each registers its commands)
    browsing,
    checking,
    competing,
    health,
    measuring,
    plugins,
    results,
    running,
    sharing,
    showing,
    sweeping,
)
from .app import app

__all__ = ["app", "main"]


def main() -> None:
    """The command `idemlab`; ends the process with its exit code."""
    rest_while_waiting()  # before any command loads torch
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter must not crash the command
    try:
        app()
    finally:
        gc.freeze()  # at its end Python would look for garbage among all modules of torch, for a quarter of a second
        if "--json" in sys.argv:  # what a plugin prints at exit must not follow the result
            sys.stdout.flush()
            with contextlib.suppress(OSError, ValueError):
                os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
