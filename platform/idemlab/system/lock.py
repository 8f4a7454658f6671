"""Folder locks: one writer at a time. The operating system releases a lock when its process ends."""

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

__all__ = ["check_free", "exclusive", "held_by"]

_LOCK = ".lock"
_HOLDER = ".lock.json"
"""Names the process that holds the lock. It locks nothing; it is a separate file because some systems forbid reading a
locked one."""


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Lock a folder, and create it if needed. Files left by a killed process never block.

    Raises:
        BadInput: if another process, or another thread of this one, holds the lock.
        Failure: if the folder cannot be written.
    """
    place = folder.absolute()  # the process may change its working directory meanwhile
    lock = FileLock(place / _LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise _taken(folder, _holder(folder)) from None
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
    """The process that holds a folder's lock, or None."""
    if not (folder / _LOCK).is_file():
        return None
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return _holder(folder)
    lock.release()
    return None


def check_free(folder: Path) -> None:
    """Check, without making the folder or its lock, that nobody writes to it.

    Raises:
        BadInput: if somebody does.
    """
    holder = held_by(folder)
    if holder is not None:
        raise _taken(folder, holder)


def _taken(folder: Path, holder: str) -> BadInput:
    return BadInput(
        f"'{folder}' is being written to by {holder}",
        next_step="wait until it ends, stop it, or give another folder",
    )


def _sign(folder: Path) -> None:
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    try:
        (folder / _HOLDER).write_text(
            json.dumps({"process": os.getpid(), "host": socket.gethostname(), "since": since})
        )
    except OSError:
        (folder / _HOLDER).unlink(missing_ok=True)  # the disk is full; the lock holds anyway


def _holder(folder: Path) -> str:
    try:
        holder = json.loads((folder / _HOLDER).read_text())
        return f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
