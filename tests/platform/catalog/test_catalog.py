"""Named things, looked up and checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from idemlab import BadInput, Catalog

Install = Callable[..., None]
Load = Callable[..., Catalog]

# -- looking up --------------------------------------------------------------------------------------------------------


def test_names_aliases_and_full_names_lead_to_the_same_thing(install: Install, catalog: Load, good_code: str) -> None:
    install("good", good_code)
    found = catalog()
    entry = found.find("enforcer", "pull")
    assert entry.spec.name == "pull"
    assert found.find("enforcer", "tug") is entry
    assert found.find("enforcer", "good:pull") is entry
    assert found.find("enforcer", "good:tug") is entry


def test_an_unknown_name_is_told_with_choices_and_the_nearest(install: Install, catalog: Load, good_code: str) -> None:
    install("good", good_code)
    with pytest.raises(BadInput) as caught:
        catalog().find("enforcer", "pul", "my.toml, [enforcer]")
    assert str(caught.value).splitlines() == [
        "there is no enforcer 'pul'",
        "  where: my.toml, [enforcer]",
        "  choices: many, pull",
        "  did you mean: pull",
        "  next: idemlab list enforcers",
    ]


def test_an_alias_may_be_the_nearest(install: Install, catalog: Load, good_code: str) -> None:
    install("good", good_code)
    with pytest.raises(BadInput) as caught:
        catalog().find("enforcer", "tugg")
    assert caught.value.nearest == "tug"


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [("source", "pull", "('pull' is an enforcer)"), ("enforcer", "net", "('net' is a model)")],
)
def test_a_name_of_another_kind_is_told(
    kind: str, name: str, hint: str, install: Install, catalog: Load, good_code: str
) -> None:
    install("good", good_code)
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
def test_a_wrong_full_name_is_unknown(name: str, install: Install, catalog: Load, good_code: str) -> None:
    install("good", good_code)
    with pytest.raises(BadInput, match=f"there is no enforcer '{name}'"):
        catalog().find("enforcer", name)


def test_the_broken_plugins_are_named_as_they_may_be_the_reason(
    install: Install, catalog: Load, good_code: str
) -> None:
    install("good", good_code)
    install("worn-out", "import nopackage")
    with pytest.raises(BadInput) as caught:
        catalog().find("enforcer", "worn")
    assert caught.value.what == "there is no enforcer 'worn'; plugins that could not be loaded: worn-out"
    assert caught.value.next_step == "idemlab plugins"


def test_an_empty_catalog_says_so(catalog: Load, good_code: str) -> None:
    with pytest.raises(BadInput) as caught:
        catalog().find("model", "mlp")
    assert caught.value.choices == ("(none: no plugin offers any)",)
    assert caught.value.next_step == "idemlab plugins"


# -- two providers of one name -----------------------------------------------------------------------------------------


@pytest.fixture
def two(install: Install, catalog: Load, good_code: str) -> Catalog:
    install("first", good_code)
    install("second", good_code.replace('("pull", weight', '("other pull", weight').replace("tug", "drag"))
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


def test_a_name_goes_before_an_alias(install: Install, catalog: Load, good_code: str) -> None:
    install("first", good_code)
    install("second", good_code.replace('"pull"', '"tug"').replace('aliases=("tug",)', "aliases=()"))
    assert catalog(strict=True).find("enforcer", "tug").full_name == "second:tug"


# -- checking ----------------------------------------------------------------------------------------------------------


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
