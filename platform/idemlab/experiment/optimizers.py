"""Check the name and the arguments of an optimiser against torch.optim, whose source code is read, not imported.

Resolving needs no torch, which takes seconds to load. What a class refuses of a right type, such as a beta of 1.5, it says
itself in the preflight.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ..catalog.catalog import Catalog
from ..catalog.named import Named
from ..catalog.schema import checked
from ..catalog.torch_optimizers import TORCH, UNSUITABLE_OPTIMIZERS, arguments, classes
from ..errors import BadInput, nearest_match
from ..wording import clipped, shown
from .settings import OptimizerSettings

__all__ = ["check_argument_names", "check_optimizer", "checked_types", "unknown_optimizer"]


def check_optimizer(settings: OptimizerSettings, catalog: Catalog, where: str) -> Named | None:
    """Check the name of an optimiser, and the names and types of its arguments.

    Returns:
        The optimiser with its arguments if a plugin offers it; None for those of torch.optim.

    Raises:
        BadInput: names the key, the choices and the nearest match.
    """
    entries = [entry for entry in catalog.entries("optimizer") if entry.plugin.distribution != TORCH]
    own = {name for e in entries for name in (e.spec.name, e.full_name, *e.spec.aliases)}
    if settings.name in own:
        given = {"name": settings.name, "lr": settings.lr} | (settings.model_extra or {})
        return catalog.check("optimizer", given, where)
    _check_torch(settings, own, where)
    return None


def _check_torch(settings: OptimizerSettings, others: Collection[str], where: str) -> None:
    """Check an optimiser of torch.optim. The names of `others` are suggested, too."""
    name = settings.name.lower().removeprefix(f"{TORCH}:")
    if name in UNSUITABLE_OPTIMIZERS:
        raise BadInput(
            f"optimizer '{settings.name}' cannot be used: {UNSUITABLE_OPTIMIZERS[name]}",
            where=f"{where}, key 'name'",
            expected="any other class of torch.optim, in any case",
            next_step="set optimizer.name = adam",
        )
    offered = {name.lower(): name for name in classes() if name.lower() not in UNSUITABLE_OPTIMIZERS}
    if not offered:  # torch is installed without its source: the preflight checks the same
        return
    if name not in offered:
        raise unknown_optimizer(settings.name, [*offered, *others], where)
    given = dict(settings.model_extra or {})
    own = set(OptimizerSettings.model_fields)
    if name == "muon":
        others = given.pop("adamw", {})
        own.add("adamw")
        if not isinstance(others, Mapping):
            raise BadInput(
                f"[optimizer]: 'adamw' cannot be {shown(others)}",
                where=f"{where}, key 'adamw'",
                expected="a table of arguments of AdamW, for instance adamw = { lr = 0.001 }",
            )
        _check("AdamW", others, f"{where}, key 'adamw'", set())
    _check(offered[name], given, where, own)


def _check(cls: str, given: Mapping[str, Any], where: str, own: set[str]) -> None:
    """Check arguments of a class; `own` are keys of the table that are none of its arguments."""
    hints = {name: each.type for name, each in arguments(cls).items()}
    check_argument_names(cls, given, hints, where, own)
    checked_types(cls, hints, given, where)


# -- what the preflight checks in the same way, against the class itself -----------------------------------------------


def unknown_optimizer(name: str, offered: Collection[str], where: str) -> BadInput:
    """The error for a name that is none of those offered, which are in lower case."""
    return BadInput(
        f"there is no optimizer '{clipped(name)}'",
        where=f"{where}, key 'name'",
        choices=sorted(offered),
        nearest=nearest_match(name.lower(), offered),
        next_step="idemlab list optimizers; any class of torch.optim may be named, in any case",
    )


def check_argument_names(
    cls: str, given: Iterable[str], accepted: Collection[str], where: str, own: Collection[str] = ()
) -> None:
    """Check that a class of torch.optim accepts the arguments; `own` are further keys that are suggested.

    Raises:
        BadInput: names the first that it does not accept.
    """
    choices = sorted({*accepted, *own})
    for key in given:
        if key not in accepted:
            raise BadInput(
                f"optimizer '{cls.lower()}' has no argument '{clipped(key)}'",
                where=f"{where}, key '{clipped(key)}'",
                choices=choices,
                nearest=nearest_match(key, choices),
                next_step=f"rename or remove it; see the documentation of torch.optim.{cls}",
            )


def checked_types(cls: str, hints: Mapping[str, Any], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Those of the arguments that have a type, checked and converted: a list becomes a tuple.

    Raises:
        BadInput: names the first value of a wrong type.
    """
    import pydantic

    fields: Any = {key: (hints[key], ...) for key in given if key in hints}
    model = pydantic.create_model("Arguments", **fields)
    owner, page = f"optimizer '{cls.lower()}'", f"see the documentation of torch.optim.{cls}"
    types = checked(model, {key: given[key] for key in fields}, where, owner, page)
    return {key: getattr(types, key) for key in fields}
