"""The signature of a factory as the schema of its arguments.

Listing and showing use `parameters`, which needs nothing but `inspect`; checking uses pydantic, imported when needed.
"""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from .errors import BadInput, nearest_match
from .specs import Spec

__all__ = ["REQUIRED", "Parameter", "check_arguments", "parameters"]


class _Required:
    def __repr__(self) -> str:
        return "required"


REQUIRED: Any = _Required()
"""Default of a parameter that must be given."""


class _NamedThing:
    """Stands in for a class of the core in the annotation of a factory: a table with a name is expected there."""


class _Enforcer(_NamedThing):
    kind = "enforcer"


class _Source(_NamedThing):
    kind = "source"


_STAND_INS: dict[str, type[Any]] = {"Enforcer": _Enforcer, "Source": _Source}


@dataclass(frozen=True)
class Parameter:
    """One argument of a factory.

    Args:
        name: as written in an experiment file.
        annotation: its type, with the constraints of `Annotated`.
        default: `REQUIRED` if there is none.
        kind: the kind of named thing it is (or lists), for instance "enforcer", or None for plain values.
        many: whether it is a list of named things.
    """

    name: str
    annotation: Any
    default: Any
    kind: str | None = None
    many: bool = False

    @property
    def type_text(self) -> str:
        """The type in plain words, for instance `float, > 0, <= 1`."""
        if self.kind:
            return f"list of {self.kind}s" if self.many else self.kind
        return describe(self.annotation)


def describe(annotation: Any) -> str:
    """An annotation in plain words: `Annotated[float, Gt(0)]` is `float, > 0`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return ", ".join([describe(arguments[0]), *(_constraint(c) for c in arguments[1:])])
    if origin is Literal:
        return " | ".join(json.dumps(a) for a in arguments)
    if origin is typing.Union or str(origin) == "<class 'types.UnionType'>":
        return " | ".join(describe(a) for a in arguments if a is not type(None))
    if origin is not None:
        inside = ", ".join("..." if a is Ellipsis else describe(a) for a in arguments)
        return f"{getattr(origin, '__name__', origin)}[{inside}]"
    return getattr(annotation, "__name__", str(annotation))


def _constraint(constraint: Any) -> str:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "multiple_of": "multiple of"}
    words = [
        f"{sign} {getattr(constraint, key)}"
        for key, sign in signs.items()
        if getattr(constraint, key, None) is not None
    ]
    if getattr(constraint, "min_length", None):
        words.append(f"at least {constraint.min_length} long")
    return " and ".join(words) or str(constraint)


def parameters(factory: Callable[..., Any], *, skip: int = 0) -> list[Parameter]:
    """The arguments of a factory, without the first `skip` ones, which the platform gives.

    Raises:
        TypeError: if an argument has no annotation, or one that cannot be read.
    """
    hints_scope = {**_STAND_INS}
    try:
        hints = typing.get_type_hints(factory, localns=hints_scope, include_extras=True)
    except NameError as error:
        raise TypeError(f"{error}: import it at run time, or use a built-in type") from error
    found = []
    for name, parameter in list(inspect.signature(factory).parameters.items())[skip:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(
                f"argument {parameter} of {factory.__name__}: name each argument, so that a misspelt one is found"
            )
        if name not in hints:
            raise TypeError(f"argument {name!r} of {factory.__name__} has no annotation: the signature is the schema")
        default = REQUIRED if parameter.default is parameter.empty else parameter.default
        kind, many = _named_kind(hints[name])
        found.append(Parameter(name, hints[name], default, kind, many))
    return found


def _named_kind(annotation: Any) -> tuple[str | None, bool]:
    """("enforcer", False) for `Enforcer` or `Enforcer | None`, ("enforcer", True) for lists of them, else (None, False)."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and origin is None:
        if issubclass(annotation, _NamedThing):
            return annotation.kind, False  # type: ignore[attr-defined]
        if annotation.__module__.startswith("idemlab.") and annotation.__name__ in _STAND_INS:
            return _STAND_INS[annotation.__name__].kind, False
        return None, False
    if origin is Annotated:
        return _named_kind(arguments[0])
    for argument in arguments:
        kind, many = _named_kind(argument)
        if kind:
            return kind, many or origin in (list, tuple) or getattr(origin, "__name__", "") == "Sequence"
    return None, False


def check_arguments(spec: Spec, given: Mapping[str, Any], where: str, *, skip: int = 0) -> dict[str, Any]:
    """The plain arguments of a factory, checked and completed with defaults. Named things are left as they are.

    Args:
        where: where they stand, for the message, for instance ``my.toml, [enforcer]``.

    Raises:
        BadInput: for an unknown or missing argument, a wrong type, a value out of range.
    """
    import pydantic

    expected = {parameter.name: parameter for parameter in parameters(spec.factory, skip=skip)}
    for name in given:
        if name not in expected:
            raise BadInput(
                f"{spec.kind} '{spec.name}' has no argument '{name}'",
                where=f"{where}, key '{name}'",
                choices=sorted(expected) or ["(it takes no arguments)"],
                nearest=nearest_match(name, expected),
                next_step=f"idemlab show {spec.name}",
            )
    missing = [p.name for p in expected.values() if p.default is REQUIRED and p.name not in given]
    if missing:
        raise BadInput(
            f"{spec.kind} '{spec.name}' needs the argument{'s' if len(missing) > 1 else ''} "
            + ", ".join(f"'{name}' ({expected[name].type_text})" for name in missing),
            where=where,
            next_step=f"idemlab show {spec.name}",
        )
    plain = {name: p for name, p in expected.items() if p.kind is None}
    fields: Any = {name: (p.annotation, ... if p.default is REQUIRED else p.default) for name, p in plain.items()}
    checker = pydantic.create_model("Arguments", **fields)
    values = {name: value for name, value in given.items() if name in plain}
    complete = checked(checker, values, where, f"{spec.kind} '{spec.name}'", f"idemlab show {spec.name}")
    result: dict[str, Any] = {}
    for name, parameter in expected.items():
        if parameter.kind is None:
            result[name] = getattr(complete, name)
        else:
            result[name] = given.get(name, parameter.default)
    return result


def checked(model: Any, values: Mapping[str, Any], where: str, owner: str, next_step: str) -> Any:
    """An instance of a pydantic model made of `values`, or a `BadInput` that names the first key at fault."""
    import pydantic

    try:
        return model.model_validate_json(json.dumps(dict(values)), strict=True)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if not str(part).startswith(("function-", "literal["))) or "?"
        top = str(first["loc"][0]) if first["loc"] else "?"
        fields = model.model_fields
        if first["type"] == "extra_forbidden":
            raise BadInput(
                f"{owner} has no key '{key}'",
                where=f"{where}, key '{key}'",
                choices=sorted(fields),
                nearest=nearest_match(key, fields),
                next_step=next_step,
            ) from None
        expected = None
        choices: tuple[str, ...] = ()
        nearest = None
        if top in fields:
            info = fields[top]
            annotation = Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
            expected = describe(annotation)
            if first["type"] == "literal_error" and get_origin(info.annotation) is Literal:
                choices = tuple(str(choice) for choice in get_args(info.annotation))
                nearest = nearest_match(str(first["input"]), choices)
        raise BadInput(
            f"{owner}: '{key}' {_problem(first)}",
            where=f"{where}, key '{key}'",
            expected=expected,
            choices=choices,
            nearest=nearest,
            next_step=next_step,
        ) from None
    except (TypeError, ValueError) as error:
        raise BadInput(f"{owner}: {error}", where=where, next_step=next_step) from None


def _problem(error: Mapping[str, Any]) -> str:
    if error["type"] == "missing":
        return "is missing"
    return f"is {json.dumps(error['input'], default=str)}: {error['msg'][0].lower()}{error['msg'][1:]}"
