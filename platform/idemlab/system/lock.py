"""One writer to a folder: a lock of the operating system, which ends with the process that holds it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import BadInput, Failure

__all__ = ["exclusive", "held_by"]

_LOCK = ".lock"
_HOLDER = ".lock.json"
"""Who holds the lock. A file of its own, as some systems let nobody read a locked one; alone it locks nothing."""


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a folder, made if it is not there. What a killed process leaves behind never blocks.

    Raises:
        BadInput: if another process, or another thread of this one, holds it.
        Failure: if it cannot be written.
    """
    place = folder.absolute()  # the process may change its working directory meanwhile
    lock = FileLock(place / _LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise BadInput(
            f"'{folder}' is being written to by {_holder(folder)}",
            next_step="wait until it ends, stop it, or give another folder",
        ) from None
    except OSError as error:
        raise Failure(
            f"the output folder '{folder}' cannot be written: {error}", next_step="give another folder"
        ) from error
    try:
        _sign(place)
        yield
    finally:
        # The lock's own file stays: without it, one process might lock the old file and another a new one.
        (place / _HOLDER).unlink(missing_ok=True)
        lock.release()


def held_by(folder: Path) -> str | None:
    """Who holds a folder; None if nobody does."""
    if not (folder / _LOCK).is_file():
        return None
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return _holder(folder)
    lock.release()
    return None


def _sign(folder: Path) -> None:
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    try:
        (folder / _HOLDER).write_text(
            json.dumps({"process": os.getpid(), "host": socket.gethostname(), "since": since})
        )
    except OSError:
        (folder / _HOLDER).unlink(missing_ok=True)  # the disk is full: the folder is held all the same


def _holder(folder: Path) -> str:
    try:
        holder = json.loads((folder / _HOLDER).read_text())
        return f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
