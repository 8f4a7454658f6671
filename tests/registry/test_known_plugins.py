"""The index of known plugins that idemlab ships."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import idemlab
from idemlab.catalog.known import known_plugins

ROOT = Path(__file__).parents[2]
FILE = ROOT / "registry" / "idemlab_registry" / "known_plugins.toml"
TABLES = tomllib.loads(FILE.read_text(encoding="utf-8"))["plugin"]


def test_every_table_is_right_and_in_order() -> None:
    index = known_plugins(idemlab.installed())
    assert index.failures == ()
    assert [plugin.name for plugin in index.plugins] == [table["name"] for table in TABLES]
    assert len(TABLES) > 0


@pytest.mark.parametrize("table", TABLES, ids=[table["name"] for table in TABLES])
def test_nothing_is_offered_twice(table: dict[str, dict[str, list[str]]]) -> None:
    ours = {
        (entry.spec.kind, entry.spec.name) for entry in idemlab.installed() if entry.plugin.distribution == "idemlab"
    }
    others = {
        (kind, name)
        for other in TABLES
        if other is not table
        for kind, names in other["offers"].items()
        for name in names
    }
    offered = {(kind, name) for kind, names in table["offers"].items() for name in names}
    assert not offered & (ours | others)


@pytest.mark.parametrize("table", TABLES, ids=[table["name"] for table in TABLES])
def test_what_is_installed_from_this_repository_is_what_the_table_says(table: dict[str, str]) -> None:
    folder = ROOT / table["install"].removeprefix("pip install ")
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == table["name"]
    assert "idemlab" in project["entry-points"]
