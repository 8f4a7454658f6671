"""The index of known plugins that idemlab ships."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import idemlab
from idemlab.catalog.known import known_plugins

FILE = Path(__file__).parents[2] / "registry" / "idemlab_registry" / "known_plugins.toml"
TABLES = tomllib.loads(FILE.read_text(encoding="utf-8")).get("plugin", [])


def offered_twice(tables: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """What several plugins of an index offer, or one of them and idemlab, as (kind, name)."""
    named = [(kind, name) for table in tables for kind, names in table["offers"].items() for name in names]
    named += [
        (entry.spec.kind, entry.spec.name) for entry in idemlab.installed() if entry.plugin.distribution == "idemlab"
    ]
    return [thing for thing, count in Counter(named).items() if count > 1]


def test_every_table_is_right_and_in_order() -> None:
    index = known_plugins(idemlab.installed())
    assert index.failures == ()
    assert [plugin.name for plugin in index.plugins] == [table["name"] for table in TABLES]


def test_nothing_is_offered_twice() -> None:
    assert offered_twice(TABLES) == []
    shrink = {"offers": {"enforcer": ["shrink"]}}
    assert offered_twice([shrink, {"offers": {"model": ["shrink"]}}]) == []
    assert offered_twice([shrink, shrink, {"offers": {"enforcer": ["rank"]}}]) == [
        ("enforcer", "shrink"),
        ("enforcer", "rank"),
    ]
