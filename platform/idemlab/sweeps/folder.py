"""The folder of a sweep: reading and writing sweep.toml, and checking that a resumed sweep is the same one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from uuid import uuid4

import tomli_w

from ..errors import BadInput, Failure
from ..experiment import toml
from ..experiment.experiment import Experiment
from ..system.files import folder_for, write_text
from ..wording import command
from .journal import JOURNAL
from .storage import masked
from .sweep import Sweep

__all__ = [
    "Place",
    "check_folder",
    "check_kept",
    "check_same",
    "content_of",
    "is_kept",
    "open_folder",
    "place_of",
    "read_sweep",
    "sweep_of",
]


def read_sweep(folder: Path) -> tuple[Sweep, str | None, str]:
    """(sweep, URL of its database without password or None, its name there), as the sweep's folder has them.

    Raises:
        BadInput: if the folder holds no sweep.
    """
    if not _file(folder).is_file():
        is_run = (folder / "experiment.toml").is_file()
        raise BadInput(
            f"'{folder}' is a run, not a sweep" if is_run else f"'{folder}' holds no sweep",
            expected="a folder with sweep.toml",
            choices=sorted(str(path.parent) for path in folder.parent.glob("*/sweep.toml")),
            next_step=f"{command('compare', folder)} shows the run" if is_run else "idemlab sweep starts one",
        )
    content = toml.read(_file(folder))
    storage = content.get("storage", {})
    return sweep_of(content), storage.get("url"), storage.get("name", "sweep")


def sweep_of(content: Mapping[str, Any]) -> Sweep:
    """The sweep that sweep.toml describes."""
    names = {field.name for field in fields(Sweep)}
    return Sweep(**{key: value for key, value in content["sweep"].items() if key in names})


def _file(path: Path) -> Path:
    return path / "sweep.toml"


def is_begun(path: Path) -> bool:
    """Whether a folder holds a sweep, finished or not."""
    return _file(path).is_file()


def is_kept(path: Path) -> bool:
    """Whether a folder belongs to a record: it keeps the table of a sweep, but neither its storage nor its runs."""
    there = _file(path).is_file() and (path / "table.csv").is_file() and not (path / JOURNAL).exists()
    return there and "storage" not in toml.read(_file(path))


@dataclass(frozen=True)
class Place:
    """Key under which a database stores a sweep.

    Args:
        name: name of the sweep: that of its folder when the sweep began.
        key: unique to this folder, since machines may share a name, and folders a path.
    """

    name: str
    key: str


def place_of(path: Path) -> Place:
    """The place that the folder has on file; a new one for a new folder, and for a copy of another."""
    begun = _begun(path)
    key, origin = begun.get("folder", ""), Path(begun.get("path", path))
    if not key or (origin.resolve() != path.resolve() and _begun(origin).get("folder") == key):
        key = uuid4().hex
    return Place(begun.get("name", path.resolve().name), key)


def _begun(path: Path) -> dict[str, str]:
    """The table [storage] of sweep.toml; empty without one."""
    begun: dict[str, str] = toml.read(_file(path)).get("storage", {}) if _file(path).is_file() else {}
    return begun


def content_of(sweep: Sweep, first: Experiment) -> dict[str, Any]:
    """The content of sweep.toml: the sweep, and its first experiment, resolved."""
    plain: dict[str, Any] = _plain({"sweep": sweep.table(), "first": first.table()})
    return plain


def check_folder(sweep: Sweep, path: Path, first: Experiment, storage: str | None, *, resume: bool) -> None:
    """Check that a folder is new, or holds the same sweep in the same storage and is to be resumed."""
    folder_for(path, "the sweep")
    if _file(path).is_file():
        if not resume:
            raise BadInput(
                f"'{path}' holds a sweep already",
                next_step="choose another `out`, or continue this sweep: `resume`",
            )
        if is_kept(path):
            raise BadInput(
                f"'{path}' is part of a record: its table can be read, but its trials cannot be resumed",
                next_step="choose another `out`",
            )
        before = toml.read(_file(path))
        check_same(before, sweep, first, f"'{path}'")
        for key, wanted, there in _numbers(sweep, sweep_of(before)):
            if wanted < there:  # the surplus trials would stay in the table unnoticed
                raise BadInput(
                    f"the sweep in '{path}' has {there} {key}, not {wanted}",
                    where=key,
                    expected=f"`{key} = {there}`, or more",
                )
        kept, now = before.get("storage", {}).get("url"), None if storage is None else masked(storage)
        if kept != now:  # another storage would train all trials again, over the existing runs
            place = f"'{kept}'" if kept else "its journal"
            raise BadInput(
                f"the trials of the sweep in '{path}' are in {place}",
                where="storage",
                expected=f"`storage = {kept}`" if kept else "no `storage`",
                next_step="resume it with that storage, or start a new sweep in another `out`"
                + (f"; if the database has moved, say where in {_file(path)}, [storage]" if kept and now else ""),
            )
    elif path.is_dir() and any(not found.name.startswith(".lock") for found in path.iterdir()):
        raise BadInput(
            f"'{path}' is not empty and holds no sweep",
            expected="a new or empty folder",
            next_step="choose another `out`",
        )


def _numbers(sweep: Sweep, begun: Sweep) -> list[tuple[str, int, int]]:
    return [("seeds", sweep.seeds, begun.seeds), ("trials", sweep.trials or 0, begun.trials or 0)]


def check_same(before: Mapping[str, Any], sweep: Sweep, first: Experiment, where: str) -> None:
    """Check that a sweep is the one that was begun."""
    experiments = [toml.flat(_plain(first.table())), toml.flat(before["first"])]
    _refuse(toml.differing(experiments), before, sweep, where)


def check_kept(sweep: Sweep, path: Path, first: Experiment) -> None:
    """Check that a record holds this sweep. Keys that the record lacks are ignored: they are newer than it."""
    before = toml.read(_file(path))
    then, now = toml.flat(before["first"]), toml.flat(_plain(first.table()))
    _refuse(toml.differing([then, {key: now[key] for key in then if key in now}]), before, sweep, f"'{path}'")


def _refuse(changed: list[str], before: Mapping[str, Any], sweep: Sweep, where: str) -> None:
    now, begun = sweep.table(), sweep_of(before).table()
    changed += [
        key for key in ("over", "sampler", "metric", "maximize", "pruner") if _plain(now[key]) != _plain(begun[key])
    ]
    if changed:
        raise BadInput(
            f"the sweep differs from the one in {where}: {', '.join(changed)}",
            expected="the same experiment and the same values; only `seeds` and `trials` may grow",
            next_step="resume it unchanged, or start a new sweep in another `out`",
        )


def open_folder(sweep: Sweep, path: Path, first: Experiment, storage: str | None, place: Place) -> None:
    """Make the folder and write sweep.toml, without the database's password."""
    content = content_of(sweep, first)
    if storage is not None:
        content["storage"] = {
            "url": masked(storage),
            "name": place.name,
            "folder": place.key,
            "path": str(path.resolve()),
        }
    text = "# The sweep, and its first trial, resolved. Every other trial differs from it in the keys of `over`.\n"
    text += tomli_w.dumps(content)
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_text(_file(path), text)
    except OSError as error:
        raise Failure(f"the folder '{path}' cannot be written: {error}", next_step="choose another `out`") from error


def _plain(table: Any) -> Any:
    """Nested tables as a TOML file gives them back."""
    if isinstance(table, Mapping):
        return {key: _plain(value) for key, value in table.items() if value is not None}
    if isinstance(table, (list, tuple)):
        return [_plain(value) for value in table]
    return table
