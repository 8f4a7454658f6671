"""Write a benchmark to a file: a figure, a table or all values."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..errors import BadInput, Failure
from ..reports import style
from ..system import strict_json
from ..system.files import write_text
from .pictures import bars
from .result import Benchmark

__all__ = ["check_path", "save"]

_FORMATS = (".png", ".svg", ".md", ".json")


def check_path(path: Path) -> None:
    """Refuse a file before the benchmark begins. Its folder is made.

    Raises:
        BadInput: if its ending names no format, or it is a folder.
        Failure: if nothing can be written there.
    """
    if path.suffix.lower() not in _FORMATS or path.is_dir():
        raise BadInput(
            f"'{path}' is not a file name for a benchmark",
            where="out",
            expected="a file that ends in .png or .svg (figure), .md (table) or .json (all values)",
            next_step="choose another file",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise _not_written(path, error) from error


def save(benchmark: Benchmark, path: Path) -> None:
    """Write the file.

    Raises:
        Failure: if it cannot be written.
    """
    try:
        match path.suffix.lower():
            case ".png":
                style.save(style.png(bars(benchmark)), path)
            case ".svg":
                style.save(style.svg(bars(benchmark)), path)
            case ".md":
                write_text(path, benchmark.to_markdown())
            case ".json":
                write_text(path, strict_json.dumps(benchmark.as_dict(), indent=1) + "\n")
    except OSError as error:
        raise _not_written(path, error) from error


def _not_written(path: Path, error: OSError) -> Failure:
    return Failure(f"the benchmark cannot be written: {error}", where=str(path), next_step="choose another file")
