"""Where text goes: a terminal, a pipe or a notebook; and which process of a run prints."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "is_main_process", "notebook", "process_rank"]

PIPE_WIDTH = 10_000
"""Width of lines in a pipe or a file, which are never wrapped, so that they can be searched."""


def console(stream: TextIO) -> Console:
    """A rich console on a stream: in colour on a terminal, plain elsewhere."""
    from rich.console import Console

    made = Console(file=stream, markup=False, highlight=False, emoji=False, force_jupyter=False)
    if made.is_terminal:
        return made
    return Console(file=stream, markup=False, highlight=False, emoji=False, force_jupyter=False, width=PIPE_WIDTH)


def notebook() -> Any | None:
    """The module `IPython.display` in a notebook, and None in a terminal, a script or a plain interpreter."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return sys.modules.get("IPython.display") if hasattr(shell, "kernel") else None


def is_main_process() -> bool:
    """Whether this process of a distributed run prints, read from the launcher's variables without torch."""
    return process_rank() == "0"


def process_rank() -> str:
    """The number of this process among those that the launcher started."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))
