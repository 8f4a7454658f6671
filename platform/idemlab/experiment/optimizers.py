"""Check the name and the arguments of an optimiser against torch.optim, whose source code is read, not imported.

Resolving needs no torch, which takes seconds to load. What a class refuses of a right type, such as a beta of 1.5, it says
itself in the preflight.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Union

from ..catalog.schema import checked
from ..errors import BadInput, nearest_match
from ..wording import clipped, shown
from .settings import UNSUITABLE_OPTIMIZERS, OptimizerSettings

__all__ = ["check_argument_names", "check_optimizer", "checked_types", "unknown_optimizer"]

_PLAIN = {"bool": bool, "float": float, "int": int, "str": str}


def check_optimizer(settings: OptimizerSettings, where: str) -> None:
    """Check the name of an optimiser, and the names and types of its arguments.

    Raises:
        BadInput: names the key, the choices and the nearest match.
    """
    name = settings.name.lower()
    if name in UNSUITABLE_OPTIMIZERS:
        raise BadInput(
            f"optimizer '{settings.name}' cannot be used: {UNSUITABLE_OPTIMIZERS[name]}",
            where=f"{where}, key 'name'",
            expected="any other class of torch.optim, in any case",
            next_step="set optimizer.name = adam",
        )
    offered = {name.lower(): name for name in _files() if name.lower() not in UNSUITABLE_OPTIMIZERS}
    if not offered:  # torch is installed without its source: the preflight checks the same
        return
    if name not in offered:
        raise unknown_optimizer(settings.name, offered, where)
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
    hints = _arguments(cls)
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
        next_step="name any class of torch.optim, in any case",
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


# -- the source code of torch.optim ---------------------------------------------------------------------------------------


@cache
def _files() -> dict[str, Path]:
    """The file of each class of optimisers that torch.optim offers."""
    spec = find_spec("torch")
    folder = Path(spec.origin).parent / "optim" if spec is not None and spec.origin else Path()
    return {
        alias.name: folder / f"{node.module.rpartition('.')[2]}.py"
        for node in getattr(_tree(folder / "__init__.py"), "body", [])
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
        if alias.name[0].isupper() and alias.name != "Optimizer"
    }


@cache
def _arguments(cls: str) -> dict[str, Any]:
    """The types of the arguments of a class, without the parameters to train."""
    found = {}
    for node in getattr(_tree(_files()[cls]), "body", []):
        if isinstance(node, ast.ClassDef) and node.name == cls:
            start = next(each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__")
            for argument in (*start.args.args[2:], *start.args.kwonlyargs):
                found[argument.arg] = _type(argument.annotation)
    return found


def _type(annotation: ast.expr | None) -> Any:
    """The type that an annotation states, without tensors, which a file cannot contain. Any if it is another thing."""
    if isinstance(annotation, ast.Name):
        return _PLAIN.get(annotation.id, Any)
    if isinstance(annotation, ast.Constant) and annotation.value is None:
        return None
    if isinstance(annotation, ast.BinOp):
        sides = [each for each in (annotation.left, annotation.right) if ast.unparse(each) != "Tensor"]
        return Union[tuple(_type(side) for side in sides)]  # noqa: UP007  (None and Any have no |)
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "tuple":
        parts = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        return tuple[tuple(_type(part) for part in parts)]  # type: ignore[misc]
    return Any


def _tree(file: Path) -> ast.Module | None:
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return None
