"""A named thing of an experiment: its checked arguments, its plugin, and how to build it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, TypeVar

from ..contracts.specs import EnforcerSpec, Spec, Traits
from ..errors import BadInput, Failure, IdemlabError
from ..wording import listed, shown, with_article
from .faults import one_line, out_of_memory, running
from .given import Given
from .loading import foreign_package
from .provided import Plugin, Provided
from .schema import parameters
from .unreadable import scan_failure

__all__ = ["Named", "unless_extreme"]

T = TypeVar("T")

_ORDINARY = 1e-10, 1e10
"""Sizes of numbers, other than zero and the defaults, beyond which a setting is suspected before any code is. Fourth powers
of those between, as in the square of a loss, are still numbers of single precision. Seeds and small tolerances lie there."""


@dataclass(frozen=True)
class Named:
    """A named thing with its complete, checked arguments, and its plugin.

    Args:
        name: as written in an experiment file; `distribution:name` where several plugins offer the bare name.
        provided: the spec and its plugin.
        arguments: plain values, `Named`, or lists of `Named`.
    """

    name: str
    provided: Provided = field(repr=False)
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """`model`, `dataset`, `enforcer`, ..."""
        return self.spec.kind

    @property
    def spec(self) -> Spec:
        """The spec that the plugin offers."""
        return self.provided.spec

    @property
    def plugin(self) -> Plugin:
        """The plugin that offers it."""
        return self.provided.plugin

    def __str__(self) -> str:
        return f"{self.kind} '{self.name}'"

    @property
    def given(self) -> bool:
        """Whether a caller gave it as an object or a function, instead of a plugin offering it."""
        return isinstance(self.provided, Given)

    @property
    def missing(self) -> bool:
        """Whether it was given as an object that is not here."""
        return isinstance(self.provided, Given) and self.provided.missing

    @property
    def declares_traits(self) -> bool:
        """Whether the traits of an enforcer are declared; if not, idemlab assumes nothing about it."""
        return not isinstance(self.provided, Given) or self.provided.declared

    @property
    def how_to_look_up(self) -> str:
        """The command that shows its arguments; for a given object, where to look instead."""
        return f"look at the {self.kind} that you gave" if self.given else f"idemlab show {self.name}"

    @property
    def how_to_check(self) -> str:
        """The command that checks it against its contract, or for a given object how to do so by hand."""
        return f"call the {self.kind} that you gave with one batch" if self.given else f"idemlab check {self.name}"

    def how_to_exchange(self, name: str) -> str:
        """How to use a named thing instead: another key in a file, another argument in place of a given object."""
        return f"give {self.kind}='{name}' in place of the object" if self.given else f"set {self.kind}.name = {name}"

    def inside(self) -> Iterator[Named]:
        """This thing and all named things among its arguments, at any depth."""
        yield self
        for value in self.arguments.values():
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, Named):
                    yield from item.inside()

    def extremes(self) -> list[str]:
        """Settings of this thing, and of those inside it, that are so large or small that numbers may overflow.

        Such a value may be meant; but where an error follows, it is the likeliest cause. For instance
        ``weight = 1e+308 of enforcer 'rank'``.
        """
        found = []
        for named in self.inside():
            if named.given:
                continue
            usual = {p.name: p.default for p in parameters(named.spec.factory, skip=named.spec.passed)}
            for key, value in named.arguments.items():
                each = value if isinstance(value, (list, tuple)) else [value]
                if value != usual.get(key) and any(map(_extreme, each)):
                    found.append(f"{key} = {shown(value)} of {named}")
        return found

    def table(self) -> dict[str, Any]:
        """The table of an experiment file; arguments that are None are left out."""

        def plain(value: Any) -> Any:
            if isinstance(value, Named):
                return value.table()
            if isinstance(value, (list, tuple)):
                return [plain(item) for item in value]
            return str(value) if isinstance(value, PurePath) else value

        return {"name": self.name} | {k: plain(v) for k, v in self.arguments.items() if v is not None}

    def build(self, *positional: Any) -> Any:
        """Call the factory, after building the named things among its arguments.

        Raises:
            BadInput: if an optional dependency is missing, or if the factory raises a ValueError.
            Failure: if the factory raises anything else; names the plugin at fault.
        """

        def built(value: Any) -> Any:
            if isinstance(value, Named):
                return value.build()
            if isinstance(value, list) and any(isinstance(item, Named) for item in value):
                return [item.build() for item in value]
            return value

        arguments = {key: built(value) for key, value in self.arguments.items()}
        try:
            return self.spec.factory(*positional, **arguments)
        except IdemlabError as error:
            if error.where is None:
                error.where = f"{self} of {self.plugin}"
            raise
        except ModuleNotFoundError as error:
            missing = foreign_package(self.plugin, error)
            if missing is None:
                raise self._at_fault("raised", error) from error
            raise BadInput(
                f"{self} needs the package '{missing}', which is not installed",
                where=str(self.plugin),
                next_step=f"pip install '{self.spec.install or missing}'",
            ) from error
        except ValueError as error:
            raise scan_failure(error) or BadInput(
                f"{self}: {' '.join(str(error).split()) or 'it refuses its arguments'}",
                where=str(self.plugin),
                next_step=self.how_to_look_up,
            ) from error
        except Exception as error:
            raise scan_failure(error) or self._at_fault("raised", error) from error

    def build_as(self, contract: type[T], *positional: Any) -> T:
        """Call the factory, and check the type of the result.

        Raises:
            BadInput, Failure: as for `build`, and if the factory returns another type.
        """
        thing = self.build(*positional)
        if not isinstance(thing, contract):
            home = "torch.nn" if contract.__module__.startswith("torch.") else "idemlab"
            raise BadInput(
                f"{self} returned {type(thing).__name__}, not {with_article(f'{home}.{contract.__name__}')}",
                where=str(self.plugin),
            )
        return thing

    def traits(self) -> Traits:
        """The traits of an enforcer. If they are a function, it receives the arguments, with enforcers as their traits.

        Raises:
            Failure: if that function raises, or returns another type; names the plugin at fault.
        """
        assert isinstance(self.spec, EnforcerSpec)

        def known(value: Any) -> Any:
            if isinstance(value, Named) and value.kind == "enforcer":
                return value.traits()
            return [known(item) for item in value] if isinstance(value, list) else value

        arguments = {key: known(value) for key, value in self.arguments.items()}
        try:
            traits = self.spec.traits_for(arguments)
            if not isinstance(traits, Traits):
                raise TypeError(f"they are {with_article(type(traits).__name__)}, not idemlab.Traits")
        except IdemlabError:
            raise
        except Exception as error:
            raise self._at_fault("cannot determine its traits:", error) from error
        return traits

    def _at_fault(self, what: str, error: Exception) -> Failure:
        place = dict(running(error, [self.plugin])).get(self.plugin)
        smaller = f"give it smaller sizes: {self.how_to_look_up}"
        return Failure(
            f"{self} {what} {one_line(error)}",
            where=f"{self.plugin} ({place})" if place else str(self.plugin),
            next_step=smaller if out_of_memory(error) else unless_extreme([self], self.plugin.remedy),
        )


def unless_extreme(things: Iterable[Named], otherwise: str) -> str:
    """What to do next about an error in these things: ordinary settings first, where some are extreme, and `otherwise`."""
    extremes = list(dict.fromkeys(text for thing in things for text in thing.extremes()))
    if not extremes:
        return otherwise
    return f"choose a more ordinary value than {listed(extremes)}; if that does not help: {otherwise}"


def _extreme(value: object) -> bool:
    least, most = _ORDINARY
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and value != 0
    return number and not least <= abs(value) <= most  # type: ignore[arg-type]
