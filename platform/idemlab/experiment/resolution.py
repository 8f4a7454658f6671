"""From a name, a file or a table to a checked experiment. Needs no torch."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..catalog.catalog import Catalog, installed
from ..catalog.named import Named
from ..errors import BadInput, nearest_match
from .checking import check
from .experiment import Experiment
from .overrides import in_order, merged, written_out

__all__ = ["resolve"]


def resolve(
    reference: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    catalog: Catalog | None = None,
) -> Experiment:
    """Load an experiment, apply its base and the overrides, and check every name, key, type and range.

    Args:
        reference: name of a registered experiment, path of a TOML file or of a run, or the table itself.
        overrides: ``key=value`` with dotted keys, for instance ``enforcer.step=0.5``; the value is TOML, or else text.
        catalog: defaults to the installed plugins.

    Raises:
        BadInput: names the file, the key, the choices and the nearest match.
    """
    catalog = catalog or installed()
    if isinstance(reference, Mapping):
        name, where = "experiment", "the given table"
        where, table = _with_base(dict(reference), where, Path.cwd(), catalog, ())
    else:
        name, where, table = _read(_locate(reference, catalog), catalog, ())
    if overrides:
        table = written_out(table)
        for override in in_order(overrides):
            table = merged(table, override)
        where = " ".join([where, "with", *(f"--set {override}" for override in overrides)])
    return check(name, table, where, catalog)


def _read(path: Path, catalog: Catalog, above: tuple[Path, ...]) -> tuple[str, str, dict[str, Any]]:
    """(name, where, table with its base merged in) of an experiment's file that those `above` are based on."""
    where = path.name if path.parent.name == "experiments" else str(path)
    chain = (*above, path.resolve())
    if path.resolve() in above:
        circle = " -> ".join(link.name for link in chain)
        raise BadInput(f"experiments are based on each other in a circle: {circle}", where=f"{where}, key 'base'")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"not valid TOML: {error}", where=where, next_step="correct the file; see toml.io") from None
    except (UnicodeDecodeError, OSError) as error:
        raise BadInput(f"cannot be read: {error}", where=where) from None
    return path.stem, *_with_base(table, where, path.parent, catalog, chain)


def _with_base(
    table: dict[str, Any], where: str, folder: Path, catalog: Catalog, chain: tuple[Path, ...]
) -> tuple[str, dict[str, Any]]:
    """(where, table) with the base, if there is one, merged in."""
    if "base" not in table:
        return where, table
    base = table.pop("base")
    if not isinstance(base, str):
        raise BadInput(
            "'base' must be the name or the path of an experiment",
            where=f"{where}, key 'base'",
            next_step="idemlab list experiments",
        )
    _, origin, below = _read(_locate(base, catalog, folder, f"{where}, key 'base'"), catalog, chain)
    return f"{where} (based on {origin})", merged(below, table)


def _locate(reference: str | Path, catalog: Catalog, folder: Path = Path(), where: str | None = None) -> Path:
    """The file of an experiment. A registered name comes first: no run's folder of that name may hide it."""
    known = [name for entry in catalog.entries("experiment") for name in (entry.spec.name, *entry.spec.aliases)]
    path = folder / reference
    if isinstance(reference, Path) or reference not in known:
        if path.is_file():
            return path
        if (path / "experiment.toml").is_file():
            return path / "experiment.toml"
        if isinstance(reference, Path) or path.suffix == ".toml" or len(Path(reference).parts) > 1:
            folder_only = path.is_dir()
            raise BadInput(
                f"the folder '{path}' holds no experiment.toml" if folder_only else f"there is no file '{path}'",
                where=where,
                nearest=None if folder_only else nearest_match(path.stem, known),
                next_step="idemlab list experiments",
            )
    entry = catalog.find("experiment", reference, where)
    return Path(Named(entry.full_name, entry).build())
