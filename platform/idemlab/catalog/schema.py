"""The signature of a factory as the schema of its arguments.

Listing and showing use `parameters`, which needs only `inspect`. Checking uses pydantic, imported on first use.
"""

from __future__ import annotations

import inspect
import json
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any, Literal, get_args, get_origin
from weakref import WeakKeyDictionary

from ..contracts.specs import Spec
from ..errors import BadInput, Failure, nearest_match
from ..wording import clipped, shown
from .paths import located
from .unreadable import scan_failure

__all__ = ["REQUIRED", "Parameter", "check_arguments", "check_conditional", "parameters"]


class _Required:
    def __repr__(self) -> str:
        return "required"


REQUIRED: Any = _Required()
"""Default of a parameter that must be given."""


class _NamedThing:
    """Stand-in for a core class in a factory's annotation: the argument is a table with a name."""


class _Enforcer(_NamedThing):
    kind = "enforcer"


class _Source(_NamedThing):
    kind = "source"


_STAND_INS: dict[str, type[Any]] = {"Enforcer": _Enforcer, "Source": _Source}


_FIRST = "the shape of a sample, or the parameters to train,"
_CLASSES = "the shape of a sample and the number of classes"


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
    """An annotation in plain words: `Annotated[float, Gt(0)]` becomes `float, > 0`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return ", ".join([describe(arguments[0]), *(_constraint(c) for c in arguments[1:])])
    if origin is Literal:
        return " | ".join(json.dumps(a) for a in arguments)
    if origin in (typing.Union, types.UnionType):
        texts = [describe(a) for a in arguments if a is not type(None)]
        return " | ".join(f"({text})" if len(texts) > 1 and ", " in text else text for text in texts)
    if annotation is Any:
        return "anything"
    if isinstance(annotation, type) and issubclass(annotation, PurePath):
        return "path"
    if origin is tuple and Ellipsis not in arguments:
        return f"[{', '.join(_grouped(a) for a in arguments)}]"
    if origin is dict:
        return "table" if arguments[1] is Any else f"table of {_grouped(arguments[1])}"
    if origin is not None:  # a list, or what is written as one
        return "list" if arguments[0] is Any else f"list of {_grouped(arguments[0])}"
    return getattr(annotation, "__name__", str(annotation))


def _grouped(annotation: Any) -> str:
    """A part of a longer description, in brackets if it has several parts itself."""
    text = describe(annotation)
    return f"({text})" if ", " in text or " | " in text else text


def _constraint(constraint: Any) -> str:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "multiple_of": "multiple of"}
    words = [
        f"{sign} {getattr(constraint, key)}"
        for key, sign in signs.items()
        if getattr(constraint, key, None) is not None
    ]
    if getattr(constraint, "min_length", None):
        words.append(f"at least {constraint.min_length} long")
    if getattr(constraint, "max_length", None):
        words.append(f"at most {constraint.max_length} long")
    if getattr(constraint, "allow_inf_nan", False):
        words.append("also infinite")
    return " and ".join(words) or str(constraint)


_SCHEMAS: WeakKeyDictionary[Callable[..., Any], dict[Any, Any]] = WeakKeyDictionary()
"""For each factory what was made of its signature: its parameters, and pydantic's models of some of them.

A signature does not change, and reading one takes milliseconds; a sweep resolves its experiment many times. What is kept
goes with its factory.
"""


def _kept(factory: Callable[..., Any], key: Any, made: Callable[[], Any]) -> Any:
    """What was made of a factory before under this key, or is made now."""
    try:
        schemas = _SCHEMAS.setdefault(factory, {})
    except TypeError:  # a callable that cannot be referred to weakly, or hashed
        return made()
    if key not in schemas:
        schemas[key] = made()
    return schemas[key]


def parameters(factory: Callable[..., Any], *, skip: int = 0) -> tuple[Parameter, ...]:
    """The arguments of a factory, without the first `skip`, which the platform passes.

    Raises:
        TypeError: if the factory is no plain function, or an argument has no name of its own, no annotation, or one that
            cannot be read.
    """
    found: tuple[Parameter, ...] = _kept(factory, skip, lambda: _parameters(factory, skip))
    return found


def _parameters(factory: Callable[..., Any], skip: int) -> tuple[Parameter, ...]:
    if inspect.isclass(factory) or not hasattr(factory, "__name__"):
        what = "class" if inspect.isclass(factory) else type(factory).__name__
        raise TypeError(f"the factory is a {what}, not a plain function")
    where = f"of {factory.__name__}"
    try:
        hints = typing.get_type_hints(factory, localns=dict(_STAND_INS), include_extras=True)
    except NameError as error:
        raise TypeError(f"{error}, in an annotation {where}: import it at run time, or use a built-in type") from error
    except Exception as error:  # annotations may be any text
        raise TypeError(f"an annotation {where} cannot be read: {type(error).__name__}: {error}") from error
    arguments = list(inspect.signature(factory).parameters.items())
    if len(arguments) < skip:
        taken = "one argument" if arguments else "no argument"
        raise TypeError(f"{factory.__name__} takes {taken}, but must take {_CLASSES if skip > 1 else _FIRST} first")
    found = []
    for name, parameter in arguments[skip:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(f"argument {parameter} {where}: name each argument, so that a misspelt one is found")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise TypeError(f"argument {name!r} {where} is positional only: arguments are given by name")
        if name == "name" or name.startswith("_"):
            raise TypeError(f"argument {name!r} {where} cannot be used in an experiment file: rename it")
        if name not in hints:
            raise TypeError(f"argument {name!r} {where} has no annotation: the signature is the schema")
        default = REQUIRED if parameter.default is parameter.empty else parameter.default
        kind, many = _named_kind(hints[name])
        found.append(Parameter(name, hints[name], default, kind, many))
    return tuple(found)


def check_conditional(factory: Callable[..., Any]) -> None:
    """Check that the factory of a conditional model takes the number of classes.

    Raises:
        TypeError: if its second argument has another name.
    """
    second = list(inspect.signature(factory).parameters)[1]
    if second != "classes":
        raise TypeError(f"it is conditional, and its second argument is '{second}', not 'classes'")


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
    """Check the plain arguments of a factory and add the defaults. Named things are left as they are.

    An argument that is None counts as not given, because TOML has no None. A float must be finite, unless it is the default
    or its annotation allows others by pydantic's `AllowInfNan`. Paths become absolute; see `located`.

    Args:
        where: the place of the arguments, for messages, for instance ``my.toml, [enforcer]``.

    Raises:
        BadInput: for an unknown or missing argument, a wrong type, a value out of range.
        Failure: if the signature itself cannot be used.
    """
    import pydantic

    expected = {parameter.name: parameter for parameter in parameters(spec.factory, skip=skip)}
    for name in given:
        if name not in expected:
            raise BadInput(
                f"{spec.kind} '{spec.name}' has no argument '{clipped(name)}'",
                where=f"{where}, key '{clipped(name)}'",
                choices=sorted(expected) or ["(it takes no arguments)"],
                nearest=nearest_match(name, expected),
                next_step=f"idemlab show {spec.name}",
            )
    given = {name: value for name, value in given.items() if value is not None}
    missing = [p.name for p in expected.values() if p.default is REQUIRED and p.name not in given]
    if missing:
        raise BadInput(
            f"{spec.kind} '{spec.name}' needs the argument{'s' if len(missing) > 1 else ''} "
            + ", ".join(f"'{name}' ({expected[name].type_text})" for name in missing),
            where=where,
            next_step=f"idemlab show {spec.name}",
        )
    # The fields have generated names, because pydantic reserves some (`copy`, `json`, ...).
    plain = {
        name: f"argument_{i}"
        for i, (name, p) in enumerate(expected.items())
        if p.kind is None and name in given and not _same_infinity(given[name], p.default)
    }
    fields: Any = {field: (expected[name].annotation, pydantic.Field(alias=name)) for name, field in plain.items()}
    finite = pydantic.ConfigDict(allow_inf_nan=False)
    try:
        checker = _kept(
            spec.factory,
            (skip, *plain),
            lambda: pydantic.create_model("Arguments", __config__=finite, **fields),
        )
    except Exception as error:
        raise scan_failure(error) or Failure(
            f"{spec.kind} '{spec.name}': the types of its arguments cannot be checked: {str(error).splitlines()[0]}",
            where=where,
            next_step="report it to the authors of the plugin",
        ) from error
    values = {name: given[name] for name in plain}
    checks = checked(checker, values, where, f"{spec.kind} '{spec.name}'", f"idemlab show {spec.name}")
    complete = {}
    for name, parameter in expected.items():
        value = getattr(checks, plain[name]) if name in plain else given.get(name, parameter.default)
        try:
            complete[name] = located(parameter.annotation, given.get(name), value) if parameter.kind is None else value
        except ValueError as error:
            raise BadInput(
                f"{spec.kind} '{spec.name}': '{name}': {clipped(str(error), 200)}",
                where=f"{where}, key '{name}'",
                expected=parameter.type_text,
            ) from None
    return complete


def _same_infinity(value: Any, default: Any) -> bool:
    """Whether a value is the default and not finite. Resolved files contain such defaults."""
    if not isinstance(value, float) or not isinstance(default, float) or math.isfinite(value):
        return False
    return value == default or (math.isnan(value) and math.isnan(default))


def checked(model: Any, values: Mapping[str, Any], where: str, owner: str, next_step: str) -> Any:
    """Validate `values` as a pydantic model. Raises a `BadInput` that names the first key at fault."""
    import pydantic

    try:
        # A number of an array library is one of Python; any other object is text.
        plain = json.dumps(dict(values), default=lambda v: v.tolist() if getattr(v, "ndim", None) == 0 else str(v))
        instance = model.model_validate_json(plain, strict=True)
        first = _true_as_one(instance, values)
        if first is None:
            return instance
    except pydantic.ValidationError as error:
        first = _clearest(error.errors())
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    top = str(first["loc"][0])
    table = _table_at(model, first["loc"][:-1])
    if table is not None and first["type"] in ("extra_forbidden", "missing"):
        last, full = str(first["loc"][-1]), ".".join(map(str, first["loc"]))
        own = {info.alias or name: info for name, info in table.model_fields.items()}
        if first["type"] == "missing":
            raise BadInput(
                f"{owner} lacks the key '{clipped(full)}'",
                where=where,
                expected=describe(own[last].annotation),
                next_step=next_step,
            )
        raise BadInput(
            f"{owner} has no key '{clipped(full)}'",
            where=f"{where}, key '{clipped(full)}'",
            choices=sorted(own),
            nearest=nearest_match(last, own),
            next_step=next_step,
        )
    key, value = _fault(first["loc"], values)
    info = fields[top]
    choices = _choices(info.annotation) if isinstance(value, str) else ()
    nearest = nearest_match(str(value), [choice for choice in choices if choice != value])
    if first["type"] == "int_type" and isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        nearest = str(int(value))
    problem = _problem(first)
    if first["type"] == "int_type" and isinstance(value, float) and abs(value) >= 2**63:
        problem = ": a whole number has at most 64 bits"
    raise BadInput(
        f"{owner}: {key} cannot be {shown(value)}{problem}",
        where=f"{where}, key {key}",
        expected=describe(Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation),
        nearest=nearest,
        next_step=next_step,
    )


def _table_at(model: Any, location: tuple[int | str, ...]) -> Any:
    """The model of the table at a place in a model, or None if a plain value is there."""
    for part in location:
        info = model.model_fields.get(str(part))
        inner = [] if info is None else [info.annotation, *get_args(info.annotation)]
        model = next((each for each in inner if hasattr(each, "model_fields")), None)
        if model is None:
            return None
    return model


def _true_as_one(instance: Any, values: Mapping[str, Any]) -> Any:
    """The error for `true` given where a `Literal` has 1, which even strict pydantic accepts; or None."""
    for field, info in type(instance).model_fields.items():
        key = info.alias or field
        if isinstance(values.get(key), bool) and not isinstance(getattr(instance, field), bool):
            return {"type": "literal_error", "loc": (key,), "msg": ""}
    return None


def _clearest(errors: list[Any]) -> Any:
    """The first error. If it comes from a union, the alternative whose only fault is a value that is not finite."""
    same = [error for error in errors if error["loc"][:1] == errors[0]["loc"][:1]]
    return next((error for error in same if error["type"] == "finite_number"), errors[0])


def _problem(error: Mapping[str, Any]) -> str:
    """pydantic's message in the words of TOML. Empty for a wrong choice: the choices are listed under "expected"."""
    if error["type"] == "literal_error":
        return ""
    words = {" after validation": "", "an object": "a table", "valid array": "list", "valid dictionary": "table"}
    text: str = error["msg"][0].lower() + error["msg"][1:]
    for old, new in words.items():
        text = text.replace(old, new)
    return f": {text}"


def _fault(location: tuple[int | str, ...], values: Mapping[str, Any]) -> tuple[str, Any]:
    """(key, value) at fault, with the key as in ``'shape'[0]``. Drops the type names in pydantic's location."""
    path: list[str] = []
    value: Any = values
    for part in location:
        try:
            value = value[part]
        except (LookupError, TypeError):
            continue
        path.append(f"[{clipped(str(part))}]" if path else f"'{clipped(str(part))}'")
    return "".join(path), value


def _choices(annotation: Any) -> tuple[str, ...]:
    """The texts that an annotation allows, at any depth."""
    if get_origin(annotation) is Literal:
        return tuple(str(choice) for choice in get_args(annotation))
    return tuple(choice for argument in get_args(annotation) for choice in _choices(argument))
