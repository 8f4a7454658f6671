"""Objects given in place of names: how a resolved file describes them, and how a resumed run recognises them.

A given object has the name ``given:CLASS``, as if a distribution called `given` offered it. No file can hold the object
itself. A file that names one resolves without it, so that it can be shown and compared, and refuses to be built.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..contracts.specs import KINDS, EnforcerSpec, Spec, Traits
from ..errors import BadInput
from ..wording import clipped, listed, plural, shown
from . import schema
from .provided import Plugin, Provided

if TYPE_CHECKING:
    from .named import Named

__all__ = ["GIVEN", "Given", "Origin", "absent", "check_present", "path_of"]

GIVEN = "given"
"""The distribution that given objects have in place of one."""
_FOREIGN = ("torch", "numpy", "idemlab", "functools")
"""Packages whose code runs in every experiment, so that an error that passes through it is nobody's in particular."""


@dataclass(frozen=True)
class Origin(Plugin):
    """The caller's own code, in place of a plugin. `name` says what was given."""

    def __str__(self) -> str:
        return f"given as {self.name}"

    @property
    def remedy(self) -> str:
        return "correct it there"

    @classmethod
    def of(cls, what: str, thing: type | Callable[..., Any] | None) -> Origin:
        """The origin of an object of a class, or of what a factory returns."""
        module = getattr(thing, "__module__", None) or "-"
        own = "-" if module.partition(".")[0] in _FOREIGN else module
        return cls(name=what, distribution=GIVEN, version="-", module=own)


@dataclass(frozen=True)
class Given(Provided):
    """An object that a caller gave, or a factory of such objects.

    Args:
        facts: what the resolved file tells of it.
        identity: the facts in which an object must agree with the file of a run that began with it.
        factory: the caller's function, whose signature is the schema of its arguments; None for an object.
        code: the class or function that another process must find by its name; None if it needs none.
        missing: whether the object is not here.
        declared: for an enforcer, whether it declares its traits itself.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    identity: tuple[str, ...] = ()
    factory: Callable[..., Any] | None = None
    code: Callable[..., Any] | None = None
    missing: bool = False
    declared: bool = True

    def arguments(self, table: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The arguments of the thing in a table, completed by the facts.

        Raises:
            BadInput: if the table tells of another object, or has arguments that the object does not take.
        """
        written = _told(table)
        if self.missing:
            return written
        made, was_made = ("factory" in facts for facts in (self.facts, written))
        if written and made != was_made:
            kind, ways = self.spec.kind, {True: "a function that makes it", False: "an object"}
            raise BadInput(
                f"{kind} '{self.full_name}' was given as {ways[was_made]}; now it is {ways[made]}",
                where=where,
                expected=f"{ways[was_made]}, as before",
                next_step="call the function yourself, and give what it returns" if made else None,
            )
        told = {key: value for key, value in written.items() if key in self.facts}
        differing = [key for key in self.identity if key in told and not _same(key, told[key], self.facts[key])]
        if differing:
            key = differing[0]
            raise BadInput(
                f"this is not the {self.spec.kind} that was given before: "
                f"its {key} is {shown(self.facts[key], 200)}, and was {shown(told[key], 200)}",
                where=f"{where}, key '{key}'",
                next_step=f"give the same {self.spec.kind} as before, or start a new run in another folder",
            )
        more = {key: value for key, value in written.items() if key not in self.facts}
        if self.factory is not None:
            spec = replace(self.spec, factory=self.factory)
            return dict(self.facts) | told | schema.check_arguments(spec, more, where)
        for key in more:
            raise BadInput(
                f"{self.spec.kind} '{self.full_name}' is an object, so that '{clipped(key)}' cannot be set from here",
                where=f"{where}, key '{clipped(key)}'",
                next_step=f"build the {self.spec.kind} with that setting, or give a function with the argument "
                f"'{clipped(key)}'",
            )
        return dict(self.facts) | told


# -- objects that are not here --------------------------------------------------------------------------------------------


class _Absence:
    """In place of the factory of an object that is not here."""

    def __init__(self, name: str, kind: str, told: Mapping[str, Any], where: str) -> None:
        self._name, self._kind, self._told, self._where = name, kind, dict(told), where

    def __call__(self, *positional: Any, **arguments: Any) -> Any:
        raise self._error()

    def traits(self, **arguments: Any) -> Traits:
        """The traits of an enforcer that is not here are unknown."""
        raise self._error()

    def _error(self) -> BadInput:
        return BadInput(
            f"{self._kind} '{self._name}' was given as {self._description()}, which no file can hold",
            where=self._where,
            expected=f"the same {self._kind}, given again",
            next_step=f"call idemlab from Python, with {_keyword(self._kind)}=...",
        )

    def _description(self) -> str:
        told = self._told
        if "factory" in told:
            return f"the function {clipped(str(told['factory']))}"
        facts = [f"{told['parameters']} {plural(told['parameters'], 'parameter')}"] if "parameters" in told else []
        facts += [f"samples of shape {told['shape']}"] if "shape" in told else []
        what = f"an object of class {clipped(str(told['class']))}" if "class" in told else "an object"
        return f"{what} with {listed(facts)}" if facts else what


def _keyword(kind: str) -> str:
    """The argument that gives a thing of this kind."""
    return "metrics" if kind == "metric" else kind


def absent(kind: str, table: Mapping[str, Any], where: str) -> Given:
    """What stands in for a given object that is not here: it can be shown, but not built."""
    name = str(table["name"])
    told = _told(table)
    absence = _Absence(name, kind, told, where)
    bare = re.sub(r"[^a-z0-9]+", "-", name.rpartition(":")[2].lower()).strip("-") or "object"
    spec: Spec = KINDS[kind](name=bare, factory=absence, summary="An object that is not here.")
    if isinstance(spec, EnforcerSpec):
        spec = replace(spec, traits=absence.traits)
    origin = Origin.of(f"an object of class {told.get('class', '?')}", None)
    return Given(spec, origin, missing=True)


def _same(key: str, one: Any, other: Any) -> bool:
    """Whether two facts agree. What a script or a notebook defines (`__main__`) may have moved into a module meanwhile."""
    if key in ("class", "factory") and "__main__" in (str(one).partition(".")[0], str(other).partition(".")[0]):
        return str(one).rpartition(".")[2] == str(other).rpartition(".")[2]
    return bool(one == other)


def _told(table: Mapping[str, Any]) -> dict[str, Any]:
    """What a table tells besides the name, as plain values: texts without the folder of the file that they came from."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): plain(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(each) for each in value]
        return str(value) if isinstance(value, str) else value

    return {str(key): plain(value) for key, value in table.items() if key != "name"}


def check_present(things: Iterable[Named]) -> None:
    """Check that no given object is missing.

    Raises:
        BadInput: names all that are.
    """
    missing = [thing for thing in things if isinstance(thing.provided, Given) and thing.provided.missing]
    if len(missing) == 1:
        missing[0].build()
    if missing:
        keywords = dict.fromkeys(f"{_keyword(thing.kind)}=..." for thing in missing)
        raise BadInput(
            f"{listed([str(thing) for thing in missing])} were given as objects, which no file can hold",
            expected="the same objects, given again",
            next_step=f"call idemlab from Python, with {', '.join(keywords)}",
        )


def path_of(thing: Any) -> str:
    """The dotted name of a class or function."""
    name = getattr(thing, "__qualname__", None) or type(thing).__qualname__
    return f"{getattr(thing, '__module__', None) or type(thing).__module__}.{name}"
