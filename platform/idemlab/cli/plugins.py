"""`plugins`: lists installed and known plugins, and writes a new one."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..catalog.catalog import installed
from ..contracts.specs import KINDS
from .app import Group, app, example
from .browsing import PLURALS, kind_of
from .console import note, show, show_json, table
from .options import Json

if TYPE_CHECKING:
    pass


# -- plugins ------------------------------------------------------------------------------------------------------------


plugins = typer.Typer(cls=Group, rich_markup_mode=None)
app.add_typer(plugins, name="plugins")


@plugins.callback(invoke_without_command=True, epilog=example("idemlab plugins", "idemlab plugins list --json"))
def plugins_(context: typer.Context, as_json: Json = False) -> None:
    """List the installed plugins, what they offer, and how to fix broken ones."""
    if context.invoked_subcommand is None:
        _show_plugins(as_json)


@plugins.command(
    "list", epilog=example("idemlab plugins list", "idemlab plugins list --json", "idemlab plugins list --available")
)
def plugins_list(
    context: typer.Context,
    available: Annotated[
        bool, typer.Option("--available", help="List known plugins, installed or not, and how to install them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the installed plugins, or all known ones."""
    assert context.parent is not None
    as_json = as_json or context.parent.params["as_json"]
    if available:
        _show_available(as_json)
    else:
        _show_plugins(as_json)


def _show_available(as_json: bool) -> None:
    from ..catalog.known import known_plugins

    index = known_plugins(installed())
    for failure in index.failures:
        note(f"left out: {failure}")
    if as_json:
        show_json([plugin.model_dump() | {"installed": plugin.installed} for plugin in index.plugins])
        return
    rows = [
        [known.name, ", ".join(known.offers), known.summary, known.installed or "no", known.install]
        for known in index.plugins
    ]
    if rows:
        show(table(["plugin", "kind", "", "installed", "install with"], rows))
    else:
        show("no plugin is known")


@plugins.command("new", epilog=example("idemlab plugins new idemlab-shrink", "idemlab plugins new shrink --out work"))
def plugins_new(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Name of the distribution: lower-case words and hyphens.", show_default=False
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder of the project. Default: NAME.", show_default=False)] = None,
    kind: Annotated[
        str, typer.Option(metavar="KIND", help="What the plugin offers: an enforcer, optimizer, schedule or tracker.")
    ] = "enforcer",
) -> None:
    """Write a new plugin project, complete with an enforcer (or another kind), its tests and a licence."""
    from ..scaffold import new_plugin

    files = new_plugin(name, out, kind=kind)
    folder = files[0].parent
    show(
        *(str(path) for path in files),
        "",
        f"Next:  cd {shlex.quote(str(folder))} && pip install -e '.[test]' && pytest",
    )


def _show_plugins(as_json: bool) -> None:
    catalog = installed()
    offers = {
        plugin: {
            PLURALS[kind]: [e.spec.name for e in catalog.entries(kind) if e.plugin == plugin]
            for kind in KINDS
            if any(e.plugin == plugin for e in catalog.entries(kind))
        }
        for plugin in catalog.plugins
    }
    if as_json:
        show_json(
            {
                "plugins": [asdict(plugin) | {"offers": offer} for plugin, offer in offers.items()],
                "failures": [asdict(failure) for failure in catalog.failures],
            }
        )
        return
    rows = []
    for plugin, offer in offers.items():
        counted = (f"{len(names)} {kind if len(names) > 1 else kind_of(kind)}" for kind, names in offer.items())
        rows.append([plugin.name, f"{plugin.distribution} {plugin.version}", ", ".join(counted) or "nothing"])
    if rows:
        show(table(["plugin", "from", "offers"], rows))
    else:
        show("no plugin is loaded")
    for failure in catalog.failures:
        show("")
        _show_failure(str(failure.plugin), failure.cause, failure.fix)


def _show_failure(plugin: str, cause: str, fix: str) -> None:
    from rich.text import Text

    show(Text.assemble(("broken", "bold red"), f": {plugin}"), f"  cause: {cause}", f"  fix: {fix}")
