"""The subject of the checks: a spec with its arguments, the plugin that offers it, and how to build it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from ..catalog.catalog import Catalog, installed
from ..catalog.named import Named
from ..catalog.provided import Provided
from ..contracts.dataset import Dataset
from ..contracts.enforcer import Enforcer
from ..contracts.metric import Metric
from ..contracts.orbit import Operator
from ..contracts.source import Source
from ..contracts.specs import ModelSpec, Spec, Traits
from ..errors import BadInput
from .callables import loss_spec

__all__ = ["Subject"]

_CONTRACTS: dict[str, type[Any]] = {
    "model": torch.nn.Module,
    "dataset": Dataset,
    "enforcer": Enforcer,
    "source": Source,
    "metric": Metric,
}
_OTHERS = {
    "optimizer": "a torch.optim.Optimizer or a list of them",
    "schedule": "a function of the share of the run that is done",
    "tracker": "an accelerate.tracking.GeneralTracker",
}
"""What the factory of each other kind returns."""


@dataclass(frozen=True)
class Subject:
    """A thing to check, with complete arguments.

    Args:
        named: kind, name and checked arguments.
        entry: its spec and plugin.
        catalog: the catalog from which it is built.
        offered: whether an installed plugin offers it; False for a spec that was passed directly.
        given: the arguments as given.
    """

    named: Named
    entry: Provided
    catalog: Catalog
    offered: bool
    given: Mapping[str, Any]

    @classmethod
    def of(
        cls, kind: str, thing: Spec | Callable[..., Any] | str, arguments: Mapping[str, Any] | None = None
    ) -> Subject:
        """The subject for a spec, for a name that an installed plugin offers, or for a loss that is called.

        Raises:
            BadInput: if the name is unknown, or the arguments do not fit.
        """
        catalog, given = installed(), dict(arguments or {})
        passed = {"lr": 0.001} if kind == "optimizer" else {}  # which an experiment always has
        if callable(thing):
            if kind != "enforcer":
                raise BadInput(f"a {kind} is checked by its name or its spec, not by a function")
            thing = loss_spec(thing)
        if isinstance(thing, Spec):
            if thing.kind != kind:
                raise BadInput(f"{thing.kind} '{thing.name}' is no {kind}", next_step=f"use check_{thing.kind}")
            entries = [entry for entry in catalog.entries(kind) if entry.spec == thing]
            offered = len(entries) == 1
            if not offered:
                catalog = catalog.including(thing)
            name = entries[0].full_name if offered else thing.name
        else:
            name, offered = thing, True
        entry = catalog.find(kind, name)
        named = catalog.check(kind, {"name": name, **passed, **given}, f"arguments of {kind} '{entry.spec.name}'")
        return cls(named, entry, catalog, offered, given)

    def build(self, *positional: Any) -> Any:
        """Build a new instance.

        Raises:
            BadInput: if the factory refuses, or returns an object of the wrong type.
        """
        built = self.named.build(*positional)
        kind, expected = self.named.kind, _OTHERS.get(self.named.kind)
        if expected is None:
            contract = _CONTRACTS[kind]
            fits, expected = (
                isinstance(built, contract),
                f"{contract.__module__.partition('.')[0]}'s {contract.__name__}",
            )
        else:
            fits = _is_one(kind, built)
        if kind == "tracker" and isinstance(built, str):
            raise BadInput(
                f"{self.title} is Accelerate's own, so there is nothing of a plugin to check",
                expected="a tracker that a plugin makes",
            )
        if not fits:
            raise BadInput(
                f"{self.title} is {type(built).__name__}, not {expected}",
                where=self.origin,
                next_step=f"return one from {self.entry.spec.factory.__name__}",
            )
        return built

    def model(self, shape: tuple[int, ...], classes: int | None = None) -> Operator:
        """A new model for samples of this shape; for so many classes of a condition, if it is conditional."""
        model: Operator = self.build(shape, classes) if self.conditional else self.build(shape)
        return model

    @property
    def conditional(self) -> bool:
        """Whether it is a model that takes a condition."""
        return isinstance(self.entry.spec, ModelSpec) and self.entry.spec.conditional

    @cached_property
    def built(self) -> Any:
        """One instance that the checks share and do not change, for things that are expensive to build."""
        return self.build()

    def enforcer(self, dtype: torch.dtype = torch.float64) -> Enforcer:
        """A new enforcer in training mode, with its state in this precision."""
        enforcer: Enforcer = self.build()
        return enforcer.to(dtype).train()

    @cached_property
    def traits(self) -> Traits:
        """The traits of an enforcer; for a model whether it is exact; the default traits for the other kinds."""
        if isinstance(self.entry.spec, ModelSpec):
            return Traits(exact=self.entry.spec.exact)
        if self.named.kind != "enforcer":
            return Traits()
        traits: Traits = self.named.traits()
        return traits

    @property
    def rank(self) -> int | None:
        """The value of an argument named `rank`, its own or of an enforcer it contains; None without one."""
        return next(_ranks(self.named), None)

    @property
    def title(self) -> str:
        """Kind, name and given arguments."""
        return f"{self.named.kind} '{self.entry.spec.name}'" + (f" {_shown(self.given)}" if self.given else "")

    @property
    def origin(self) -> str:
        """Distribution, version and plugin."""
        module = self.entry.spec.factory.__module__
        return str(self.entry.plugin) if self.offered else f"module '{module}', which no installed plugin offers"

    @property
    def package(self) -> str:
        """The top-level package or module of its factory."""
        return self.entry.spec.factory.__module__.partition(".")[0]

    def code(self) -> tuple[str, str]:
        """(import lines, expression) with which code refers to the subject."""
        if self.offered:
            return "", repr(self.named.name)
        spec, module = self.entry.spec, self.entry.spec.factory.__module__
        own = [spec, getattr(spec.factory, "given", spec)]
        names = [
            name for name, value in vars(sys.modules.get(module, sys)).items() if any(value is each for each in own)
        ]
        if names:
            return f"from {module} import {names[0]}\n", names[0]
        hook = f"provide_{spec.kind}s"
        if hasattr(sys.modules.get(module), hook):
            where = f"next(spec for spec in {hook}() if spec.name == {spec.name!r})"
            return f"from {module} import {hook}\n", where
        return f"spec = ...  # the {type(spec).__name__} named {spec.name!r}\n", "spec"


def _is_one(kind: str, built: object) -> bool:
    """Whether a factory of one of the other kinds returned what it should."""
    if kind == "optimizer":
        many = built if isinstance(built, list) and built else [built]
        return all(isinstance(each, torch.optim.Optimizer) for each in many)
    if kind == "schedule":
        return callable(built)
    from accelerate.tracking import GeneralTracker

    return isinstance(built, GeneralTracker)


def _ranks(named: Named) -> Iterator[int]:
    for key, value in named.arguments.items():
        if key == "rank" and isinstance(value, int):
            yield value
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, Named):
                yield from _ranks(item)


def _shown(arguments: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{key} = {json.dumps(value, default=str)}" for key, value in arguments.items()) + "}"
