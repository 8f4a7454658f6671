"""`show`: explains one entry of the catalog or an experiment. It loads no torch, so that it answers at once."""

from __future__ import annotations

import inspect
import json
import os
import re
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
from ..contracts.specs import EnforcerSpec, ExperimentSpec, ModelSpec, Spec, StudySpec, SuiteSpec, Traits
from ..experiment.toml import toml_value
from ..watching.terminal import console
from ..wording import number
from .app import app, example
from .browsing import brief, kind_of, matching
from .console import show, show_json, table
from .options import Json

if TYPE_CHECKING:
    from ..experiment.experiment import Experiment
    from ..standings.suite import Suite
    from ..studies.study import Study


# -- show ---------------------------------------------------------------------------------------------------------------


@app.command(
    "show", epilog=example("idemlab show cubic", "idemlab show digits-projector", "idemlab show gaussian --kind source")
)
def show_(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A name from `idemlab list`, or the path of an experiment file.", show_default=False
        ),
    ],
    kind: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="Kind of the thing, if several share the name.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Explain a name and its arguments, or print a whole experiment."""
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
        show_json([brief(entry) | _details(entry, catalog) for entry in entries])
        return
    for position, entry in enumerate(entries):
        if position:
            show("")
        _show_entry(entry, catalog)


def _is_file(name: str) -> bool:
    path = Path(name)
    return path.suffix == ".toml" or os.sep in name or (path / "experiment.toml").is_file()


def _arguments(spec: Spec) -> tuple[Parameter, ...]:
    """The arguments that an experiment file can set."""
    if spec.kind in ("experiment", "study", "suite"):
        return ()
    return parameters(spec.factory, skip=spec.passed)


def _default(parameter: Parameter) -> str:
    """The default value, written as in an experiment file."""
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
    """Join the lines of each paragraph; indented paragraphs, such as code and formulas, stay as they are."""
    paragraphs = text.strip().split("\n\n")
    return "\n\n".join(p if re.search(r"^[ \t]", p, re.MULTILINE) else " ".join(p.split()) for p in paragraphs)


def _traits(entry: Provided, arguments: tuple[Parameter, ...]) -> Traits | None:
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
    """The traits that differ from their defaults, in words."""
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
    """The keys that `show --json` adds to `list --json`."""
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
    if isinstance(spec, ModelSpec):
        facts.append(("offers", ", ".join(spec.offers)))
        facts.append(("claims", "to be idempotent to rounding for any weights" if spec.exact else ""))
    if isinstance(spec, ExperimentSpec) and spec.operator is not None:
        facts.append(("trained", f"its operator is shipped: idemlab apply {entry.full_name} IN OUT"))
    facts.append(("from", str(entry.plugin)))
    _show_facts(facts)
    if spec.kind == "experiment":
        from ..experiment.resolution import resolve

        _show_experiment_body(resolve(entry.full_name, catalog=catalog), spec.name)
    elif isinstance(spec, StudySpec):
        from ..studies.study import find_study

        _show_sweeps(find_study(entry.full_name, catalog)[1])
    elif isinstance(spec, SuiteSpec):
        from ..standings.suite import find_suite

        _show_suite(find_suite(entry.full_name, catalog))
    elif arguments:
        rows = [[a.name, a.type_text, _default(a), helps.get(a.name, "")] for a in arguments]
        show("", table(["argument", "type", "default", ""], rows))
    else:
        show("", "It takes no arguments.")


def _show_title(kind: str, name: str, summary: str) -> None:
    from rich.text import Text

    show(Text.assemble((name, "bold"), f", {kind}: {summary}"))


def _show_suite(suite: Suite) -> None:
    """Print the tasks and the arms of a suite."""
    tasks = [[name, task.title, task.experiment, number(task.flops)] for name, task in suite.task.items()]
    show("", table(["task", "", "experiment", "FLOPs a trial"], tasks, right=["FLOPs a trial"]))
    arms = [
        [name, toml_value(arm.enforcer), ", ".join(arm.over) or "—", ", ".join(arm.tasks) or "all"]
        for name, arm in suite.arm.items()
    ]
    show("", table(["arm", "enforcer", "tuned beside the task's keys", "tasks"], arms))


def _show_sweeps(study: Study) -> None:
    """Print the sweeps of a study as TOML."""
    import tomli_w

    if study.sweeps:
        show("", tomli_w.dumps({"sweep": {name: plan.given() for name, plan in study.sweeps.items()}}).rstrip())
    else:
        show("", "It has no sweeps: it computes everything itself.")


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
    """Print the resolved file, and the keys that `--set` takes."""
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
    """Dotted keys of an experiment, also those without a value."""

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
    yield from (f"model.{key}" for key in ("weights", "freeze"))
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
