"""Writes the board: one self-contained page over all runs, sweeps and studies below a folder. Loads no torch."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..certificate.verdict import NOT_IDEMPOTENT
from ..errors import BadInput, Failure
from ..system.files import as_path, write_text
from ..wording import counted, listed, number, percent, plural
from .found import Found, Values
from .html import COLOURS, check_target, link, render
from .inventory import inventory
from .thumbnails import Thumbnail, curve_svg, thumbnail, trials_svg

__all__ = ["Board", "board"]

PICTURES = 12_000_000
"""Bytes of pictures in a page; the rows after them have none, so that the page stays below 20 MB."""
_MEASURED = ("relative", "absolute", "spread", "rank")
_COLUMNS = {
    "name": "run",
    "verdict": "verdict",
    "relative": "relative error",
    "absolute": "absolute error",
    "spread": "spread of f(x)",
    "rank": "rank of n",
    "seed": "seed",
    "steps": "steps",
    "written": "written",
}


@dataclass(frozen=True)
class Board:
    """A board that was written.

    Args:
        path: of the page.
        counts: how many it shows of each kind: "run", "trial", "sweep", "study", and "folder" for one that cannot be read.
        damaged: how many of them cannot be read in full.
    """

    path: Path
    counts: dict[str, int]
    damaged: int

    @property
    def counted(self) -> str:
        """How many there are of each kind: `3 runs, 1 sweep and 20 trials`."""
        irregular = {"study": "studies"}
        return listed([f"{counted(n, kind, irregular.get(kind))}" for kind, n in self.counts.items()])


def board(folder: str | Path = ".", out: str | Path | None = None) -> Board:
    """Write one page with all runs, sweeps and studies below a folder, and their pictures. The reader can sort and filter
    it.

    The row of a damaged run says so. Runs may continue to train meanwhile.

    Args:
        folder: where to look, in all its subfolders that are not hidden.
        out: the page; default: board.html in the folder.

    Raises:
        BadInput: if the folder does not exist or holds nothing to show, or `out` does not end in .html.
        Failure: if the page cannot be written.
    """
    root = as_path(folder, "folder")
    target = root / "board.html" if out is None else Path(out)
    check_target(target)
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise BadInput(f"'{folder}' {what}", expected="a folder with runs, sweeps or studies below it")
    found = list(inventory(root))
    if not found:
        raise BadInput(
            f"there is no run, sweep or study below '{folder}'",
            expected="folders with experiment.toml or sweep.toml, or records of studies",
            next_step="name another folder, or make a run: idemlab run digits-projector",
        )
    made = Board(target, Counter(one.kind for one in found), sum(one.state == "damaged" for one in found))
    page = _page(root, made, found)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, page)
    except OSError as error:
        raise Failure(
            f"the board cannot be written: {error}", where=str(target), next_step="choose another `out`"
        ) from error
    return made


def _page(root: Path, made: Board, found: Sequence[Found]) -> str:
    pictures, notes = _pictures(root, found)
    inputs = list(dict.fromkeys(name for one in found for name in (*one.values, *one.curves)))
    inputs.sort(key=lambda name: name != "data")
    colours = {name: i % 7 for i, name in enumerate(inputs)}
    rows = [_row(one, root, made.path, picture, colours) for one, picture in zip(found, pictures, strict=True)]
    filters = {key: sorted({row[key] for row in rows} - {""}) for key in ("kind", "verdict", "state", "experiment")}
    return render(
        "board.html.j2",
        scripts=["board.js"],
        name=root.resolve().name,
        counted=made.counted,
        written=_date(datetime.now().timestamp()),
        notes=notes,
        rows=rows,
        filters={key: choices for key, choices in filters.items() if len(choices) > 1},
        inputs=inputs,
        columns=_COLUMNS,
        measured=_MEASURED,
        sweeps=any(one.kind == "sweep" for one in found),
        limit=NOT_IDEMPOTENT,
    )


def _pictures(root: Path, found: Sequence[Found]) -> tuple[list[Thumbnail | None], list[str]]:
    """(thumbnail of each entry, remarks about those that are missing)."""
    with ThreadPoolExecutor() as workers:  # Pillow works outside of Python's lock
        made = list(workers.map(lambda one: None if one.picture is None else thumbnail(one.picture), found))
    notes = []
    unread = [one for one, picture in zip(found, made, strict=True) if one.picture is not None and picture is None]
    if unread:
        more = f" and {len(unread) - 1} more" if unread[1:] else ""
        notes.append(f"Pictures that cannot be read are left out: {_name(unread[0], root)}{more}.")
    room, kept, dropped = PICTURES, list[Thumbnail | None](), 0
    for picture in made:
        room -= len(picture.source) if picture else 0
        kept.append(picture if room >= 0 else None)
        dropped += picture is not None and room < 0
    if dropped:
        left_out = f"{counted(dropped, 'picture')} {plural(dropped, 'is', 'are')} left out"
        notes.append(f"{left_out} so that the page stays small: make a board of fewer runs.")
    return kept, notes


# -- rows ---------------------------------------------------------------------------------------------------------------


def _row(one: Found, root: Path, target: Path, picture: Thumbnail | None, colours: dict[str, int]) -> dict[str, Any]:
    """What the template shows of one entry."""
    curves = [(colours[name], curve) for name, curve in one.curves.items()]
    written = _date(one.changed) if one.changed else ""
    seed, steps = ("" if value is None else str(value) for value in (one.seed, one.steps))
    return {
        "kind": one.kind,
        "name": Path(_name(one, root)).name,
        "within": Path(_name(one, root)).parts[:-1],
        "link": None if one.page is None else link(one.page, target),
        "state": one.state,
        "verdict": one.verdict,
        "told": one.told,
        "colour": COLOURS.get(one.verdict or one.state, "wrong"),
        "experiment": one.experiment,
        "details": [detail for detail in (" · ".join(one.parts), one.settings) if detail],
        "picture": picture,
        "graph": trials_svg(one.trials) if one.trials else curve_svg(curves),
        "at": _values(one),
        "facts": {"seed": seed, "steps": steps, "written": written},
        "order": {
            "name": _name(one, root),
            "verdict": one.verdict or one.state,
            "seed": one.seed,
            "steps": one.steps,
            "written": one.changed or None,
        },
    }


def _name(one: Found, root: Path) -> str:
    path = os.path.relpath(one.path, root)
    return root.resolve().name if path == "." else path


def _values(one: Found) -> dict[str, dict[str, tuple[float | None, str, str]]]:
    """Inputs -> value -> (number to sort by, text, small text below); the worst inputs have the name "". Empty if nothing
    was measured."""
    if one.worst is None:
        return {}
    shown = {name: _shown(values, "") for name, values in one.values.items()}
    return shown | {"": _shown(one.values[one.worst], f"at {one.worst}")}


def _shown(values: Values, below: str) -> dict[str, tuple[float | None, str, str]]:
    of_n = "" if values.dimension is None else f" of {number(values.dimension)}"
    return {
        "relative": (_sortable(values.relative), _text(values.relative), below),
        "absolute": (_sortable(values.absolute), _text(values.absolute), ""),
        "spread": (
            _sortable(values.spread),
            _text(values.spread),
            "" if values.share is None else f"{percent(values.share)} of x's",
        ),
        "rank": (_sortable(values.rank), f"{_text(values.rank)}{of_n}" if values.rank is not None else "", ""),
    }


def _text(value: float | None) -> str:
    return "" if value is None else number(value)


def _sortable(value: float | None) -> float | None:
    """A number that JSON can hold: what is not finite is larger than everything."""
    return value if value is None or math.isfinite(value) else 1e300


def _date(moment: float) -> str:
    return datetime.fromtimestamp(moment).strftime("%Y-%m-%d %H:%M")
