"""The index of known plugins: any plugin's package may carry one, and a wrong one stops nobody."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from idemlab import Catalog
from idemlab.catalog.known import Index, known_plugins

PLUGIN = "from idemlab import hookimpl\n@hookimpl\ndef provide_models(): return []\n"
GOOD = """
[[plugin]]
name = "idemlab-shrink"
summary = "Shrinks what is too large."
offers = { enforcer = ["shrink", "shrink-more"], model = ["small"] }
install = "pip install idemlab-shrink"
"""


@pytest.fixture
def index(site: Path, install: Callable[..., None], catalog: Callable[..., Catalog]) -> Callable[..., Index]:
    """A function that gives the index of packages that carry these texts."""

    def make(**texts: str) -> Index:
        for package, text in texts.items():
            install(package, None)
            (site / package).mkdir()
            (site / package / "__init__.py").write_text(PLUGIN)
            (site / package / "known_plugins.toml").write_text(text)
        return known_plugins(catalog(strict=True))

    return make


def test_a_right_index_is_read(index: Callable[..., Index]) -> None:
    found = index(one=GOOD)
    assert found.failures == ()
    (shrink,) = found.plugins
    assert shrink.name == "idemlab-shrink"
    assert shrink.offers == {"enforcer": ["shrink", "shrink-more"], "model": ["small"]}
    assert shrink.home == ""
    assert shrink.installed is None


def test_indexes_of_several_plugins_are_joined_and_sorted(index: Callable[..., Index]) -> None:
    found = index(
        one=GOOD,
        two=GOOD.replace("idemlab-shrink", "idemlab-grow") + GOOD.replace("Shrinks what", "Another word for what"),
    )
    assert [(plugin.name, plugin.summary[:7]) for plugin in found.plugins] == [
        ("idemlab-grow", "Shrinks"),
        ("idemlab-shrink", "Shrinks"),
    ]


def test_an_installed_plugin_has_a_version(index: Callable[..., Index]) -> None:
    (one,) = index(one=GOOD.replace("idemlab-shrink", "one")).plugins
    assert one.installed == "1.0"


WRONG = {
    "name": (GOOD.replace("idemlab-shrink", "Idemlab_Shrink", 1), "'name' cannot be \"Idemlab_Shrink\""),
    "no summary": (GOOD.replace("summary", "home"), "lacks the key 'summary'"),
    "long summary": (GOOD.replace("Shrinks", "Shrinks " + "much " * 20), "'summary' cannot be"),
    "kind": (GOOD.replace("model =", "modl ="), "there is no kind 'modl'"),
    "nothing": (GOOD.replace('["small"]', "[]"), "name something under each kind"),
    "offered": (GOOD.replace('"small"', '"Not Small"'), "cannot be"),
    "install": (GOOD.replace("pip install", "curl"), "'install' cannot be"),
    "unknown key": (GOOD + "stars = 5\n", "has no key 'stars'"),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_a_wrong_table_is_told_and_stops_none_of_the_others(case: str, index: Callable[..., Index]) -> None:
    text, message = WRONG[case]
    found = index(one=text + GOOD.replace("idemlab-shrink", "idemlab-grow"))
    assert [plugin.name for plugin in found.plugins] == ["idemlab-grow"]
    (failure,) = found.failures
    assert message in failure
    assert "known_plugins.toml of one 1.0, plugin 'one', plugin 1" in failure


@pytest.mark.parametrize("text", ["[[plugin]", "plugin = 3", "plugin = [3]"])
def test_a_file_that_is_no_index_is_told(text: str, index: Callable[..., Index]) -> None:
    found = index(one=text, two=GOOD)
    assert [plugin.name for plugin in found.plugins] == ["idemlab-shrink"]
    (failure,) = found.failures
    assert "known_plugins.toml of one 1.0" in failure


def test_a_single_module_carries_no_index(
    site: Path, install: Callable[..., None], catalog: Callable[..., Catalog]
) -> None:
    install("alone", PLUGIN)
    (site / "known_plugins.toml").write_text(GOOD)
    assert known_plugins(catalog(strict=True)) == Index((), ())
