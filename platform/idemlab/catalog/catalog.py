"""Every named thing that installed plugins offer: looked up by kind and name, and checked against its signature."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint
from typing import Any

from ..contracts.specs import KINDS, Spec
from ..errors import BadInput, nearest_match
from ..wording import clipped, shown, with_article
from . import schema
from .given import GIVEN, Given, absent
from .loading import Loaded, chosen_plugins
from .named import Named
from .provided import Plugin, PluginFailure, Provided
from .shipped import shipped

__all__ = ["Catalog", "installed"]


class Catalog:
    """The named things that plugins offer, by kind and name, and beside them those that every installation has (`shipped`).

    Args:
        entry_points: entry points to load, in this order.
        failures: faults in the records of installed distributions.
        strict: raise at the first broken plugin instead of recording its failure.
    """

    def __init__(
        self, entry_points: Iterable[EntryPoint], failures: Iterable[PluginFailure] = (), *, strict: bool = False
    ) -> None:
        loaded = Loaded(entry_points, failures, strict=strict)
        self.plugins, self.failures = loaded.plugins, loaded.failures
        self._provided = {
            kind: [*(each for each in shipped() if each.spec.kind == kind), *entries]
            for kind, entries in loaded.provided.items()
        }
        self._given: tuple[Given, ...] = ()

    def including(self, spec: Spec) -> Catalog:
        """This catalog with one more spec, even if no plugin offers it. It replaces any spec of the same kind and name."""
        larger = copy.copy(self)
        module = getattr(spec.factory, "__module__", "?")
        plugin = Plugin(name=module, distribution="not installed", version="-", module=module)
        kept = [entry for entry in self._provided[spec.kind] if entry.spec.name != spec.name]
        larger._provided = self._provided | {spec.kind: [*kept, Provided(spec, plugin)]}
        return larger

    def giving(self, given: Iterable[Given]) -> Catalog:
        """This catalog with objects that a caller gave. One of the same kind and name replaces the one before."""
        larger = copy.copy(self)
        both = {(each.spec.kind, each.spec.name): each for each in (*self._given, *given)}
        larger._given = tuple(both.values())
        return larger

    @property
    def gives(self) -> bool:
        """Whether it holds objects that a caller gave."""
        return bool(self._given)

    def restricted(self, wanted: Callable[[Provided], bool]) -> Catalog:
        """This catalog with only the wanted things; the lists of plugins and failures stay complete."""
        smaller = copy.copy(self)
        smaller._provided = {kind: [e for e in entries if wanted(e)] for kind, entries in self._provided.items()}
        smaller._given = tuple(filter(wanted, self._given))
        return smaller

    @property
    def broken(self) -> list[str]:
        """The distributions with at least one plugin that could not be loaded."""
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
        if not isinstance(name, str):
            raise BadInput(
                f"the name of {with_article(kind)} cannot be {with_article(type(name).__name__)}",
                where=where,
                next_step="idemlab list",
            )
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
        what = f"there is no {kind} '{clipped(name)}'"
        if elsewhere:
            what += f" ('{name}' is {with_article(elsewhere[0])})"
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
                f"{with_article(kind)} is a table with a 'name', not {shown(table)}",
                where=where,
                expected=f'{{ name = "...", arguments }}, with the name of {with_article(kind)}',
                next_step=_listing(kind),
            )
        if table["name"].startswith(f"{GIVEN}:"):
            return self._object(kind, table, where)
        entry = self.find(kind, table["name"], f"{where}, key 'name'")
        given = {key: value for key, value in table.items() if key != "name"}
        skip = entry.spec.passed
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
                    f"'{parameter.name}' is a list of {parameter.kind}s, at least one, not {shown(value)}",
                    where=place,
                    expected='[{ name = "...", arguments }, ...]',
                    next_step=_listing(parameter.kind),
                )
        unique = len([e for e in self._provided[kind] if e.spec.name == entry.spec.name]) == 1
        return Named(entry.spec.name if unique else entry.full_name, entry, complete)

    def _object(self, kind: str, table: Mapping[str, Any], where: str) -> Named:
        """The given object that a table tells of. One that is not here is missed only when it is built."""
        own = [given for given in self._given if given.spec.kind == kind]
        entry = next((given for given in own if given.full_name == table["name"]), None)
        if entry is None and own:
            raise BadInput(
                f"{kind} '{clipped(table['name'])}' was given before; now it is {own[0].full_name}, {own[0].plugin}",
                where=f"{where}, key 'name'",
                expected=f"the same {kind}"
                + (f", an object of class {clipped(str(table['class']))}" if "class" in table else ""),
                next_step=f"give the same {kind} as before, or start a new run in another folder",
            )
        entry = entry or absent(kind, table, where)
        return Named(str(table["name"]), entry, entry.arguments(table, where))


def _listing(kind: str) -> str:
    """The command that lists a kind."""
    return "idemlab list " + ("studies" if kind == "study" else f"{kind}s")


def or_installed(given: Catalog | None) -> Catalog:
    """The catalog that a caller gave, or that of the installed plugins.

    Raises:
        BadInput: if it is none.
    """
    if given is None:
        return installed()
    if not isinstance(given, Catalog):
        raise BadInput(
            f"a catalog cannot be {shown(given)}",
            where="catalog",
            expected="an idemlab.Catalog, such as idemlab.installed()",
            next_step="leave 'catalog' out: it is then that of the installed plugins",
        )
    return given


@cache
def installed() -> Catalog:
    """The catalog of the installed plugins, loaded once.

    ``IDEMLAB_PLUGINS=a,b`` loads only the plugins (entry points or distributions) with these names; an empty value loads
    none. ``IDEMLAB_STRICT=1`` raises at the first broken plugin.

    Raises:
        BadInput: if ``IDEMLAB_PLUGINS`` names a plugin that is not installed.
    """
    found = chosen_plugins()
    return Catalog(found.entry_points, found.failures, strict=os.environ.get("IDEMLAB_STRICT", "") not in ("", "0"))
