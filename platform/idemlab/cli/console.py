"""What the commands print with: results go to stdout, everything else to stderr. Text of users is never read as markup."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TextIO

from ..errors import IdemlabError
from ..system import strict_json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

__all__ = ["console", "is_main_process", "loading", "note", "only_results", "show", "show_error", "show_json", "table"]

PIPE_WIDTH = 10_000
"""Columns where nobody looks: lines in a pipe or a file are never wrapped, so that they can be searched."""


def console(stream: TextIO) -> Console:
    """A rich console on a stream: in colour on a terminal, plain elsewhere."""
    from rich.console import Console

    made = Console(file=stream, markup=False, highlight=False, emoji=False)
    return (
        made if made.is_terminal else Console(file=stream, markup=False, highlight=False, emoji=False, width=PIPE_WIDTH)
    )


def show(*things: RenderableType) -> None:
    """Print results to stdout."""
    _print(_result(), things)


def note(*things: RenderableType) -> None:
    """Print to stderr what is not the result."""
    _print(sys.stderr, things)


def _print(stream: TextIO, things: Iterable[RenderableType]) -> None:
    out = console(stream)
    with out.capture() as captured:  # so that a closed pipe is met here, and not swallowed by rich
        for thing in things:
            out.print(thing)
    text = captured.get()
    stream.write(text if out.is_terminal else re.sub(r" +$", "", text, flags=re.MULTILINE))


def is_main_process() -> bool:
    """Whether this is the process of a distributed run that prints: known from what the launcher sets, without torch."""
    return _rank() == "0"


def _rank() -> str:
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))


@contextmanager
def loading() -> Iterator[None]:
    """Say on a terminal that it takes a while; nothing of it is left afterwards."""
    out = console(sys.stderr)
    if out.is_terminal and is_main_process():
        with out.status("loading"):
            yield
    else:
        yield


def show_json(content: Any) -> None:
    """Print plain values as JSON to stdout."""
    _result().write(strict_json.dumps(content, indent=1) + "\n")
    _result().flush()


_results: list[TextIO] = []
"""Where results go while stdout is kept for them; empty otherwise."""


def _result() -> TextIO:
    return _results[-1] if _results else sys.stdout


@contextmanager
def only_results() -> Iterator[None]:
    """Keep stdout for what `show` and `show_json` print. Whatever else writes there meanwhile, a plugin that prints, a
    library in C or a child process, is heard on stderr."""
    outer = sys.stdout
    outer.flush()
    kept = None
    with contextlib.suppress(OSError, ValueError):  # no file at all, in a test, or a closed one
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
            outer.flush()  # what was written past `sys.stdout` while descriptor 1 was stderr
            os.dup2(kept, 1)
            with contextlib.suppress(BrokenPipeError):  # the reader has seen enough
                results.close()


def show_error(error: IdemlabError) -> None:
    """Print an error to stderr: what is wrong, then one labelled line each for where, what was expected, the next step.

    Other processes than the main one leave it at one line: most often the main one tells the same, but not always.
    """
    if not is_main_process():
        if error.exit_code != 130:
            sys.stderr.write(f"error in process {_rank()}: {error.what}\n")
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
    """A table without lines around it, as wide as the terminal at most.

    Columns named in `right` hold numbers: they are aligned to the right and never broken. Where there is no room for all of
    them the last ones are left out, which the caption says.
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
"""Spaces between two columns."""
_NAMES, _TEXT = 24, 12
"""Characters that the first column, and another column of text, have at least, if they need them."""


def _fitted(
    columns: Sequence[str], cells: Sequence[Sequence[Text]], right: Sequence[str], room: int
) -> tuple[dict[int, int], list[str]]:
    """(widths of the columns of numbers, columns that are left out); neither where all fits as it is."""
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
