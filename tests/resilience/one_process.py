"""What a process of the kill tests does: train, from the beginning or from where the one before it was killed.

It is run by its path (`runpy`), with `table`, `out`, `environment`, `log` and `killed_at` among its globals.
"""

from __future__ import annotations

import os
import signal
import sys
from itertools import count
from pathlib import Path

import idemlab
from idemlab.reports import page

TOLD = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod"}
"""Audit events of Python that stand for an operation on a file or folder; their first argument is its path."""


def kill_at(number: int, folder: Path) -> None:
    """Have this process killed just before its operation `number`, counted from 0, on something in a folder."""
    counted = count()

    def listen(event: str, arguments: tuple[object, ...]) -> None:
        if event in TOLD and str(arguments[0]).startswith(str(folder)) and next(counted) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(listen)


given = globals()
sys.stderr = Path(given["log"]).open("a")  # noqa: SIM115 -- for the traceback at its end
os.environ.update(given["environment"])
if given["killed_at"] is not None:
    kill_at(given["killed_at"], given["out"])
page.write_report = lambda run: run.report_file  # which takes longer than the run


class Counting(idemlab.Watcher):
    """A watcher of the user's, which hears of each step."""

    steps = 0

    def stepped(self, step: int) -> None:
        self.steps += 1


idemlab.train(given["table"], given["out"], resume=True, watchers=[Counting()])
