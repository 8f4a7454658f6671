"""Errors of runs in temporary folders, without references to files that the user never sees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import IdemlabError

__all__ = ["without_files"]


@contextmanager
def without_files(folder: Path, label: str = "") -> Iterator[None]:
    """Remove from the errors of the block where the state was saved, and how to resume.

    Args:
        folder: the temporary folder of the run.
        label: put before the message.
    """
    try:
        yield
    except IdemlabError as error:
        kept = [text is not None and str(folder) in text for text in (error.where, error.next_step)]
        if any(kept):
            error.what = error.what.partition("; ")[0]
            error.where = None if kept[0] else error.where
            error.next_step = _before(error.next_step, str(folder))
        if label:
            error.what = f"{label}: {error.what}"
        raise


def _before(text: str | None, folder: str) -> str | None:
    """The parts of a next step that do not name the folder."""
    parts = [part for part in (text or "").split("; ") if folder not in part]
    return "; ".join(parts) or None
