"""Resolve a name, a file or a table into a checked experiment. Works without torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..catalog.catalog import Catalog, or_installed
from ..errors import BadInput
from ..wording import clipped, with_article
from .checking import check
from .experiment import Experiment
from .files import entered, locate, read
from .overrides import in_order, merged, written_out

__all__ = ["resolve"]

_LONGEST = 16
"""Largest length of a chain of experiments, each based on the next."""


def resolve(
    reference: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    catalog: Catalog | None = None,
    parts: Mapping[str, Any] | None = None,
) -> Experiment:
    """Load an experiment, apply its base and the overrides, and check every name, key, type and range.

    A path in a file is relative to that file. A path in an override or in a given table is relative to the working
    directory. The resolved experiment has absolute paths, so that its file can be moved.

    Args:
        reference: name of a registered experiment, path of a TOML file or of a run, or the table itself.
        overrides: ``key=value`` with dotted keys, for instance ``enforcer.step=0.5``; the value is TOML, or else text.
        catalog: resolves names; default: the installed plugins.
        parts: a table that is laid over the experiment before the overrides.

    Raises:
        BadInput: names the file, the key, the choices and the nearest match.
    """
    catalog = or_installed(catalog)
    if isinstance(reference, os.PathLike):  # of another kind than pathlib's, such as what os.scandir yields
        reference = Path(reference)
    if isinstance(reference, Mapping):
        name, where = "experiment", "the given table"
        where, table = _with_base(entered(reference, Path(), where), where, Path(), catalog, ())
    elif not isinstance(reference, (str, Path)):
        raise BadInput(
            f"an experiment cannot be {with_article(type(reference).__name__)}",
            where="experiment",
            expected="a name, a path, or a table",
            next_step="idemlab list experiments",
        )
    else:
        name, where, table = _loaded(locate(reference, catalog), catalog, ())
    if parts:
        table = merged(table, entered(parts, Path(), "the given parts"))
        where = f"{where} with the given {', '.join(parts)}"
    if isinstance(overrides, str):  # one of them: a text is a sequence, too
        overrides = [overrides]
    overrides = list(overrides)
    if overrides:
        table = written_out(table)
        for each in overrides:
            if not isinstance(each, str):
                raise BadInput(
                    f"an override cannot be {with_article(type(each).__name__)}",
                    where="overrides",
                    expected="texts key=value, for instance 'enforcer.weight=0.5'",
                )
        for override in in_order(overrides):
            table = merged(table, override)
        written = clipped(", ".join(f"'{override}'" for override in overrides), 200)
        where = f"{where} with the override{'s' if len(overrides) > 1 else ''} {written}"
    return check(name, table, where, catalog)


def _loaded(path: Path, catalog: Catalog, above: tuple[Path, ...]) -> tuple[str, str, dict[str, Any]]:
    """(name, where, table) of an experiment file, merged with its base. The experiments `above` are based on it."""
    where = path.name if path.parent.name == "experiments" else clipped(str(path), 200)
    chain = (*above, path.resolve())
    if path.resolve() in above:
        circle = clipped(" -> ".join(link.name for link in chain), 200)
        raise BadInput(f"experiments are based on each other in a circle: {circle}", where=f"{where}, key 'base'")
    if len(chain) > _LONGEST:
        raise BadInput(f"more than {_LONGEST} experiments are based on each other", where=f"{where}, key 'base'")
    return path.stem, *_with_base(read(path, where), where, path.parent, catalog, chain)


def _with_base(
    table: dict[str, Any], where: str, folder: Path, catalog: Catalog, chain: tuple[Path, ...]
) -> tuple[str, dict[str, Any]]:
    """(where, table), merged with the base if there is one."""
    if "base" not in table:
        return where, table
    base = table.pop("base")
    if not isinstance(base, str):
        raise BadInput(
            "'base' must be the name or the path of an experiment",
            where=f"{where}, key 'base'",
            next_step="idemlab list experiments",
        )
    _, origin, below = _loaded(locate(base, catalog, folder, f"{where}, key 'base'"), catalog, chain)
    return clipped(f"{where} (based on {origin})", 300), merged(below, table)
