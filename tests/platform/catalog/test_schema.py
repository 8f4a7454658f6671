"""The signature of a factory is the schema of its arguments."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import pytest
from annotated_types import Ge, Gt, Interval, Le, Len, Lt, MaxLen, MinLen, MultipleOf
from pydantic import AllowInfNan

import idemlab
from idemlab import BadInput, EnforcerSpec, Failure, ModelSpec
from idemlab.catalog.schema import REQUIRED, Parameter, check_arguments, describe, parameters

if TYPE_CHECKING:
    from decimal import Decimal

    from idemlab import Enforcer, Source

Norm = Literal["group", "batch", "none"]


# -- annotations in plain words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "int"),
        (bool, "bool"),
        (str, "str"),
        (Any, "anything"),
        (list, "list"),
        (Annotated[float, Gt(0), Le(1)], "float, > 0, <= 1"),
        (Annotated[float, Ge(0), Lt(1)], "float, >= 0, < 1"),
        (Annotated[float, Interval(gt=0, le=1)], "float, > 0 and <= 1"),
        (Annotated[int, MultipleOf(4)], "int, multiple of 4"),
        (Annotated[int, "pixels"], "int, pixels"),
        (Annotated[str, MinLen(2)], "str, at least 2 long"),
        (Annotated[str, MaxLen(3)], "str, at most 3 long"),
        (Annotated[list[int], Len(2, 3)], "list of int, at least 2 long and at most 3 long"),
        (int | None, "int"),
        (Optional[Annotated[int, Gt(0)]], "int, > 0"),  # noqa: UP045 (the old spelling has another origin)
        (int | str, "int | str"),
        (Norm, '"group" | "batch" | "none"'),
        (Literal[1, 3], "1 | 3"),
        (Literal["auto"] | int, '"auto" | int'),
        (list[int], "list of int"),
        (Sequence[str], "list of str"),
        (list[Any], "list"),
        (tuple[int, ...], "list of int"),
        (tuple[float, float], "[float, float]"),
        (tuple[Annotated[float, Gt(0)], int], "[(float, > 0), int]"),
        (list[Annotated[int, Gt(0)]], "list of (int, > 0)"),
        (list[Literal["a", "b"]], 'list of ("a" | "b")'),
        (dict[str, int], "table of int"),
        (dict[str, Any], "table"),
        (Path, "path"),
        (Path | str | None, "path | str"),
        (Annotated[float, AllowInfNan()], "float, also infinite"),
    ],
    ids=str,
)
def test_annotations_in_plain_words(annotation: Any, words: str) -> None:
    assert describe(annotation) == words


def test_a_named_thing_is_described_by_its_kind() -> None:
    assert Parameter("x", Any, None, "enforcer").type_text == "enforcer"
    assert Parameter("x", Any, None, "enforcer", many=True).type_text == "list of enforcers"
    assert Parameter("x", Annotated[float, Gt(0)], 1.0).type_text == "float, > 0"


# -- signatures -------------------------------------------------------------------------------------------------------


def test_arguments_are_read_in_order_with_defaults() -> None:
    def factory(shape: tuple[int, ...], width: int, *, norm: Norm = "group") -> Any: ...

    width, norm = parameters(factory, skip=1)
    assert (width.name, width.default, width.kind) == ("width", REQUIRED, None)
    assert (norm.name, norm.default, norm.annotation) == ("norm", "group", Norm)
    assert repr(REQUIRED) == "required"
    assert [p.name for p in parameters(factory)] == ["shape", "width", "norm"]


def test_named_things_are_found_wherever_they_stand() -> None:
    def factory(
        one: Enforcer,
        maybe: Source | None = None,
        many: list[Enforcer] = [],  # noqa: B006
        some: Sequence[Source] | None = None,
        pair: tuple[Enforcer, ...] = (),
        constrained: Annotated[list[Enforcer], MinLen(1)] = [],  # noqa: B006
        plain: list[int] | None = None,
    ) -> Any: ...

    assert [(p.kind, p.many) for p in parameters(factory)] == [
        ("enforcer", False),
        ("source", False),
        ("enforcer", True),
        ("source", True),
        ("enforcer", True),
        ("enforcer", True),
        (None, False),
    ]


def test_the_classes_themselves_are_named_things_too() -> None:
    """A hook module that imports torch works, only slower to list."""

    def factory(enforcer: int, source: int | None = None) -> Any: ...

    factory.__annotations__ = {"enforcer": idemlab.Enforcer, "source": idemlab.Source | None}
    assert [p.kind for p in parameters(factory)] == ["enforcer", "source"]

    class Enforcer:
        """Of the same name, but a stranger."""

    def other(enforcer: int, source: int) -> Any: ...

    other.__annotations__ = {"enforcer": Enforcer, "source": int}
    assert [p.kind for p in parameters(other)] == [None, None]


def test_a_cached_or_wrapped_function_is_read_through() -> None:
    def factory(width: int = 3) -> Any: ...

    @functools.wraps(factory)
    def wrapper(*args: Any, **kwargs: Any) -> Any: ...

    for wrapped in (functools.cache(factory), wrapper):
        assert [p.name for p in parameters(wrapped)] == ["width"]


def _bare(x) -> Any: ...  # type: ignore[no-untyped-def]
def _star(*sizes: int) -> Any: ...
def _double_star(**options: int) -> Any: ...
def _positional(x: int, /) -> Any: ...
def _called_name(name: str) -> Any: ...
def _hidden(_x: int) -> Any: ...
def _unimported(x: Decimal) -> Any: ...
def _misspelt(x: datetime.tiem) -> Any: ...  # type: ignore[name-defined]
def _no_expression(x: int) -> Any: ...


_no_expression.__annotations__ = {"x": "int["}


class _Class:
    def __init__(self, x: int) -> None: ...


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (_bare, "argument 'x' of _bare has no annotation"),
        (_star, r"argument \*sizes: 'int' of _star: name each argument"),
        (_double_star, r"argument \*\*options: 'int' of _double_star: name each argument"),
        (_positional, "argument 'x' of _positional is positional only"),
        (_called_name, "argument 'name' of _called_name cannot be used in an experiment file: rename it"),
        (_hidden, "argument '_x' of _hidden cannot be used in an experiment file"),
        (_unimported, "'Decimal' is not defined, in an annotation of _unimported: import it at run time"),
        (
            _misspelt,
            "annotation of _misspelt cannot be read: AttributeError: module 'datetime' has no attribute 'tiem'",
        ),
        (_no_expression, "annotation of _no_expression cannot be read: SyntaxError"),
        (functools.partial(_star), "the factory is a partial, not a plain function"),
        (_Class, "the factory is a class, not a plain function"),
    ],
)
def test_a_signature_that_is_no_schema_is_refused(factory: Callable[..., Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        parameters(factory)


def test_a_model_must_take_the_shape() -> None:
    def factory() -> Any: ...

    assert parameters(factory) == ()
    with pytest.raises(
        TypeError,
        match="factory takes no argument, but must take the shape of a sample, or the parameters to train, first",
    ):
        parameters(factory, skip=1)


# -- arguments --------------------------------------------------------------------------------------------------------


def build(
    count: int,
    weight: Annotated[float, Gt(0), Le(1)] = 0.5,
    norm: Norm = "group",
    flag: bool = False,
    text: str = "",
    sizes: tuple[Annotated[int, Gt(0)], ...] = (3,),
    pair: tuple[float, float] | None = None,
    size: Literal["auto"] | Annotated[int, Gt(0)] | None = None,
    channels: Literal[1, 3] = 3,
    table: dict[str, int] | None = None,
    copy: bool = True,
    unbounded: Annotated[float, AllowInfNan()] = 1.0,
    endless: float = float("inf"),
) -> Any:
    """Takes one of each type. `copy` is a word that pydantic keeps to itself."""


SPEC = EnforcerSpec(name="many", factory=build, summary="")


def check(**given: Any) -> dict[str, Any]:
    return check_arguments(SPEC, {"count": 1} | given, "my.toml, [enforcer]")


def test_arguments_are_completed_with_defaults_in_the_order_of_the_signature() -> None:
    complete = check(weight=0.25, copy=False)
    assert list(complete) == [p.name for p in parameters(build)]
    assert complete["count"] == 1
    assert complete["weight"] == 0.25
    assert complete["copy"] is False
    assert (complete["norm"], complete["sizes"], complete["size"]) == ("group", (3,), None)


def test_none_counts_as_not_given() -> None:
    assert check(weight=None, size=None) == check()
    with pytest.raises(BadInput, match="needs the argument 'count'"):
        check(count=None)


@pytest.mark.parametrize(
    ("name", "given", "taken"),
    [
        ("weight", 1, 1.0),
        ("sizes", [4, 5], (4, 5)),
        ("pair", [1, 2.5], (1.0, 2.5)),
        ("size", "auto", "auto"),
        ("size", 7, 7),
        ("channels", 1, 1),
        ("table", {"a": 1}, {"a": 1}),
        ("text", Path("data"), "data"),
        ("count", 2**70, 2**70),
        ("unbounded", float("inf"), float("inf")),
        ("endless", float("inf"), float("inf")),
    ],
)
def test_what_a_file_can_say_is_taken(name: str, given: Any, taken: Any) -> None:
    value = check(**{name: given})[name]
    assert value == taken
    assert type(value) is type(taken)


@pytest.mark.parametrize(
    ("name", "value", "what", "expected"),
    [
        ("count", True, "'count' cannot be true: input should be a valid integer", "int"),
        ("count", 1.0, "'count' cannot be 1.0: input should be a valid integer", "int"),
        ("count", "1", "'count' cannot be \"1\": input should be a valid integer", "int"),
        ("count", [], "'count' cannot be []: input should be a valid integer", "int"),
        ("weight", "0.5", "'weight' cannot be \"0.5\": input should be a valid number", "float, > 0, <= 1"),
        ("weight", True, "'weight' cannot be true: input should be a valid number", "float, > 0, <= 1"),
        ("weight", 0, "'weight' cannot be 0: input should be greater than 0", "float, > 0, <= 1"),
        ("weight", 2.0, "'weight' cannot be 2.0: input should be less than or equal to 1", "float, > 0, <= 1"),
        ("weight", float("nan"), "'weight' cannot be NaN: input should be ", "float, > 0, <= 1"),
        ("endless", float("nan"), "'endless' cannot be NaN: input should be a finite number", "float"),
        ("endless", float("-inf"), "'endless' cannot be -Infinity: input should be a finite number", "float"),
        (
            "pair",
            [1.0, float("inf")],
            "'pair'[1] cannot be Infinity: input should be a finite number",
            "[float, float]",
        ),
        ("channels", True, "'channels' cannot be true", "1 | 3"),
        ("flag", 1, "'flag' cannot be 1: input should be a valid boolean", "bool"),
        ("flag", "true", "'flag' cannot be \"true\": input should be a valid boolean", "bool"),
        ("text", 3, "'text' cannot be 3: input should be a valid string", "str"),
        ("norm", "layer", "'norm' cannot be \"layer\"", '"group" | "batch" | "none"'),
        ("norm", ["group"], "'norm' cannot be [\"group\"]", '"group" | "batch" | "none"'),
        ("channels", 2, "'channels' cannot be 2", "1 | 3"),
        ("sizes", 3, "'sizes' cannot be 3: input should be a list", "list of (int, > 0)"),
        ("sizes", "33", "'sizes' cannot be \"33\": input should be a list", "list of (int, > 0)"),
        ("sizes", [3, 0], "'sizes'[1] cannot be 0: input should be greater than 0", "list of (int, > 0)"),
        ("pair", [1.0], "'pair' cannot be [1.0]: field required", "[float, float]"),
        ("pair", [1, 2, 3], "'pair' cannot be [1, 2, 3]: tuple should have at most 2 items, not 3", "[float, float]"),
        ("size", "large", "'size' cannot be \"large\"", '"auto" | (int, > 0)'),
        ("table", [], "'table' cannot be []: input should be a table", "table of int"),
        ("table", {"a": "b"}, "'table'[a] cannot be \"b\": input should be a valid integer", "table of int"),
        ("weight", datetime.date(2026, 1, 2), "'weight' cannot be \"2026-01-02\"", "float, > 0, <= 1"),
    ],
)
def test_a_wrong_value_is_shown_with_what_was_expected(name: str, value: Any, what: str, expected: str) -> None:
    with pytest.raises(BadInput) as caught:
        check(**{name: value})
    error = caught.value
    assert error.what.startswith(f"enforcer 'many': {what}")
    assert error.expected == expected
    assert str(error.where).startswith(f"my.toml, [enforcer], key '{name}'")
    assert error.next_step == "idemlab show many"


@pytest.mark.parametrize(
    ("name", "value", "nearest"),
    [("norm", "grop", "group"), ("norm", "Batch", "batch"), ("size", "atuo", "auto"), ("norm", "something", None)],
)
def test_the_nearest_choice_is_named(name: str, value: str, nearest: str | None) -> None:
    with pytest.raises(BadInput) as caught:
        check(**{name: value})
    assert caught.value.nearest == nearest


def test_a_choice_in_the_wrong_place_is_not_suggested_again() -> None:
    def factory(names: list[Norm]) -> Any: ...

    with pytest.raises(BadInput, match="should be a list") as caught:
        check_arguments(EnforcerSpec(name="x", factory=factory, summary=""), {"names": "group"}, "here")
    assert caught.value.nearest is None


def test_an_unknown_argument_is_told_with_the_known_ones() -> None:
    with pytest.raises(BadInput) as caught:
        check(wieght=0.5)
    assert str(caught.value).splitlines() == [
        "enforcer 'many' has no argument 'wieght'",
        "  where: my.toml, [enforcer], key 'wieght'",
        "  choices: channels, copy, count, endless, flag, norm, pair, size, sizes, table, text, unbounded, weight",
        "  did you mean: weight",
        "  next: idemlab show many",
    ]


def test_what_the_platform_gives_is_no_argument() -> None:
    def factory(shape: tuple[int, ...]) -> Any: ...

    spec = ModelSpec(name="bare", factory=factory, summary="")
    assert check_arguments(spec, {}, "here", skip=1) == {}
    with pytest.raises(BadInput, match=r"model 'bare' has no argument 'shape'") as caught:
        check_arguments(spec, {"shape": [3]}, "here", skip=1)
    assert caught.value.choices == ("(it takes no arguments)",)


def test_missing_arguments_are_told_with_their_types() -> None:
    def factory(path: str, size: Annotated[int, Gt(0)], inner: list[Enforcer], weight: float = 1.0) -> Any: ...

    spec = EnforcerSpec(name="hub", factory=factory, summary="")
    with pytest.raises(BadInput) as caught:
        check_arguments(spec, {"weight": 2.0}, "my.toml, [enforcer]")
    assert caught.value.what == (
        "enforcer 'hub' needs the arguments 'path' (str), 'size' (int, > 0), 'inner' (list of enforcers)"
    )
    with pytest.raises(BadInput, match=r"needs the argument 'inner' \(list of enforcers\)"):
        check_arguments(spec, {"path": "x", "size": 3}, "my.toml, [enforcer]")


def test_named_things_are_left_to_the_catalog() -> None:
    def factory(inner: Enforcer, more: list[Source] | None = None) -> Any: ...

    spec = EnforcerSpec(name="x", factory=factory, summary="")
    inner = {"name": "cubic", "nonsense": object()}
    assert check_arguments(spec, {"inner": inner}, "here") == {"inner": inner, "more": None}


def test_a_type_that_cannot_be_checked_is_the_plugins_fault() -> None:
    class Strange: ...

    def factory(x: int) -> Any: ...

    factory.__annotations__ = {"x": Strange}
    with pytest.raises(
        Failure, match=r"enforcer 'x': the types of its arguments cannot be checked: .*Strange"
    ) as caught:
        check_arguments(EnforcerSpec(name="x", factory=factory, summary=""), {"x": 3}, "here")
    assert caught.value.where == "here"
    assert "authors" in str(caught.value.next_step)
