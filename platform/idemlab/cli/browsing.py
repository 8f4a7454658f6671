"""`list`: the installed models, datasets, enforcers and so on, by kind. It loads no torch, so that it answers at once."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..catalog.catalog import Catalog, installed
from ..catalog.provided import Provided
from ..contracts.specs import KINDS
from ..errors import BadInput, nearest_match
from ..wording import with_article
from .app import app, example
from .console import note, show, show_json, table
from .options import Json

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


PLURALS = {kind: "studies" if kind == "study" else f"{kind}s" for kind in KINDS}
HOME = "idemlab"
"""The distribution that listings do not name."""


def kind_of(word: str) -> str:
    """A kind by its singular or plural name."""
    words = {name: kind for kind in KINDS for name in (kind, PLURALS[kind])}
    if word not in words:
        near = nearest_match(word, words)
        raise BadInput(
            f"there is no kind '{word}'",
            choices=list(PLURALS.values()),
            nearest=near and PLURALS[words[near]],
            next_step="idemlab list",
        )
    return words[word]


def _warn_of_failures(catalog: Catalog) -> None:
    if catalog.broken:
        note(f"{', '.join(catalog.broken)} could not be loaded completely; for the reason: idemlab plugins")


def brief(entry: Provided) -> dict[str, Any]:
    spec, plugin = entry.spec, entry.plugin
    return {
        "kind": spec.kind,
        "name": spec.name,
        "summary": spec.summary,
        "reference": spec.reference,
        "aliases": list(spec.aliases),
        "distribution": plugin.distribution,
        "version": plugin.version,
    }


def matching(
    catalog: Catalog, name: str, kind: str | None, suggested: Collection[str] = tuple(KINDS)
) -> list[Provided]:
    """All entries with this name or alias (or `distribution:name`), of one kind or of all kinds.

    Args:
        suggested: kinds of which the nearest name is suggested if nothing has this name.
    """
    distribution, _, bare = name.rpartition(":")
    entries = [entry for entry in catalog if kind in (None, entry.spec.kind)]
    found = [
        entry
        for entry in entries
        if bare in (entry.spec.name, *entry.spec.aliases) and distribution in ("", entry.plugin.distribution)
    ]
    if found:
        return [entry for entry in found if entry.spec.name == bare] or found
    if kind is not None:
        catalog.find(kind, name)
    kinds = {
        called: entry.spec.kind
        for entry in entries
        if entry.spec.kind in suggested
        for called in (entry.spec.name, *entry.spec.aliases)
    }
    near = nearest_match(name, kinds)
    what = f"nothing is called '{name}'"
    if catalog.broken:
        what += f"; plugins that could not be loaded: {', '.join(catalog.broken)}"
    near = near and f"{near} ({with_article(kinds[near])})"
    raise BadInput(what, nearest=near, next_step="idemlab plugins" if catalog.broken else "idemlab list")


# -- list ---------------------------------------------------------------------------------------------------------------


@app.command("list", epilog=example("idemlab list", "idemlab list enforcers", "idemlab list datasets --json"))
def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="[KIND]", help=f"One of {', '.join(PLURALS.values())}. Default: all.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the named things that the installed plugins offer."""
    catalog = installed()
    kinds = [kind_of(kind)] if kind is not None else list(KINDS)
    if as_json:
        show_json([brief(entry) for kind in kinds for entry in catalog.entries(kind)])
        return
    filled = [(kind, catalog.entries(kind)) for kind in kinds if catalog.entries(kind) or len(kinds) == 1]
    width = max((len(name) for _, entries in filled for name in _names(entries)), default=0)
    things: list[RenderableType] = []
    for kind, entries in filled:
        things += ["", _kind_table(kind, entries, width)]
    show(*things[1:])
    if not any(entries for _, entries in filled):
        show("no plugin offers any")
    elif len(kinds) > 1 and not any(entry.plugin in catalog.plugins for entry in catalog):
        show("", "no plugin offers any of the other kinds")
    _warn_of_failures(catalog)


def _names(entries: list[Provided]) -> list[str]:
    """The names of the entries; full names where two plugins offer the same name."""
    bare = [entry.spec.name for entry in entries]
    return [entry.full_name if bare.count(entry.spec.name) > 1 else entry.spec.name for entry in entries]


def _kind_table(kind: str, entries: list[Provided], width: int) -> Table:
    strange = any(entry.plugin.distribution != HOME for entry in entries)
    columns = [PLURALS[kind].ljust(width), "", *(["from"] if strange else [])]
    rows = []
    for name, entry in zip(_names(entries), entries, strict=True):
        origin = "" if entry.plugin.distribution == HOME else f"{entry.plugin.distribution} {entry.plugin.version}"
        rows.append([name, entry.spec.summary, *([origin] if strange else [])])
    return table(columns, rows)
