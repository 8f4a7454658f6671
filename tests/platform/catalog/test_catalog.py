"""What plugins offer, and what becomes of those that are broken."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import idemlab
from idemlab import BadInput, Catalog, Failure, Traits
from idemlab.catalog.catalog import installed
from idemlab.catalog.named import Named
from idemlab.catalog.provided import Plugin
from idemlab.contracts.specs import KINDS

Install = Callable[..., None]
Load = Callable[..., Catalog]

GOOD = """
from typing import Annotated, Literal
from annotated_types import Ge
from idemlab import EnforcerSpec, ModelSpec, SourceSpec, Traits, hookimpl

def pull(weight: Annotated[float, Ge(0)] = 1.0, mode: Literal["hard", "soft"] = "soft", limit: int | None = None):
    return ("pull", weight, mode, limit)

def noise(scale: float = 1.0):
    return ("noise", scale)

def many(members: "list[Enforcer]", points: "Source | None" = None):
    return ("many", members, points)

def net(shape: tuple[int, ...], width: int = 8):
    return ("net", shape, width)

@hookimpl
def provide_enforcers():
    yield EnforcerSpec(name="pull", factory=pull, summary="Pulls.", aliases=("tug",), traits=Traits(live_depth=2))
    yield EnforcerSpec(
        name="many",
        factory=many,
        summary="Many.",
        traits=lambda members, points: Traits(live_depth=sum(member.live_depth for member in members)),
    )

@hookimpl
def provide_sources():
    return [SourceSpec(name="noise", factory=noise, summary="Noise.")]

@hookimpl
def provide_models():
    yield ModelSpec(name="net", factory=net, summary="A net.")
"""

PREAMBLE = "from idemlab import EnforcerSpec, MetricSpec, ModelSpec, hookimpl\n"


def names(catalog: Catalog) -> list[str]:
    return [entry.full_name for entry in catalog]


# -- loading ----------------------------------------------------------------------------------------------------------


def test_a_good_plugin_is_listed_by_kind_and_name(install: Install, catalog: Load) -> None:
    install("good-one", GOOD, plugin="main", version="1.2")
    found = catalog()
    assert found.failures == []
    assert found.plugins == [Plugin("main", "good-one", "1.2", "good_one")]
    assert str(found.plugins[0]) == "good-one 1.2, plugin 'main'"
    assert names(found) == ["good-one:net", "good-one:many", "good-one:pull", "good-one:noise"]
    assert [entry.spec.name for entry in found.entries("enforcer")] == ["many", "pull"]
    assert found.entries("metric") == []


BROKEN: dict[str, tuple[str | None, str, str]] = {
    # what is wrong: (code, cause, fix)
    "no module": (
        None,
        "cannot be loaded: ModuleNotFoundError: No module named 'broken'",
        "pip install --upgrade broken",
    ),
    "import error": ("import nopackage.inner", "No module named 'nopackage'", "pip install nopackage, or leave"),
    "own import error": ("import broken.inner", "No module named 'broken.inner'", "pip install --upgrade broken"),
    "another idemlab": ("import idemlab.nosuch", "No module named 'idemlab.nosuch'", "pip install --upgrade broken"),
    "name gone": (
        "from idemlab import NoSuch",
        "ImportError: cannot import name 'NoSuch'",
        "pip install --upgrade broken",
    ),
    "syntax error": ("def f(:", "SyntaxError: invalid syntax (broken.py, line 1)", "pip install --upgrade broken"),
    "exit": ("raise SystemExit(3)", "cannot be loaded: SystemExit: 3", "pip install --upgrade broken"),
    "silent exit": ("raise SystemExit", "cannot be loaded: SystemExit", "pip install --upgrade broken"),
    "misspelt hook": (
        PREAMBLE + "@hookimpl\ndef provide_enforcer(): yield 1",
        "unknown hook 'provide_enforcer'",
        "name its hooks provide_models, provide_datasets",
    ),
    "hook with argument": (
        PREAMBLE + "@hookimpl\ndef provide_models(config): yield 1",
        "{'config'} are declared in the hookimpl",
        "without arguments",
    ),
    "hook without mark": ("def provide_models(): yield 1", "offers nothing", "with @idemlab.hookimpl"),
    "hook raises": (
        PREAMBLE + "@hookimpl\ndef provide_models(): raise RuntimeError('first\\nsecond')",
        "its hook provide_models raised RuntimeError: first second",
        "pip install --upgrade broken",
    ),
    "hook misses a package": (
        PREAMBLE + "@hookimpl\ndef provide_models():\n    import nopackage",
        "its hook provide_models raised ModuleNotFoundError",
        "pip install nopackage",
    ),
    "hook exits": (
        PREAMBLE + "@hookimpl\ndef provide_models(): raise SystemExit",
        "its hook provide_models raised SystemExit",
        "pip install --upgrade broken",
    ),
    "hook returns None": (
        PREAMBLE + "@hookimpl\ndef provide_models(): ModelSpec(name='m', factory=print, summary='')",
        "its hook provide_models raised TypeError: it returned None, not specs",
        "pip install --upgrade broken",
    ),
    "hook returns one": (
        PREAMBLE + "@hookimpl\ndef provide_models(): return ModelSpec(name='m', factory=print, summary='')",
        "'ModelSpec' object is not iterable",
        "pip install --upgrade broken",
    ),
    "wrong spec": (
        PREAMBLE + "@hookimpl\ndef provide_models(): yield MetricSpec(name='m', factory=lambda: 0, summary='')",
        "its hook provide_models yielded MetricSpec, not ModelSpec",
        "yield ModelSpec(name=..., factory=..., summary=...) there",
    ),
    "no spec": (
        PREAMBLE + "@hookimpl\ndef provide_models(): yield 'affine'",
        "its hook provide_models yielded str, not ModelSpec",
        "yield ModelSpec(",
    ),
    "bad name": (
        PREAMBLE
        + "@hookimpl\ndef provide_metrics(): yield MetricSpec(name='My Metric', factory=lambda: 0, summary='')",
        "its hook provide_metrics raised ValueError: MetricSpec name 'My Metric'",
        "pip install --upgrade broken",
    ),
    "too new": (
        PREAMBLE
        + "@hookimpl\ndef provide_metrics(): yield MetricSpec(name='m', factory=lambda: 0, summary='', api_version=9)",
        "metric 'm' is written for api_version 9, this idemlab understands no later than 1",
        "pip install --upgrade idemlab",
    ),
    "too old": (
        PREAMBLE
        + "@hookimpl\ndef provide_metrics(): yield MetricSpec(name='m', factory=lambda: 0, summary='', api_version=0)",
        "metric 'm' is written for api_version 0, this idemlab understands no earlier than 1",
        "pip install --upgrade broken",
    ),
    "wrong traits": (
        "from idemlab import EnforcerSpec, hookimpl\n@hookimpl\n"
        "def provide_enforcers(): yield EnforcerSpec(name='e', factory=lambda: 0, summary='', traits={'smooth': True})",
        "enforcer 'e': its traits are a dict, not Traits",
        "give it traits=Traits(...), or a function of its arguments that returns one",
    ),
    "no annotations": (
        PREAMBLE + "@hookimpl\ndef provide_metrics(): yield MetricSpec(name='m', factory=lambda x: 0, summary='')",
        "metric 'm': argument 'x' of <lambda> has no annotation",
        "make it a plain function whose arguments are annotated",
    ),
    "unreadable annotation": (
        PREAMBLE
        + "import math\ndef f(x: 'math.nope'): ...\n"
        + "@hookimpl\ndef provide_metrics(): yield MetricSpec(name='m', factory=f, summary='')",
        "metric 'm': an annotation of f cannot be read: AttributeError",
        "make it a plain function",
    ),
    "model without shape": (
        PREAMBLE + "@hookimpl\ndef provide_models(): yield ModelSpec(name='m', factory=lambda: 0, summary='')",
        "model 'm': <lambda> takes no argument, but is given the shape of a sample first",
        "make it a plain function",
    ),
    "twice": (
        PREAMBLE + "@hookimpl\ndef provide_metrics(): return 2 * [MetricSpec(name='m', factory=lambda: 0, summary='')]",
        "metric 'm' is offered twice by broken",
        "rename one of the two",
    ),
}


@pytest.mark.parametrize("case", list(BROKEN))
def test_a_broken_plugin_is_told_and_stops_nobody(case: str, install: Install, catalog: Load) -> None:
    code, cause, fix = BROKEN[case]
    install("broken", code, version="0.3")
    install("good", GOOD)
    found = catalog()
    (failure,) = found.failures
    assert cause in failure.cause
    assert fix in failure.fix
    assert "\n" not in failure.cause
    assert (failure.plugin.distribution, failure.plugin.version) == ("broken", "0.3")
    assert [name for name in names(found) if name.startswith("good:")] == [
        "good:net",
        "good:many",
        "good:pull",
        "good:noise",
    ]


@pytest.mark.parametrize("case", list(BROKEN))
def test_strict_raises_at_the_first_broken_plugin(case: str, install: Install, catalog: Load) -> None:
    code, cause, fix = BROKEN[case]
    install("broken", code, version="0.3")
    with pytest.raises(Failure) as caught:
        catalog(strict=True)
    assert cause in caught.value.what
    assert caught.value.where == "broken 0.3, plugin 'broken'"
    assert fix in str(caught.value.next_step)


def test_what_is_good_of_a_plugin_is_kept(install: Install, catalog: Load) -> None:
    install(
        "half",
        PREAMBLE
        + """
@hookimpl
def provide_models(): raise RuntimeError("no models today")

@hookimpl
def provide_metrics():
    yield MetricSpec(name="bad", factory=lambda x: 0, summary="")
    yield MetricSpec(name="good", factory=lambda: 0, summary="")
""",
    )
    found = catalog()
    assert names(found) == ["half:good"]
    assert len(found.failures) == 2
    assert len(found.plugins) == 1


def test_a_plugin_may_offer_nothing_for_now(install: Install, catalog: Load) -> None:
    install("empty", PREAMBLE + "@hookimpl\ndef provide_models(): return []")
    found = catalog()
    assert found.failures == []
    assert names(found) == []
    assert len(found.plugins) == 1


def test_experiments_may_be_any_callable(install: Install, catalog: Load) -> None:
    install(
        "papers",
        """
        from functools import partial
        from pathlib import Path
        from idemlab import ExperimentSpec, hookimpl

        @hookimpl
        def provide_experiments():
            yield ExperimentSpec(name="paper", factory=partial(Path, "paper.toml"), summary="")
        """,
    )
    assert names(catalog(strict=True)) == ["papers:paper"]


# -- looking up -------------------------------------------------------------------------------------------------------


def test_names_aliases_and_full_names_lead_to_the_same_thing(install: Install, catalog: Load) -> None:
    install("good", GOOD)
    found = catalog()
    entry = found.find("enforcer", "pull")
    assert entry.spec.name == "pull"
    assert found.find("enforcer", "tug") is entry
    assert found.find("enforcer", "good:pull") is entry
    assert found.find("enforcer", "good:tug") is entry


def test_an_unknown_name_is_told_with_choices_and_the_nearest(install: Install, catalog: Load) -> None:
    install("good", GOOD)
    with pytest.raises(BadInput) as caught:
        catalog().find("enforcer", "pul", "my.toml, [enforcer]")
    assert str(caught.value).splitlines() == [
        "there is no enforcer 'pul'",
        "  where: my.toml, [enforcer]",
        "  choices: many, pull",
        "  did you mean: pull",
        "  next: idemlab list enforcers",
    ]


def test_an_alias_may_be_the_nearest(install: Install, catalog: Load) -> None:
    install("good", GOOD)
    with pytest.raises(BadInput) as caught:
        catalog().find("enforcer", "tugg")
    assert caught.value.nearest == "tug"


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [("source", "pull", "('pull' is an enforcer)"), ("enforcer", "net", "('net' is a model)")],
)
def test_a_name_of_another_kind_is_told(kind: str, name: str, hint: str, install: Install, catalog: Load) -> None:
    install("good", GOOD)
    with pytest.raises(BadInput) as caught:
        catalog().find(kind, name)
    assert caught.value.what == f"there is no {kind} '{name}' {hint}"


def test_the_next_step_names_the_kind_in_the_plural(install: Install, catalog: Load) -> None:
    install(
        "papers",
        """
        from pathlib import Path
        from idemlab import StudySpec, hookimpl

        @hookimpl
        def provide_studies(): yield StudySpec(name="paper", factory=Path, summary="")
        """,
    )
    with pytest.raises(BadInput) as caught:
        catalog().find("study", "papr")
    assert caught.value.next_step == "idemlab list studies"


@pytest.mark.parametrize("name", ["nobody:pull", "good:nothing", "good:", ":", ""])
def test_a_wrong_full_name_is_unknown(name: str, install: Install, catalog: Load) -> None:
    install("good", GOOD)
    with pytest.raises(BadInput, match=f"there is no enforcer '{name}'"):
        catalog().find("enforcer", name)


def test_the_broken_plugins_are_named_as_they_may_be_the_reason(install: Install, catalog: Load) -> None:
    install("good", GOOD)
    install("worn-out", "import nopackage")
    with pytest.raises(BadInput) as caught:
        catalog().find("enforcer", "worn")
    assert caught.value.what == "there is no enforcer 'worn'; plugins that could not be loaded: worn-out"
    assert caught.value.next_step == "idemlab plugins"


def test_an_empty_catalog_says_so(catalog: Load) -> None:
    with pytest.raises(BadInput) as caught:
        catalog().find("model", "mlp")
    assert caught.value.choices == ("(none: no plugin offers any)",)
    assert caught.value.next_step == "idemlab plugins"


# -- two providers of one name ----------------------------------------------------------------------------------------


OTHER = GOOD.replace('("pull", weight', '("other pull", weight').replace("tug", "drag")


@pytest.fixture
def two(install: Install, catalog: Load) -> Catalog:
    install("first", GOOD)
    install("second", OTHER)
    return catalog(strict=True)


def test_a_shared_name_fails_and_names_both(two: Catalog) -> None:
    for attempt in (
        lambda: two.find("enforcer", "pull", "my.toml"),
        lambda: two.check("enforcer", {"name": "pull"}, "my.toml"),
    ):
        with pytest.raises(BadInput) as caught:
            attempt()
        assert caught.value.what == "2 plugins offer the enforcer 'pull'"
        assert caught.value.choices == ("first:pull", "second:pull")
        assert "my.toml" in str(caught.value.where)
        assert caught.value.next_step == "write the full name, distribution:name"


def test_full_names_tell_them_apart_through_check_and_build(two: Catalog) -> None:
    for full, built in (("first:pull", "pull"), ("second:pull", "other pull")):
        named = two.check("enforcer", {"name": full, "weight": 3.0}, "my.toml")
        assert named.name == full
        assert named.table() == {"name": full, "weight": 3.0, "mode": "soft"}
        assert two.check("enforcer", named.table(), "my.toml") == named
        assert named.build() == (built, 3.0, "soft", None)


def test_an_alias_that_only_one_has_leads_to_its_full_name(two: Catalog) -> None:
    assert two.check("enforcer", "drag", "my.toml").name == "second:pull"
    assert two.check("enforcer", "first:tug", "my.toml").name == "first:pull"


def test_both_are_listed_in_a_fixed_order(two: Catalog) -> None:
    assert [entry.full_name for entry in two.entries("enforcer")] == [
        "first:many",
        "second:many",
        "first:pull",
        "second:pull",
    ]


def test_a_name_goes_before_an_alias(install: Install, catalog: Load) -> None:
    install("first", GOOD)
    install("second", GOOD.replace('"pull"', '"tug"').replace('aliases=("tug",)', "aliases=()"))
    assert catalog(strict=True).find("enforcer", "tug").full_name == "second:tug"


# -- checking and building --------------------------------------------------------------------------------------------


@pytest.fixture
def good(install: Install, catalog: Load) -> Catalog:
    install("good", GOOD)
    return catalog(strict=True)


def test_a_bare_name_is_a_table_without_arguments(good: Catalog) -> None:
    named = good.check("enforcer", "tug", "my.toml")
    assert (named.kind, named.name) == ("enforcer", "pull")
    assert named.arguments == {"weight": 1.0, "mode": "soft", "limit": None}
    assert named.provided is good.find("enforcer", "pull")
    assert named == good.check("enforcer", {"name": "pull"}, "my.toml")
    assert named.table() == {"name": "pull", "weight": 1.0, "mode": "soft"}


@pytest.mark.parametrize(
    ("table", "shown"),
    [
        (3, "3"),
        (None, "null"),
        (["pull"], '["pull"]'),
        ({}, "{}"),
        ({"weight": 1.0}, '{"weight": 1.0}'),
        ({"name": 3}, '{"name": 3}'),
        ({"weights": [0] * 99}, '{"weights": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,...'),
    ],
)
def test_what_is_no_named_table_is_shown(table: Any, shown: str, good: Catalog) -> None:
    with pytest.raises(BadInput) as caught:
        good.check("enforcer", table, "my.toml, [enforcer]")
    assert caught.value.what == f"an enforcer is a table with a 'name', not {shown}"
    assert caught.value.where == "my.toml, [enforcer]"
    assert caught.value.expected == '{ name = "...", arguments }, with the name of an enforcer'
    assert caught.value.next_step == "idemlab list enforcers"


def test_named_things_are_checked_at_every_depth(good: Catalog) -> None:
    table = {
        "name": "many",
        "members": ["tug", {"name": "many", "members": [{"name": "pull", "weight": 2.0}]}],
        "points": "noise",
    }
    named = good.check("enforcer", table, "my.toml")
    pull = {"name": "pull", "weight": 1.0, "mode": "soft"}
    assert named.table() == {
        "name": "many",
        "members": [pull, {"name": "many", "members": [pull | {"weight": 2.0}]}],
        "points": {"name": "noise", "scale": 1.0},
    }
    assert named.build() == (
        "many",
        [("pull", 1.0, "soft", None), ("many", [("pull", 2.0, "soft", None)], None)],
        ("noise", 1.0),
    )


@pytest.mark.parametrize(
    ("table", "what", "where"),
    [
        ({"name": "pul"}, "there is no enforcer 'pul'", "here, key 'name'"),
        ({"name": "pull", "wieght": 1}, "enforcer 'pull' has no argument 'wieght'", "here, key 'wieght'"),
        (
            {"name": "many", "members": []},
            "'members' is a list of enforcers, at least one, not []",
            "here, key 'members'",
        ),
        (
            {"name": "many", "members": "pull"},
            "'members' is a list of enforcers, at least one, not \"pull\"",
            "key 'members'",
        ),
        ({"name": "many", "members": {"name": "pull"}}, "'members' is a list of enforcers", "key 'members'"),
        ({"name": "many", "members": ["pull", 3]}, "an enforcer is a table with a 'name', not 3", "key 'members'[1]"),
        (
            {"name": "many", "members": ["pull", {"name": "many", "members": ["noise"]}]},
            "there is no enforcer 'noise' ('noise' is a source)",
            "here, key 'members'[1], key 'members'[0], key 'name'",
        ),
        (
            {"name": "many", "members": ["pull"], "points": "pull"},
            "there is no source 'pull'",
            "key 'points', key 'name'",
        ),
        (
            {"name": "many", "members": ["pull"], "points": ["noise"]},
            "a source is a table with a 'name'",
            "key 'points'",
        ),
        ({"name": "many"}, "enforcer 'many' needs the argument 'members' (list of enforcers)", "here"),
    ],
)
def test_a_fault_is_told_where_it_stands(table: Any, what: str, where: str, good: Catalog) -> None:
    with pytest.raises(BadInput) as caught:
        good.check("enforcer", table, "here")
    assert caught.value.what.startswith(what)
    assert str(caught.value.where).endswith(where)
    assert caught.value.next_step


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
    assert caught.value.what.startswith(f"enforcer 'odd' cannot tell its traits: {cause}")
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


# -- what is installed ------------------------------------------------------------------------------------------------


def visible(monkeypatch: pytest.MonkeyPatch, plugins: str | None, strict: str | None = None) -> Catalog:
    """The installed catalog under these two environment variables, loaded afresh."""
    for variable, value in (("IDEMLAB_PLUGINS", plugins), ("IDEMLAB_STRICT", strict)):
        if value is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            monkeypatch.setenv(variable, value)
    return installed.__wrapped__()


@pytest.mark.parametrize(
    ("plugins", "distributions"),
    [
        ("corner", ["shop"]),
        ("shop", ["shop"]),
        (" shop , stall", ["shop", "stall"]),
        ("stall,corner", ["shop", "stall"]),
        ("shop,", ["shop"]),
        ("models,shop", ["idemlab", "shop"]),
        ("", []),
        (" , ", []),
    ],
)
def test_idemlab_plugins_chooses_by_plugin_or_distribution(
    plugins: str, distributions: list[str], install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("shop", GOOD, plugin="corner")
    install("stall", GOOD)
    found = visible(monkeypatch, plugins)
    assert sorted({plugin.distribution for plugin in found.plugins}) == distributions
    assert found.failures == []


def test_a_chosen_plugin_that_is_not_there_is_told(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("shop", GOOD, plugin="corner")
    with pytest.raises(BadInput) as caught:
        visible(monkeypatch, "models,cornr")
    assert caught.value.what == "there is no plugin 'cornr'"
    assert caught.value.where == "the environment variable IDEMLAB_PLUGINS"
    assert {"corner", "shop", "idemlab", "models"} <= set(caught.value.choices)
    assert caught.value.nearest == "corner"
    assert caught.value.next_step == "unset IDEMLAB_PLUGINS to load all of them"


def test_all_are_loaded_without_the_variable(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("shop", GOOD)
    found = visible(monkeypatch, None)
    plugins = {str(plugin.distribution) for plugin in found.plugins}
    assert {"idemlab", "shop"} <= plugins


def test_a_plugin_that_is_left_out_is_not_even_imported(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("shop", GOOD)
    install("broken", "raise SystemExit(1)")
    assert visible(monkeypatch, "shop", strict="1").failures == []
    assert "broken" not in sys.modules


@pytest.mark.parametrize("strict", [None, "", "0"])
def test_a_failure_is_kept_unless_strict(strict: str | None, install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("broken", "import nopackage")
    (failure,) = visible(monkeypatch, "broken", strict).failures
    assert failure.plugin.distribution == "broken"


def test_idemlab_strict_raises(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("broken", "import nopackage")
    with pytest.raises(Failure, match="plugin broken cannot be loaded: ModuleNotFoundError"):
        visible(monkeypatch, "broken", "1")


def test_the_catalog_is_loaded_once() -> None:
    assert installed() is installed()
    assert idemlab.installed is installed


def test_what_idemlab_ships_loads_without_failure_and_is_named_well(monkeypatch: pytest.MonkeyPatch) -> None:
    found = visible(monkeypatch, "idemlab", "1")
    for entry in found:
        assert entry.spec.summary, entry.full_name
        assert "\n" not in entry.spec.summary, entry.full_name
        assert found.find(entry.spec.kind, entry.spec.name) is entry
    kinds = {entry.spec.kind for entry in found}
    assert kinds >= set(KINDS) - {"study"}


def test_listing_loads_nothing_heavy() -> None:
    code = (
        "import sys, idemlab; names = [entry.full_name for entry in idemlab.installed()]; assert names\n"
        "print(*sorted({'torch', 'numpy', 'pydantic', 'datasets', 'torchvision', 'accelerate'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
