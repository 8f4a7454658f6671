"""Atomic file writes: a file is either complete or unchanged."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import BadInput
from ..wording import clipped, with_article

__all__ = ["as_path", "folder_for", "replacing", "sha256", "unwritten", "write_text"]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path. The file written there replaces `path` once it is complete; after an error it is removed.

    The temporary file lies in a folder of its own, ``NAME.tmp``, because some writers create further files beside it. A
    killed process leaves this folder behind; the next write removes it.
    """
    folder = path.with_name(path.name + ".tmp")
    partial = folder / path.name
    _remove(folder)
    try:
        folder.mkdir()
        yield partial
        mode = folder.stat().st_mode & 0o666
        if stat.S_IMODE(partial.stat().st_mode) != mode:  # some writers make their files private
            partial.chmod(mode)
        os.replace(partial, path)
    finally:
        _remove(folder)


def as_path(given: object, where: str) -> Path:
    """A path that a caller gives.

    Args:
        where: name of the argument.

    Raises:
        BadInput: if it is of another type, or no path on this machine.
    """
    text = os.fspath(given) if isinstance(given, (str, os.PathLike)) else None
    if not isinstance(text, str):
        raise BadInput(
            f"{where} cannot be {with_article(type(given).__name__)}",
            where=where,
            expected="a path: text or pathlib.Path",
        )
    try:
        os.lstat(text)
    except (OSError, ValueError) as error:
        if not isinstance(error, OSError) or error.errno == errno.ENAMETOOLONG:  # a ValueError: it has a zero byte
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise BadInput(f"'{clipped(text)}' is no path: {why}", where=where, expected="a path") from error
    return Path(text)


def folder_for(path: Path, what: str) -> Path:
    """Check that a folder is at a path, or can be made there. Nothing is made.

    Args:
        what: what the folder is for, such as "the run".

    Returns:
        The nearest folder that exists: `path` itself, or one above it.

    Raises:
        BadInput: if a file is in the way.
    """
    nearest = path
    while not os.path.lexists(nearest):
        nearest = nearest.parent
    if not nearest.is_dir():
        raise BadInput(
            f"'{nearest}' is a file" if nearest.exists() else f"'{nearest}' is a link that leads nowhere",
            where="out",
            expected=f"a folder for {what}",
            next_step="choose another `out`",
        )
    return nearest


def unwritten(error: Exception) -> str:
    """What to do about a failed write; "free some disk space" where the error says nothing else."""
    number = getattr(error, "errno", None)
    if number in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY):
        return "move away what is in the place of this file"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "make the folder writable"
    return "free some disk space"


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def sha256(path: Path) -> str:
    """Hash of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
