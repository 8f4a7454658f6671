"""Named things with their arguments: built, with their traits, as they stand in a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from idemlab import BadInput, Catalog, Failure, Traits
from idemlab.catalog.named import Named

Install = Callable[..., None]
Load = Callable[..., Catalog]


def test_a_model_is_built_for_a_shape(good: Catalog) -> None:
    named = good.check("model", {"name": "net", "width": 3}, "here")
    assert named.table() == {"name": "net", "width": 3}
    assert named.build((1, 28, 28)) == ("net", (1, 28, 28), 3)


def test_traits_follow_the_arguments(good: Catalog) -> None:
    assert good.check("enforcer", "pull", "here").traits() == Traits(live_depth=2)
    three = good.check("enforcer", {"name": "many", "members": ["pull", "pull", "pull"], "points": "noise"}, "here")
    assert three.traits() == Traits(live_depth=6), "enforcers among the arguments stand as their traits"
    nested = good.check("enforcer", {"name": "many", "members": ["pull", three.table()]}, "here")
    assert nested.traits() == Traits(live_depth=8)


@pytest.mark.parametrize(
    ("traits", "cause", "place"),
    [
        ("lambda: 1 / 0", "ZeroDivisionError: division by zero", " (odd.py, line 6)"),
        ("lambda: 3", "TypeError: they are an int, not idemlab.Traits", ""),
        ("lambda rank: Traits()", "TypeError: provide_enforcers.<locals>.<lambda>() missing 1 required", ""),
    ],
)
def test_traits_that_cannot_be_told_are_told_with_their_plugin(
    traits: str, cause: str, place: str, install: Install, catalog: Load
) -> None:
    install(
        "odd",
        f"""\
        from idemlab import EnforcerSpec, Traits, hookimpl
        def odd(): ...
        @hookimpl
        def provide_enforcers():
            yield EnforcerSpec(name="odd", factory=odd, summary="Odd.",
                traits={traits})
        """,
    )
    found = catalog(strict=True)
    with pytest.raises(Failure) as caught:
        found.check("enforcer", "odd", "here").traits()
    assert caught.value.what.startswith(f"enforcer 'odd' cannot determine its traits: {cause}")
    assert caught.value.where == f"odd 1.0, plugin 'odd'{place}"
    assert caught.value.next_step == "report it to the authors of odd"


def test_paths_stand_in_a_file_as_text(good: Catalog) -> None:
    named = Named("folder", good.find("enforcer", "pull"), {"root": Path("data") / "faces", "sizes": (1, 2)})
    assert named.table() == {"name": "folder", "root": os.path.join("data", "faces"), "sizes": [1, 2]}


RAISING = """
from pathlib import Path
from idemlab import BadInput, Failure, MetricSpec, hookimpl

def missing():
    import nopackage.inner

def refuses(rank: int = 3):
    raise ValueError("rank 3 is larger\\nthan n = 2")

def silent():
    raise ValueError

def bug():
    raise ZeroDivisionError("division by zero")

def own():
    import raising.inner

def newer():
    import idemlab.nosuch

def told():
    raise Failure("no network", next_step="use a folder")

def told_where():
    raise BadInput("bad file", where="data/x.png")

@hookimpl
def provide_metrics():
    for factory in (missing, refuses, silent, bug, own, newer, told):
        yield MetricSpec(name=factory.__name__, factory=factory, summary="")
    yield MetricSpec(name="told-where", factory=told_where, summary="")
    yield MetricSpec(name="extra", factory=missing, summary="", install="raising[extra]")
"""


@pytest.mark.parametrize(
    ("name", "cls", "lines"),
    [
        (
            "missing",
            BadInput,
            [
                "metric 'missing' needs the package 'nopackage', which is not installed",
                "  where: raising 2.0, plugin 'raising'",
                "  next: pip install 'nopackage'",
            ],
        ),
        (
            "extra",
            BadInput,
            [
                "metric 'extra' needs the package 'nopackage', which is not installed",
                "  where: raising 2.0, plugin 'raising'",
                "  next: pip install 'raising[extra]'",
            ],
        ),
        (
            "refuses",
            BadInput,
            [
                "metric 'refuses': rank 3 is larger than n = 2",
                "  where: raising 2.0, plugin 'raising'",
                "  next: idemlab show refuses",
            ],
        ),
        (
            "silent",
            BadInput,
            [
                "metric 'silent': it refuses its arguments",
                "  where: raising 2.0, plugin 'raising'",
                "  next: idemlab show silent",
            ],
        ),
        (
            "bug",
            Failure,
            [
                "metric 'bug' raised ZeroDivisionError: division by zero",
                "  where: raising 2.0, plugin 'raising' (raising.py, line 15)",
                "  next: report it to the authors of raising",
            ],
        ),
        (
            "own",
            Failure,
            [
                "metric 'own' raised ModuleNotFoundError: No module named 'raising.inner'; 'raising' is not a package",
                "  where: raising 2.0, plugin 'raising' (raising.py, line 18)",
                "  next: report it to the authors of raising",
            ],
        ),
        (
            "newer",
            Failure,
            [
                "metric 'newer' raised ModuleNotFoundError: No module named 'idemlab.nosuch'",
                "  where: raising 2.0, plugin 'raising' (raising.py, line 21)",
                "  next: report it to the authors of raising",
            ],
        ),
        (
            "told",
            Failure,
            ["no network", "  where: metric 'told' of raising 2.0, plugin 'raising'", "  next: use a folder"],
        ),
        ("told-where", BadInput, ["bad file", "  where: data/x.png"]),
    ],
)
def test_a_factory_that_raises_is_told(
    name: str, cls: type[Exception], lines: list[str], install: Install, catalog: Load
) -> None:
    install("raising", RAISING, version="2.0")
    found = catalog(strict=True)
    with pytest.raises(cls) as caught:
        found.check("metric", name, "here").build()
    assert type(caught.value) is cls
    assert str(caught.value).splitlines() == lines
