"""Every named thing that installed plugins offer. The only module that knows entry points.

A broken plugin never stops the host: its failure is kept as data and shown by `idemlab plugins`.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import PurePath
from traceback import walk_tb
from typing import Any

import pluggy

from ..contracts.hookspecs import PROJECT, HookSpecs
from ..contracts.specs import API_VERSION, KINDS, OLDEST_API_VERSION, EnforcerSpec, Spec, Traits
from ..errors import BadInput, Failure, IdemlabError, nearest_match
from . import schema

__all__ = ["Catalog", "Named", "Plugin", "PluginFailure", "Provided", "installed"]

_HOOKS = {
    "provide_models": "model",
    "provide_datasets": "dataset",
    "provide_enforcers": "enforcer",
    "provide_sources": "source",
    "provide_metrics": "metric",
    "provide_experiments": "experiment",
    "provide_studies": "study",
}


@dataclass(frozen=True)
class Plugin:
    """One entry point of the group `idemlab` and who installed it."""

    name: str
    distribution: str
    version: str
    module: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}, plugin '{self.name}'"

    @property
    def package(self) -> str:
        """The package, or module, that its code is in."""
        return re.split("[.:]", self.module)[0]


@dataclass(frozen=True)
class PluginFailure:
    """A plugin, or one thing in it, that could not be used."""

    plugin: Plugin
    cause: str
    fix: str


@dataclass(frozen=True)
class Provided:
    """A spec and the plugin it came from."""

    spec: Spec
    plugin: Plugin

    @property
    def full_name(self) -> str:
        """`distribution:name`, which stays unique when two plugins offer one name."""
        return f"{self.plugin.distribution}:{self.spec.name}"


@dataclass(frozen=True)
class Named:
    """A named thing with its complete, checked arguments; values are plain, `Named`, or lists of `Named`."""

    kind: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def table(self) -> dict[str, Any]:
        """As it stands in an experiment file; arguments that are None are left out."""

        def plain(value: Any) -> Any:
            if isinstance(value, Named):
                return value.table()
            if isinstance(value, (list, tuple)):
                return [plain(item) for item in value]
            return str(value) if isinstance(value, PurePath) else value

        return {"name": self.name} | {k: plain(v) for k, v in self.arguments.items() if v is not None}


class Catalog:
    """What the plugins offer, by kind and name.

    Args:
        points: entry points to load; in the order given.
        strict: raise at the first broken plugin instead of keeping its failure.
    """

    def __init__(self, points: list[EntryPoint], *, strict: bool = False) -> None:
        self.plugins: list[Plugin] = []
        self.failures: list[PluginFailure] = []
        self._strict = strict
        self._provided: dict[str, list[Provided]] = {kind: [] for kind in KINDS}
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(HookSpecs)
        for point in points:
            self._load(point)

    # -- loading ----------------------------------------------------------------------------------------------------

    def _load(self, point: EntryPoint) -> None:
        distribution = point.dist
        plugin = Plugin(
            name=point.name,
            distribution=distribution.name if distribution else "unknown",
            version=distribution.version if distribution else "?",
            module=point.value,
        )
        key = f"{plugin.distribution}:{plugin.name}"
        try:
            module = point.load()
            try:
                self._manager.register(module, key)
                self._manager.check_pending()
            except Exception:
                self._manager.unregister(name=key)
                raise
        except (Exception, SystemExit) as error:
            self._fail(plugin, f"cannot be loaded: {_one_line(error)}", _fix(plugin, error), error)
            return
        if not self._manager.get_hookcallers(module):
            self._fail(plugin, "offers nothing", "mark a function such as provide_models with @idemlab.hookimpl")
            return
        self.plugins.append(plugin)
        others = [other for name, other in self._manager.list_name_plugin() if name != key]
        for hook, kind in _HOOKS.items():
            try:
                caller = self._manager.subset_hook_caller(hook, remove_plugins=others)
                results = caller()
                if caller.get_hookimpls() and not results:  # pluggy drops None
                    raise TypeError("it returned None, not specs")
                specs = [spec for result in results for spec in result]
            except (Exception, SystemExit) as error:
                self._fail(plugin, f"its hook {hook} raised {_one_line(error)}", _fix(plugin, error), error)
                continue
            for spec in specs:
                self._accept(plugin, hook, kind, spec)

    def _accept(self, plugin: Plugin, hook: str, kind: str, spec: object) -> None:
        expected = KINDS[kind]
        if not isinstance(spec, expected):
            self._fail(
                plugin,
                f"its hook {hook} yielded {type(spec).__name__}, not {expected.__name__}",
                f"yield {expected.__name__}(name=..., factory=..., summary=...) there",
            )
            return
        if not OLDEST_API_VERSION <= spec.api_version <= API_VERSION:
            newer = spec.api_version > API_VERSION
            self._fail(
                plugin,
                f"{kind} '{spec.name}' is written for api_version {spec.api_version}, "
                f"this idemlab understands no {'later than' if newer else 'earlier than'} "
                f"{API_VERSION if newer else OLDEST_API_VERSION}",
                "pip install --upgrade idemlab" if newer else f"pip install --upgrade {plugin.distribution}",
            )
            return
        try:
            if kind not in ("experiment", "study"):  # theirs take no arguments: any callable will do
                schema.parameters(spec.factory, skip=1 if kind == "model" else 0)
        except (TypeError, ValueError) as error:
            self._fail(
                plugin, f"{kind} '{spec.name}': {error}", "make it a plain function whose arguments are annotated"
            )
            return
        if isinstance(spec, EnforcerSpec) and not (isinstance(spec.traits, Traits) or callable(spec.traits)):
            self._fail(
                plugin,
                f"{kind} '{spec.name}': its traits are {_a(type(spec.traits).__name__)}, not Traits",
                "give it traits=Traits(...), or a function of its arguments that returns one",
            )
            return
        if any(entry.full_name == f"{plugin.distribution}:{spec.name}" for entry in self._provided[kind]):
            self._fail(
                plugin, f"{kind} '{spec.name}' is offered twice by {plugin.distribution}", "rename one of the two"
            )
            return
        self._provided[kind].append(Provided(spec, plugin))

    def _fail(self, plugin: Plugin, cause: str, fix: str, error: BaseException | None = None) -> None:
        if self._strict:
            raise Failure(f"plugin {plugin.name} {cause}", where=str(plugin), next_step=fix) from error
        self.failures.append(PluginFailure(plugin, cause, fix))

    def including(self, spec: Spec) -> Catalog:
        """This catalog with one more spec, which no plugin need offer, in place of any of its kind and name."""
        larger = copy.copy(self)
        module = getattr(spec.factory, "__module__", "?")
        plugin = Plugin(name=module, distribution="not installed", version="-", module=module)
        kept = [entry for entry in self._provided[spec.kind] if entry.spec.name != spec.name]
        larger._provided = self._provided | {spec.kind: [*kept, Provided(spec, plugin)]}
        return larger

    @property
    def broken(self) -> list[str]:
        """The distributions of which something could not be loaded."""
        return sorted({failure.plugin.distribution for failure in self.failures})

    # -- looking up -------------------------------------------------------------------------------------------------

    def entries(self, kind: str) -> list[Provided]:
        """All things of one kind, by name."""
        return sorted(self._provided[kind], key=lambda entry: (entry.spec.name, entry.plugin.distribution))

    def __iter__(self) -> Iterator[Provided]:
        return (entry for kind in KINDS for entry in self.entries(kind))

    def find(self, kind: str, name: str, where: str | None = None) -> Provided:
        """The one thing of this kind with this name or alias, or `distribution:name`.

        Raises:
            BadInput: if there is none, or if two plugins offer the bare name.
        """
        distribution, _, bare = name.rpartition(":")
        matches = [
            entry
            for entry in self._provided[kind]
            if bare in (entry.spec.name, *entry.spec.aliases) and distribution in ("", entry.plugin.distribution)
        ]
        exact = [entry for entry in matches if entry.spec.name == bare]
        matches = exact or matches
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise BadInput(
                f"{len(matches)} plugins offer the {kind} '{bare}'",
                where=where,
                choices=sorted(entry.full_name for entry in matches),
                next_step="write the full name, distribution:name",
            )
        raise self._unknown(kind, name, where)

    def _unknown(self, kind: str, name: str, where: str | None) -> BadInput:
        names = {entry.spec.name for entry in self._provided[kind]}
        aliases = {alias: e.spec.name for e in self._provided[kind] for alias in e.spec.aliases}
        near = nearest_match(name, [*names, *aliases])
        elsewhere = [k for k in KINDS if k != kind and any(e.spec.name == name for e in self._provided[k])]
        what = f"there is no {kind} '{name}'"
        if elsewhere:
            what += f" ('{name}' is {_a(elsewhere[0])})"
        if self.broken:
            what += f"; plugins that could not be loaded: {', '.join(self.broken)}"
        return BadInput(
            what,
            where=where,
            choices=sorted(names) or ["(none: no plugin offers any)"],
            nearest=near,
            next_step="idemlab plugins" if self.failures or not names else _listing(kind),
        )

    # -- checking and building --------------------------------------------------------------------------------------

    def check(self, kind: str, table: object, where: str) -> Named:
        """A table ``{name = ..., arguments}`` of an experiment file, checked and completed with defaults.

        Raises:
            BadInput: names the key at fault.
        """
        if isinstance(table, str):
            table = {"name": table}
        if not isinstance(table, Mapping) or not isinstance(table.get("name"), str):
            raise BadInput(
                f"{_a(kind)} is a table with a 'name', not {_shown(table)}",
                where=where,
                expected=f'{{ name = "...", arguments }}, with the name of {_a(kind)}',
                next_step=_listing(kind),
            )
        entry = self.find(kind, table["name"], f"{where}, key 'name'")
        given = {key: value for key, value in table.items() if key != "name"}
        skip = 1 if kind == "model" else 0
        complete = schema.check_arguments(entry.spec, given, where, skip=skip)
        for parameter in schema.parameters(entry.spec.factory, skip=skip):
            if parameter.kind is None or complete[parameter.name] is None:
                continue
            value, place = complete[parameter.name], f"{where}, key '{parameter.name}'"
            if not parameter.many:
                complete[parameter.name] = self.check(parameter.kind, value, place)
            elif isinstance(value, (list, tuple)) and value:
                complete[parameter.name] = [
                    self.check(parameter.kind, item, f"{place}[{i}]") for i, item in enumerate(value)
                ]
            else:
                raise BadInput(
                    f"'{parameter.name}' is a list of {parameter.kind}s, at least one, not {_shown(value)}",
                    where=place,
                    expected='[{ name = "...", arguments }, ...]',
                    next_step=_listing(parameter.kind),
                )
        unique = len([e for e in self._provided[kind] if e.spec.name == entry.spec.name]) == 1
        return Named(kind, entry.spec.name if unique else entry.full_name, complete)

    def build(self, named: Named, *positional: Any) -> Any:
        """Call the factory of a checked named thing; what it contains is built first.

        Raises:
            BadInput: if its optional dependency is missing, or it refuses its arguments with a ValueError.
            Failure: if it raises anything else; says whose it is.
        """
        entry = self.find(named.kind, named.name)

        def built(value: Any) -> Any:
            if isinstance(value, Named):
                return self.build(value)
            if isinstance(value, list) and any(isinstance(item, Named) for item in value):
                return [self.build(item) for item in value]
            return value

        arguments = {key: built(value) for key, value in named.arguments.items()}
        try:
            return entry.spec.factory(*positional, **arguments)
        except IdemlabError as error:
            if error.where is None:
                error.where = f"{named.kind} '{named.name}' of {entry.plugin}"
            raise
        except ModuleNotFoundError as error:
            missing = _foreign_package(entry.plugin, error)
            if missing is None:
                raise self._at_fault(named, entry.plugin, "raised", error) from error
            raise BadInput(
                f"{named.kind} '{named.name}' needs the package '{missing}', which is not installed",
                where=str(entry.plugin),
                next_step=f"pip install '{entry.spec.install or missing}'",
            ) from error
        except ValueError as error:
            raise BadInput(
                f"{named.kind} '{named.name}': {' '.join(str(error).split()) or 'it refuses its arguments'}",
                where=str(entry.plugin),
                next_step=f"idemlab show {named.name}",
            ) from error
        except Exception as error:
            raise self._at_fault(named, entry.plugin, "raised", error) from error

    def traits(self, named: Named) -> Traits:
        """The traits of a checked enforcer. Where they are a function of the arguments, it is given the traits of what the
        enforcer contains.

        Raises:
            Failure: if that function raises, or returns something else; says whose it is.
        """
        entry = self.find("enforcer", named.name)
        assert isinstance(entry.spec, EnforcerSpec)

        def known(value: Any) -> Any:
            if isinstance(value, Named) and value.kind == "enforcer":
                return self.traits(value)
            return [known(item) for item in value] if isinstance(value, list) else value

        arguments = {key: known(value) for key, value in named.arguments.items()}
        try:
            traits = entry.spec.traits_for(arguments)
            if not isinstance(traits, Traits):
                raise TypeError(f"they are {_a(type(traits).__name__)}, not idemlab.Traits")
        except Exception as error:
            raise self._at_fault(named, entry.plugin, "cannot tell its traits:", error) from error
        return traits

    # -- whose it is ------------------------------------------------------------------------------------------------

    def author(self, module: str) -> Plugin | None:
        """The plugin that a module of this dotted name belongs to, by its package."""
        package = module.partition(".")[0]
        return next((plugin for plugin in self.plugins if plugin.package == package), None)

    def running(self, error: BaseException) -> list[tuple[Plugin, str]]:
        """The plugins whose code an error came through, from the one that raised outwards, each with its file and line."""
        found: dict[Plugin, str] = {}
        for frame, line in reversed(list(walk_tb(error.__traceback__))):
            plugin = self.author(frame.f_globals.get("__name__", ""))
            if plugin is not None:
                found.setdefault(plugin, f"{PurePath(frame.f_code.co_filename).name}, line {line}")
        return list(found.items())

    def _at_fault(self, named: Named, plugin: Plugin, what: str, error: Exception) -> Failure:
        place = dict(self.running(error)).get(plugin)
        return Failure(
            f"{named.kind} '{named.name}' {what} {_one_line(error)}",
            where=f"{plugin} ({place})" if place else str(plugin),
            next_step=f"report it to the authors of {plugin.distribution}",
        )


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _a(kind: str) -> str:
    """`an enforcer`, `a model`."""
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _listing(kind: str) -> str:
    """The command that lists a kind."""
    return "idemlab list " + ("studies" if kind == "study" else f"{kind}s")


def _shown(value: object) -> str:
    """A value of an experiment file, short enough for a message."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _foreign_package(plugin: Plugin, error: BaseException) -> str | None:
    """The package that is missing, unless it is the plugin's own or idemlab: those are not missing but at fault."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    package = error.name.partition(".")[0]
    return None if package in (plugin.package, PROJECT) else package


def _fix(plugin: Plugin, error: BaseException) -> str:
    """What to do about a plugin that raised while it was loaded."""
    package = _foreign_package(plugin, error)
    if package:
        step = f"pip install {package}"
    elif isinstance(error, pluggy.PluginValidationError):
        step = f"name its hooks {', '.join(_HOOKS)}, without arguments"
    else:
        step = f"pip install --upgrade {plugin.distribution}"
    return f"{step}, or leave the plugin out with IDEMLAB_PLUGINS"


@cache
def installed() -> Catalog:
    """The catalog of the installed plugins, loaded once.

    ``IDEMLAB_PLUGINS=a,b`` loads only the plugins (entry points or distributions) of these names, an empty value none;
    ``IDEMLAB_STRICT=1`` raises at the first broken plugin.

    Raises:
        BadInput: if ``IDEMLAB_PLUGINS`` names a plugin that is not installed.
    """
    points = sorted(
        entry_points(group=PROJECT),
        key=lambda point: (point.dist.name if point.dist else "", point.name),
    )
    chosen = os.environ.get("IDEMLAB_PLUGINS")
    if chosen is not None:
        names = {name.strip() for name in chosen.split(",")} - {""}
        known = {p.name for p in points} | {p.dist.name for p in points if p.dist is not None}
        for name in sorted(names - known):
            raise BadInput(
                f"there is no plugin '{name}'",
                where="the environment variable IDEMLAB_PLUGINS",
                choices=sorted(known),
                nearest=nearest_match(name, known),
                next_step="unset IDEMLAB_PLUGINS to load all of them",
            )
        points = [p for p in points if p.name in names or (p.dist is not None and p.dist.name in names)]
    return Catalog(points, strict=os.environ.get("IDEMLAB_STRICT", "") not in ("", "0"))
