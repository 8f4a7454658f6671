"""Objects in place of names: modules, data, enforcers, sources and metrics that a caller gives to a run."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import torch
from torch import nn

from ..catalog.catalog import Catalog
from ..catalog.faults import one_line
from ..catalog.given import Given, Origin, check_present, path_of
from ..contracts.dataset import Dataset
from ..contracts.enforcer import Enforcer
from ..contracts.metric import Metric
from ..contracts.source import Source
from ..contracts.specs import KINDS, EnforcerSpec
from ..errors import BadInput
from ..experiment.experiment import Experiment
from ..experiment.resolution import resolve
from ..wording import clipped, listed, with_article
from .engines import Engine
from .fingerprint import fingerprint
from .given_data import Items, as_dataset, data_facts
from .given_facts import copy_of, facts_of, traits_of
from .loose import LooseEnforcer

__all__ = ["check_agreement", "offered", "parts_of", "resolved"]

CONTRACTS: dict[str, type[Any]] = {
    "model": nn.Module,
    "dataset": Dataset,
    "enforcer": Enforcer,
    "source": Source,
    "metric": Metric,
}
_IDENTITY = {"model": ("class", "parameters", "dtype"), "dataset": ("train", "test", "shape", "dtype", "range", "hash")}
"""The facts by which an object is known again, without the values that a model starts with."""


def parts_of(
    *, model: Any = None, dataset: Any = None, source: Any = None, enforcer: Any = None, metrics: Any = None
) -> dict[str, Any]:
    """The parts that a caller gave, as the table of an experiment; those that are None are left out."""
    parts = {"model": model, "dataset": dataset, "source": source, "enforcer": enforcer}
    table = {key: value for key, value in parts.items() if value is not None}
    return table if metrics is None else table | {"evaluation": {"metrics": metrics}}


def offered(parts: Mapping[str, Any], catalog: Catalog) -> tuple[dict[str, Any], Catalog]:
    """(table without objects, catalog with them): each object in a table of an experiment is replaced by a name.

    Raises:
        BadInput: if an object cannot be what its place in the table says.
    """
    shelf = _Shelf()
    plain = shelf.experiment(parts)
    return plain, catalog.giving(shelf.given)


def resolved(
    reference: Experiment | str | Path | Mapping[str, Any],
    overrides: Sequence[str],
    parts: Mapping[str, Any],
    catalog: Catalog,
) -> tuple[Experiment, Catalog]:
    """(experiment, catalog with its objects): as `resolve`, and objects may stand in the table and in the parts.

    Raises:
        BadInput: as `resolve` and `offered`, and if an object that the experiment tells of is not given.
    """
    shelf = _Shelf()
    name = None
    if isinstance(reference, Experiment):
        kept = [thing.provided for thing in reference.things if isinstance(thing.provided, Given)]
        shelf = _Shelf(kept)
        catalog = catalog.giving(given for given in kept if not given.missing)
        name, table = reference.name, reference.table()
        if not parts and not overrides:
            check_present(reference.things)
            return reference, catalog
    elif isinstance(reference, Mapping):
        table = shelf.experiment(reference)
    plain = shelf.experiment(parts)
    catalog = catalog.giving(shelf.given)
    at = table if isinstance(reference, (Experiment, Mapping)) else reference
    experiment = resolve(at, overrides, catalog=catalog, parts=plain)
    check_present(experiment.things)
    return experiment if name is None else replace(experiment, name=name), catalog


def check_agreement(experiment: Experiment, engine: Engine) -> None:
    """Check that all processes of a run were given equal objects. All processes must call this.

    Raises:
        BadInput: names the part in which they differ.
    """
    given = [thing for thing in experiment.things if thing.given]
    if engine.alone or not given:
        return
    prints = [int(fingerprint({}, thing.table())[:15], 16) for thing in given]
    rows = engine.rows(torch.tensor(prints, device=engine.device))
    different = [str(thing) for thing, same in zip(given, (rows == rows[0]).all(0).tolist(), strict=True) if not same]
    if different:
        raise BadInput(
            f"the processes were given different objects: {listed(different)}",
            expected="the same objects in every process",
            next_step="seed what they are made with, for instance torch.manual_seed(0) before the module is built",
        )


class _Shelf:
    """The given objects of one experiment; those that it had `before` keep their names."""

    def __init__(self, before: Sequence[Given] = ()) -> None:
        self._before = before
        self.given: list[Given] = []

    def experiment(self, table: Mapping[str, Any]) -> dict[str, Any]:
        """The table of an experiment without objects."""
        plain = dict(table)
        for kind in ("dataset", "model", "enforcer", "source"):
            if kind in plain:
                many = kind == "source" and isinstance(plain[kind], (list, tuple))
                plain[kind] = self._all(kind, plain[kind], kind) if many else self._part(kind, plain[kind], kind)
        if isinstance(plain.get("reconstruction"), Mapping) and "input" in plain["reconstruction"]:
            place, own = "reconstruction.input", dict(plain["reconstruction"])
            plain["reconstruction"] = own | {"input": self._part("source", own["input"], place)}
        if isinstance(plain.get("evaluation"), Mapping):
            plain["evaluation"] = self._evaluation(dict(plain["evaluation"]))
        return plain

    def _evaluation(self, table: dict[str, Any]) -> dict[str, Any]:
        if isinstance(table.get("inputs"), Mapping):
            place = "evaluation.inputs"
            table["inputs"] = {
                key: self._part("source", value, f"{place}.{key}") for key, value in table["inputs"].items()
            }
        if isinstance(table.get("metrics"), (list, tuple)):
            table["metrics"] = self._all("metric", table["metrics"], "evaluation.metrics")
        elif "metrics" in table:
            raise BadInput("`metrics` is a list", where="evaluation.metrics", expected="metrics=[...], one or several")
        return table

    def _all(self, kind: str, values: Sequence[Any], place: str) -> list[Any]:
        return [self._part(kind, value, f"{place}.{i}") for i, value in enumerate(values)]

    def _part(self, kind: str, value: Any, place: str) -> Any:
        """One part: a name or a table stays, an object becomes a table."""
        if isinstance(value, Mapping):
            return {key: self._inside(each, f"{place}.{key}") for key, each in value.items()}
        if value is None or isinstance(value, (str, bool, int, float, PurePath)):
            return value
        if isinstance(value, (list, tuple)) and kind != "dataset":
            return list(value)
        return self._put(kind, value, place)

    def _inside(self, value: Any, place: str) -> Any:
        """An argument of a named thing: enforcers and sources may be objects there, too."""
        if isinstance(value, (list, tuple)):
            return [self._inside(each, f"{place}.{i}") for i, each in enumerate(value)]
        for kind in ("enforcer", "source"):
            if isinstance(value, CONTRACTS[kind]):
                return self._put(kind, value, place)
        return value

    def _put(self, kind: str, value: Any, place: str) -> dict[str, Any]:
        """Keep an object, and name it."""
        given = self._of(kind, value, place)
        self.given.append(given)
        return {"name": given.full_name, **given.facts}

    def _of(self, kind: str, value: Any, place: str) -> Given:
        contract = CONTRACTS[kind]
        if isinstance(value, LooseEnforcer):
            value = value.enforcer
        if kind == "dataset" and not (callable(value) and not isinstance(value, Dataset)):
            dataset = as_dataset(value)
            code = _code(dataset)
            name = "tensors" if code is None and value is not dataset else (code or type(value)).__name__
            facts = data_facts(dataset) | ({} if code is None else {"class": path_of(code)})
            return self._given(kind, name, _Same(dataset), facts, "data", code)
        if isinstance(value, contract):
            facts = {"class": path_of(type(value))} | facts_of(kind, value, place)
            what = f"an object of class {path_of(type(value))}"
            return self._given(kind, type(value).__name__, _Copy(value), facts, what, type(value))
        _check_factory(kind, value, place)
        path, name = path_of(value), getattr(value, "__name__", type(value).__name__)
        made = _Made(value, kind, place)
        given = self._given(kind, name, made, {"factory": path}, f"the function {path}", value)
        return replace(given, factory=value) if inspect.isfunction(value) else given

    def _given(
        self, kind: str, name: str, make: _Same | _Copy | _Made, facts: dict[str, Any], what: str, code: Any
    ) -> Given:
        sample = make.sample() if kind == "enforcer" else None
        if sample is not None and not isinstance(sample, Enforcer):
            raise BadInput(f"{what} returned {with_article(type(sample).__name__)}, not an idemlab.Enforcer")
        spec = KINDS[kind](name=self._free(kind, name), factory=make, summary=f"Given as {what}.")
        if isinstance(spec, EnforcerSpec) and sample is not None:
            traits = traits_of(sample)
            spec, facts = replace(spec, traits=traits), facts | {"kinds": sorted(map(str, traits.kinds))}
        identity = _IDENTITY.get(kind, ("class",)) if "factory" not in facts else ("factory",)
        declared = sample is None or hasattr(sample, "traits")
        return Given(spec, Origin.of(what, code), facts=facts, identity=identity, code=code, declared=declared)

    def _free(self, kind: str, name: str) -> str:
        """A name of the right form that no other given object of this kind has."""
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
        bare = re.sub(r"[^a-z0-9]+", "-", words).strip("-") or kind
        taken = {given.spec.name for given in (*self._before, *self.given) if given.spec.kind == kind}
        number, free = 1, bare
        while free in taken:
            number += 1
            free = f"{bare}-{number}"
        return free


# -- how a given part is built ------------------------------------------------------------------------------------------


class _Same:
    """Gives the object itself: data are neither changed nor copied."""

    def __init__(self, original: Dataset) -> None:
        self._original = original

    def __call__(self, **facts: Any) -> Dataset:
        return self._original

    def sample(self) -> Dataset:
        """The object, to look at."""
        return self._original


class _Copy:
    """Gives a copy each time, so that the caller's object stays as it is and every run starts from it."""

    def __init__(self, original: Any) -> None:
        self._original = original

    def __call__(self, *shape: Any, **facts: Any) -> Any:
        made = copy_of(self._original)
        if isinstance(made, nn.Module):
            made.train()  # as a new module is; pretrained ones often come in evaluation mode
            made.zero_grad(set_to_none=True)
        return made

    def sample(self) -> Any:
        """The object, to look at."""
        return self._original


class _Made:
    """Calls the caller's factory, and checks what it returns."""

    def __init__(self, factory: Callable[..., Any], kind: str, place: str) -> None:
        self._factory, self._kind, self._place = factory, kind, place

    def __call__(self, *shape: Any, factory: str = "", kinds: Sequence[str] = (), **arguments: Any) -> Any:
        made = self._factory(**arguments)
        return as_dataset(made) if self._kind == "dataset" else made

    def sample(self) -> Any:
        """What it makes without arguments."""
        try:
            return self()
        except Exception as error:  # it is the caller's code
            raise BadInput(
                f"the function that makes the {self._kind} raised {one_line(error)}",
                where=f"{self._place}: {path_of(self._factory)}",
                next_step="correct it there",
            ) from error


def _code(dataset: Dataset) -> type | None:
    """The class of a map-style set that another process must find; None for sets in memory."""
    for rows in (dataset.train, dataset.test):
        if isinstance(rows, Items):
            return rows.code
        if not type(rows).__module__.startswith("idemlab."):
            return type(rows)
    return None


def _check_factory(kind: str, value: Any, place: str) -> None:
    """Check that a value is a function that can be called without arguments."""
    contract = CONTRACTS[kind]
    home = "torch.nn" if contract is nn.Module else "idemlab"
    expected = (
        f"a name, a table with a name, {with_article(f'{home}.{contract.__name__}')}, or a function that returns one"
    )
    if isinstance(value, nn.Module) or not callable(value):
        raise BadInput(
            f"{with_article(kind)} cannot be {with_article(type(value).__name__)}", where=place, expected=expected
        )
    try:
        parameters = list(inspect.signature(value).parameters.values())
    except (TypeError, ValueError):
        return
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in variadic]
    if needed:
        raise BadInput(
            f"the {kind} is {clipped(path_of(value))}, which cannot be called without {listed(needed)}",
            where=place,
            expected=expected,
            next_step=f"call it yourself, or give its arguments defaults and set them: {place}.{needed[0]}",
        )
    keys = ("name", "factory", "kinds", *KINDS[kind].reserved)
    taken = [p.name for p in parameters if p.name in keys]
    if taken:
        raise BadInput(
            f"the function {clipped(path_of(value))} has an argument named '{taken[0]}'",
            where=place,
            next_step="rename it, because the resolved file has a key of this name",
        )
