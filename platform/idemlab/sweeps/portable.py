"""Sending a catalog to worker processes, and refusing what cannot be sent."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Callable, Iterable
from typing import Any

from ..catalog.catalog import Catalog
from ..catalog.given import Given
from ..catalog.provided import Provided
from ..contracts.specs import EnforcerSpec
from ..errors import BadInput
from ..experiment.experiment import Experiment

__all__ = ["check_portable", "portable"]


def check_portable(experiments: Iterable[Experiment]) -> None:
    """Check that everything the experiments name can be sent to another process, which finds functions by module and name.

    Raises:
        BadInput: names what cannot be sent, and the way out.
    """
    things = {id(named.provided): named for experiment in experiments for named in experiment.things}
    for named in things.values():
        fault = _fault(named.provided)
        if fault:
            raise BadInput(
                f"{named} cannot be sent to worker processes: {fault}",
                where=str(named.plugin),
                expected="functions at the top of a module that can be imported",
                next_step="`jobs = 1`, or move it into a module",
            )


def portable(catalog: Catalog) -> Catalog:
    """The catalog without entries that cannot be sent. `check_portable` has checked that no experiment needs them."""
    return catalog.restricted(lambda entry: not _fault(entry))


def _fault(entry: Provided) -> str:
    """Why a spec cannot be sent to another process; empty if it can."""
    functions = {"its factory": entry.spec.factory}
    if isinstance(entry, Given) and entry.code is not None:
        functions = {"its class" if isinstance(entry.code, type) else "its factory": entry.code}
    if isinstance(entry.spec, EnforcerSpec) and callable(entry.spec.traits):
        functions["its traits function"] = entry.spec.traits
    for what, function in functions.items():
        if where := _hidden(function):
            return f"{what} is {where}"
    try:
        pickle.dumps(entry)
    except Exception as error:  # its fields may raise anything
        return " ".join(str(error).split())
    return ""


def _hidden(function: Callable[..., Any]) -> str:
    """Why another process cannot find a function by its name; empty if it can, or if it is no plain function."""
    name = getattr(function, "__qualname__", None)
    if name is None:
        return ""
    if function.__module__ == "__main__":
        return "defined in the script itself (__main__)"
    if "<lambda>" in name:
        return "a lambda"
    if "<locals>" in name:
        return "defined inside another function"
    try:
        module = importlib.import_module(function.__module__)
    except ImportError:
        module = None
    if module is None or getattr(module, "__spec__", None) is None:
        return f"defined in '{function.__module__}', which cannot be imported"
    return ""
