"""`list`, `show` and `plugins`: what is installed. Without torch, so that they answer at once."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..catalog.catalog import Catalog, installed
from ..catalog.named import Named
from ..catalog.provided import Provided
from ..catalog.schema import REQUIRED, Parameter, parameters
from ..contracts.specs import KINDS, EnforcerSpec, Spec, StudySpec, Traits
from ..errors import BadInput, nearest_match
from .app import Group, app, example
from .console import console, note, show, show_json, table

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from ..experiment.experiment import Experiment
    from ..studies.study import Study

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

PLURALS = {kind: "studies" if kind == "study" else f"{kind}s" for kind in KINDS}
HOME = "idemlab"
"""The distribution whose name goes without saying."""


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
        note(f"some of what {', '.join(catalog.broken)} offers could not be loaded: idemlab plugins")


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
        show_json([_brief(entry) for kind in kinds for entry in catalog.entries(kind)])
        return
    filled = [(kind, catalog.entries(kind)) for kind in kinds if catalog.entries(kind) or len(kinds) == 1]
    width = max((len(name) for _, entries in filled for name in _names(entries)), default=0)
    things: list[RenderableType] = []
    for kind, entries in filled:
        things += ["", _kind_table(kind, entries, width)]
    show(*things[1:])
    if not any(entries for _, entries in filled):
        show("no plugin offers any")
    _warn_of_failures(catalog)


def _names(entries: list[Provided]) -> list[str]:
    """Their names; the full ones where two plugins offer the same."""
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


def _brief(entry: Provided) -> dict[str, Any]:
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


# -- show ---------------------------------------------------------------------------------------------------------------


@app.command(
    "show", epilog=example("idemlab show cubic", "idemlab show digits-projector", "idemlab show gaussian --kind source")
)
def show_(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Of anything listed, or the path of an experiment file.", show_default=False
        ),
    ],
    kind: Annotated[str | None, typer.Option(metavar="KIND", help="Only of this kind.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Explain a named thing: its arguments, or a whole experiment."""
    catalog = installed()
    if _is_file(name):
        from ..experiment.resolution import resolve

        experiment = resolve(Path(name), catalog=catalog)
        if as_json:
            show_json([{"kind": "experiment", "name": experiment.name, "experiment": experiment.table()}])
        else:
            _show_experiment(experiment, name)
        return
    entries = matching(catalog, name, kind_of(kind) if kind is not None else None)
    if as_json:
        show_json([_brief(entry) | _details(entry, catalog) for entry in entries])
        return
    for position, entry in enumerate(entries):
        if position:
            show("")
        _show_entry(entry, catalog)


def _is_file(name: str) -> bool:
    path = Path(name)
    return path.suffix == ".toml" or os.sep in name or (path / "experiment.toml").is_file()


def matching(catalog: Catalog, name: str, kind: str | None) -> list[Provided]:
    """All things of this name or alias (or `distribution:name`), of one kind or of all."""
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
    near = nearest_match(name, [n for entry in entries for n in (entry.spec.name, *entry.spec.aliases)])
    what = f"nothing is called '{name}'"
    if catalog.broken:
        what += f"; plugins that could not be loaded: {', '.join(catalog.broken)}"
    raise BadInput(what, nearest=near, next_step="idemlab plugins" if catalog.broken else "idemlab list")


def _arguments(spec: Spec) -> list[Parameter]:
    """The arguments that stand in an experiment file."""
    if spec.kind in ("experiment", "study"):
        return []
    return parameters(spec.factory, skip=1 if spec.kind == "model" else 0)


def _default(parameter: Parameter) -> str:
    """The default value as it would be written in an experiment file."""
    value = parameter.default
    if value is REQUIRED:
        return "required"
    return "none" if value is None else json.dumps(value, default=str, ensure_ascii=False)


def _help(spec: Spec) -> tuple[str, dict[str, str]]:
    """(text, help of each argument) of the factory's docstring, each paragraph on one line."""
    docstring = inspect.getdoc(spec.factory) if inspect.isfunction(spec.factory) else None
    text, _, arguments = (docstring or "").partition("Args:\n")
    listed = textwrap.dedent(arguments.partition("\n\n")[0])
    found = re.findall(r"^(\w+)[^:\n]*:(.*(?:\n[ \t]+.*)*)", listed, flags=re.MULTILINE)
    return _one_line_paragraphs(text), {name: " ".join(words.split()) for name, words in found}


def _one_line_paragraphs(text: str) -> str:
    """Paragraphs without line breaks; indented ones, such as code and formulas, are left alone."""
    paragraphs = text.strip().split("\n\n")
    return "\n\n".join(p if re.search(r"^[ \t]", p, re.MULTILINE) else " ".join(p.split()) for p in paragraphs)


def _traits(entry: Provided, arguments: list[Parameter]) -> Traits | None:
    """An enforcer's traits under its default arguments; None if they depend on arguments that must be given."""
    spec = entry.spec
    if not isinstance(spec, EnforcerSpec):
        return None
    if isinstance(spec.traits, Traits):
        return spec.traits
    if any(argument.default is REQUIRED for argument in arguments):
        return None
    defaults = {argument.name: argument.default for argument in arguments}
    return Named(entry.full_name, entry, defaults).traits()


def _remarkable(traits: Traits) -> Iterator[str]:
    """What sets an enforcer apart, in words."""
    if traits.domain is not None:
        yield "real eigenvalues in [{:g}, {:g}]".format(*traits.domain)
    if not traits.smooth:
        yield "not smooth at idempotents"
    if not traits.batch_statistics:
        yield "not exact with batch statistics"
    if traits.kinds and not traits.attracts:
        yield "does not attract alone"
    for name, value in asdict(traits).items():
        if value is True and name not in ("smooth", "batch_statistics", "attracts"):
            yield name.replace("_", " ")


def _details(entry: Provided, catalog: Catalog) -> dict[str, Any]:
    """What `show --json` has beyond `list --json`."""
    spec, arguments = entry.spec, _arguments(entry.spec)
    text, helps = _help(spec)
    details: dict[str, Any] = {
        "help": text,
        "arguments": [
            {
                "name": argument.name,
                "type": argument.type_text,
                "required": argument.default is REQUIRED,
                "default": None if argument.default is REQUIRED else argument.default,
                "help": helps.get(argument.name, ""),
            }
            for argument in arguments
        ],
    }
    traits = _traits(entry, arguments)
    if traits is not None:
        details["traits"] = asdict(traits) | {"kinds": sorted(traits.kinds)}
    if spec.kind == "experiment":
        from ..experiment.resolution import resolve

        details["experiment"] = resolve(entry.full_name, catalog=catalog).table()
    return details


def _show_entry(entry: Provided, catalog: Catalog) -> None:
    spec, arguments = entry.spec, _arguments(entry.spec)
    text, helps = _help(spec)
    _show_title(spec.kind, spec.name, spec.summary)
    if text and text != spec.summary:
        show("", text)
    facts = [("reference", spec.reference), ("also called", ", ".join(spec.aliases)), ("needs", spec.install)]
    traits = _traits(entry, arguments)
    if traits is not None:
        facts.append(("works by", ", ".join(sorted(traits.kinds))))
        facts.append(("traits", ", ".join(_remarkable(traits))))
    elif isinstance(spec, EnforcerSpec):
        facts.append(("traits", "depend on its arguments"))
    facts.append(("from", str(entry.plugin)))
    _show_facts(facts)
    if spec.kind == "experiment":
        from ..experiment.resolution import resolve

        _show_experiment_body(resolve(entry.full_name, catalog=catalog), spec.name)
    elif isinstance(spec, StudySpec):
        from ..studies.study import find_study

        _show_sweeps(find_study(entry.full_name, catalog)[1])
    elif arguments:
        rows = [[a.name, a.type_text, _default(a), helps.get(a.name, "")] for a in arguments]
        show("", table(["argument", "type", "default", ""], rows))
    else:
        show("", "It takes no arguments.")


def _show_title(kind: str, name: str, summary: str) -> None:
    from rich.text import Text

    show(Text.assemble((name, "bold"), f", {kind}: {summary}"))


def _show_sweeps(study: Study) -> None:
    """What a study runs, as TOML."""
    import tomli_w

    if study.sweeps:
        show("", tomli_w.dumps({"sweep": {name: plan.given() for name, plan in study.sweeps.items()}}).rstrip())
    else:
        show("", "It runs no experiments: everything is computed.")


def _show_facts(facts: list[tuple[str, str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for label, value in facts:
        if value:
            grid.add_row(Text(label, style="dim"), Text(value))
    show("", grid)


def _show_experiment(experiment: Experiment, name: str) -> None:
    _show_title("experiment", experiment.name, experiment.summary)
    _show_experiment_body(experiment, name)


def _show_experiment_body(experiment: Experiment, name: str) -> None:
    """The resolved file and the keys that can be set."""
    import sys

    toml = experiment.to_toml().rstrip()
    if console(sys.stdout).is_terminal:
        from rich.syntax import Syntax

        show("", Syntax(toml, "toml", theme="ansi_dark", background_color="default", word_wrap=True))
    else:
        show("", toml)
    keys = list(_keys(experiment))
    show("", "Keys for --set:", textwrap.fill(", ".join(keys), 100, initial_indent="  ", subsequent_indent="  "))
    key = f"training.seed={experiment.training.seed + 1}"
    show("", f"For instance: idemlab run {name} --set {key}")


def _keys(experiment: Experiment) -> Iterator[str]:
    """Dotted keys of an experiment, those without a value among them."""

    def of_named(prefix: str, named: Named) -> Iterator[str]:
        yield f"{prefix}.name"
        for key, value in named.arguments.items():
            yield from of_value(f"{prefix}.{key}", value)

    def of_value(prefix: str, value: Any) -> Iterator[str]:
        if isinstance(value, Named):
            yield from of_named(prefix, value)
        elif isinstance(value, (list, tuple)) and any(isinstance(item, Named) for item in value):
            yield prefix
            for index, item in enumerate(value):
                yield from list(of_named(f"{prefix}.{index}", item))[1:]
        else:
            yield prefix

    yield from of_named("dataset", experiment.dataset)
    yield from of_named("model", experiment.model)
    yield from of_value("source", experiment.sources if len(experiment.sources) > 1 else experiment.sources[0])
    yield from of_named("enforcer", experiment.enforcer)
    for part in ("reconstruction", "optimizer", "training", "evaluation"):
        settings = getattr(experiment, part)
        nested: Mapping[str, Any] = {}
        if part == "reconstruction":
            nested = {"input": experiment.corruption}
        elif part == "evaluation":
            nested = {"metrics": list(experiment.metrics)}
        for key in [*type(settings).model_fields, *(settings.model_extra or {})]:
            if key == "inputs":
                for name, source in experiment.inputs.items():
                    yield from of_named(f"{part}.{key}.{name}", source)
            else:
                yield from of_value(f"{part}.{key}", nested.get(key))


# -- plugins ------------------------------------------------------------------------------------------------------------


plugins = typer.Typer(cls=Group, rich_markup_mode=None)
app.add_typer(plugins, name="plugins")


@plugins.callback(invoke_without_command=True, epilog=example("idemlab plugins", "idemlab plugins list --json"))
def plugins_(context: typer.Context, as_json: Json = False) -> None:
    """The installed plugins, what they offer, and how to mend them."""
    if context.invoked_subcommand is None:
        _show_plugins(as_json)


@plugins.command(
    "list", epilog=example("idemlab plugins list", "idemlab plugins list --json", "idemlab plugins list --available")
)
def plugins_list(
    context: typer.Context,
    available: Annotated[
        bool, typer.Option("--available", help="Known plugins, installed or not, and how to install them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the installed plugins, or all that are known."""
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
        typer.Argument(metavar="NAME", help="Of the distribution: lower-case words and hyphens.", show_default=False),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder of the project. Default: NAME.", show_default=False)] = None,
) -> None:
    """Write a new plugin project, complete with an enforcer, its tests and a licence."""
    from ..scaffold import new_plugin

    files = new_plugin(name, out)
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
