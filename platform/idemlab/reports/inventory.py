"""Finds the runs, sweeps and studies below a folder. Nothing stops it: what cannot be read becomes an entry that says so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..runs.run import Run
from .found import Found, Trials
from .found_runs import found_run
from .found_sweeps import found_study, found_sweep

__all__ = ["inventory"]

_INSIDE = frozenset({"checkpoints", "figures", "tables", "node_modules", "__pycache__"})
"""Folders that hold no runs."""


def inventory(folder: Path) -> Iterator[Found]:
    """Everything below a folder, in the order of the names. Hidden folders are left out, and each folder is read once."""
    waiting: list[tuple[Path, Trials]] = [(folder, {})]
    seen: set[tuple[int, int]] = set()
    while waiting:
        path, trials = waiting.pop()
        try:
            place = path.stat()
            if (place.st_dev, place.st_ino) in seen:  # two links to one folder, or a link to a folder above
                continue
            seen.add((place.st_dev, place.st_ino))
            with os.scandir(path) as entries:
                inside = {entry.name: entry.is_dir() for entry in entries}
        except OSError as error:
            yield Found(kind="folder", path=path, state="damaged", told=f"The folder cannot be read: {error.strerror}.")
            continue
        if "pyvenv.cfg" in inside:
            continue
        below: Trials = {}
        if "experiment.toml" in inside:
            yield found_run(Run(path), trials.get(path.name))
        elif "sweep.toml" in inside:
            sweep, below = found_sweep(path)
            yield sweep
        elif {"claims.json", "README.md"} <= inside.keys():
            yield found_study(path)
        elif path.name == "trials":
            below = trials
        folders = sorted(name for name, is_folder in inside.items() if is_folder and _may_hold_runs(name))
        waiting += [(path / name, below) for name in reversed(folders)]


def _may_hold_runs(name: str) -> bool:
    return not name.startswith(".") and not name.endswith(".tmp") and name not in _INSIDE
