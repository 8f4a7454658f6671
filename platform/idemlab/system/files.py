"""Files that are whole or as they were before."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["replacing", "write_text"]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write what a file is to hold next: put in its place when it is whole, and removed if it cannot be.

    It is written in a folder of its own, ``NAME.tmp``, as there are writers that use a further file beside it: what a killed
    process leaves is all in there, and goes with the next time the file is written.
    """
    folder = path.with_name(path.name + ".tmp")
    partial = folder / path.name
    _remove(folder)
    try:
        folder.mkdir()
        yield partial
        mode = folder.stat().st_mode & 0o666
        if stat.S_IMODE(partial.stat().st_mode) != mode:  # there are writers that let nobody else read what they write
            partial.chmod(mode)
        os.replace(partial, path)
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """A file with this text, whole or as it was before."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
