"""Printing: results go to stdout, everything else to stderr. Text of users is never read as markup."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, TextIO

from ..errors import IdemlabError
from ..system import strict_json
from ..system.garbage import uncollected
from ..watching.terminal import console, is_main_process, process_rank

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

__all__ = ["loading", "note", "only_results", "show", "show_error", "show_json", "table"]


def show(*things: RenderableType) -> None:
    """Print results to stdout."""
    _print(_result(), things)


def note(*things: RenderableType) -> None:
    """Print remarks to stderr."""
    _print(sys.stderr, things)


def _print(stream: TextIO, things: Iterable[RenderableType]) -> None:
    out = console(stream)
    with out.capture() as captured:  # rich would swallow the error of a closed pipe
        for thing in things:
            out.print(thing)
    text = captured.get()
    stream.write(text if out.is_terminal else re.sub(r" +$", "", text, flags=re.MULTILINE))


@contextmanager
def loading() -> Iterator[None]:
    """Show "loading" on a terminal while the block runs. The garbage collector passes by what it loads, which stays."""
    out = console(sys.stderr)
    visible, first = out.is_terminal and is_main_process(), "torch" not in sys.modules
    with uncollected(), out.status("loading") if visible else nullcontext():
        yield
    if first:
        gc.freeze()


def show_json(content: Any) -> None:
    """Print plain values as JSON to stdout."""
    _result().write(strict_json.dumps(content, indent=1) + "\n")
    _result().flush()


_results: list[TextIO] = []
"""The stream for results while `only_results` is active; empty otherwise."""


def _result() -> TextIO:
    return _results[-1] if _results else sys.stdout


@contextmanager
def only_results() -> Iterator[None]:
    """Keep stdout for `show` and `show_json`. Other output, of a printing plugin, a C library or a child process, goes to
    stderr meanwhile."""
    outer = sys.stdout
    outer.flush()
    kept = None
    with contextlib.suppress(OSError, ValueError):  # stdout is no file, as in a test, or is closed
        if outer.fileno() == 1:
            kept = os.dup(1)
            os.dup2(2, 1)
    results = outer if kept is None else open(kept, "w", encoding=outer.encoding, errors=outer.errors)  # noqa: SIM115
    sys.stdout = sys.stderr
    _results.append(results)
    try:
        yield
    finally:
        _results.pop()
        sys.stdout = outer
        if kept is not None:
            outer.flush()  # text that bypassed `sys.stdout` while descriptor 1 was stderr
            os.dup2(kept, 1)
            with contextlib.suppress(BrokenPipeError):  # the reader has closed the pipe
                results.close()


def show_error(error: IdemlabError) -> None:
    """Print an error to stderr: what is wrong, then a labelled line each for the place, what was expected, the next step.

    Processes other than the main one print one line only, since the main process mostly prints the same error.
    """
    if not is_main_process():
        if error.exit_code != 130:
            sys.stderr.write(f"error in process {process_rank()}: {error.what}\n")
        return
    title = "" if error.exit_code == 130 else "error"
    lines = [(label or title, text) for label, text in error.lines()]
    if not console(sys.stderr).is_terminal:
        (first, what), *rest = lines
        sys.stderr.write("\n".join([f"{first}: {what}" if first else what, *(f"  {k}: {v}" for k, v in rest)]) + "\n")
        return
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for label, text in lines:
        grid.add_row(Text(label, style="bold red" if label == "error" else "dim"), Text(text))
    note(grid)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> Table:
    """A table without rules, at most as wide as the terminal.

    Columns named in `right` hold numbers, which are aligned to the right and never broken. If not all of them fit, the last
    ones are left out, and the caption says so.
    """
    from rich.table import Table
    from rich.text import Text

    cells = [[cell if isinstance(cell, Text) else Text(str(cell)) for cell in row] for row in rows]
    widths, left_out = _fitted(columns, cells, right, console(_result()).width)
    caption = f"no room for: {', '.join(left_out)}" if left_out else None
    made = Table(
        box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0),
        caption=caption, caption_justify="left", caption_style="dim",
    )  # fmt: skip
    shown = [i for i, column in enumerate(columns) if column not in left_out]
    for i in shown:
        justify: Literal["left", "right"] = "right" if columns[i] in right else "left"
        made.add_column(columns[i], justify=justify, overflow="fold", width=widths.get(i))
    for row in cells:
        made.add_row(*(row[i] for i in shown))
    return made


GAP = 2
"""Number of spaces between two columns."""
_NAMES, _TEXT = 24, 12
"""Least width of the first column, and of another column of text, if their text is that long."""


def _fitted(
    columns: Sequence[str], cells: Sequence[Sequence[Text]], right: Sequence[str], room: int
) -> tuple[dict[int, int], list[str]]:
    """(widths of the columns of numbers, columns that are left out); both empty if everything fits."""
    longest = [max([0, *(max(map(len, row[i].plain.split("\n"))) for row in cells)]) for i in range(len(columns))]
    if sum(max(len(column), cell) + GAP for column, cell in zip(columns, longest, strict=True)) <= room + GAP:
        return {}, []
    least = {}
    for i, column in enumerate(columns):
        words = max([0, *map(len, column.split())])
        least[i] = max(words, longest[i] if column in right else min(longest[i], _TEXT if i else _NAMES))
    numbers = [i for i, column in enumerate(columns) if column in right]
    left_out = []
    while len(numbers) > 1 and sum(least.values()) + GAP * (len(least) - 1) > room:
        left_out.append(numbers.pop())
        del least[left_out[-1]]
    return {i: least[i] for i in numbers}, [columns[i] for i in sorted(left_out)]
