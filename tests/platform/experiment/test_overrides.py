"""Single keys that are set from outside."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from idemlab import BadInput, Catalog, resolve

Table = dict[str, Any]
Write = Callable[[str, str], Path]
Refused = Callable[..., BadInput]


@pytest.mark.parametrize(
    ("overrides", "key", "value"),
    [
        (["model.width=64"], "model.width", 64),
        (["model.width = 64 "], "model.width", 64),
        (["model.width=64 # wider"], "model.width", 64),
        (["model.norm=none"], "model.norm", "none"),
        (['model.norm="none"'], "model.norm", "none"),
        (["enforcer.weight=1e-3"], "enforcer.weight", 1e-3),
        (["training.compile=true"], "training.compile", True),
        (["training.trackers=['wandb']"], "training.trackers", ["wandb"]),
        (["optimizer.betas=[0.1, 0.2]"], "optimizer.betas", [0.1, 0.2]),
        (["optimizer.betas.1=0.3"], "optimizer.betas", [0.5, 0.3]),
        (["optimizer=sgd"], "optimizer.lr", 0.1),
        (["optimizer.name=sgd"], "optimizer.lr", 0.1),
        (["summary=What it = shows"], "summary", "What it = shows"),
        (["training.steps=1e3"], "training.steps", 1000),
        (["training.steps=2_0E+2"], "training.steps", 2000),
        (["enforcer.weight=1e22"], "enforcer.weight", 1e22),
        (["enforcer=push"], "enforcer", {"name": "push", "force": 2.0}),
        (["enforcer.name=push"], "enforcer", {"name": "push", "force": 2.0}),
        (['enforcer={ name = "push", force = 1 }'], "enforcer", {"name": "push", "force": 1.0}),
        (["enforcer=pull"], "enforcer", {"name": "pull", "weight": 20.0, "limit": 3}),
        (["training.flops=1e9"], "training.flops", 1e9),
        (["evaluation.inputs.noise.scale=2"], "evaluation.inputs.noise.scale", 2.0),
        (["evaluation.inputs={}"], "evaluation.inputs", {}),
        (["evaluation.metrics=['error']"], "evaluation.metrics", [{"name": "error"}]),
        (["reconstruction.input=worn"], "reconstruction.input", {"name": "worn", "strength": 0.5}),
        (["reconstruction.input=worn", "reconstruction.input.strength=0.1"], "reconstruction.input.strength", 0.1),
        (["source=noise", "source.scale=3"], "source.scale", 3.0),
        (["model.width=64", "model.width=32"], "model.width", 32),
        (["enforcer=many", 'enforcer.members=["pull", "push"]', "enforcer.members.0.weight=3"], "enforcer.members",
         [{"name": "pull", "weight": 3.0}, {"name": "push", "force": 2.0}]),
    ],
    ids=str,
)  # fmt: skip
def test_an_override_is_a_dotted_key_and_a_toml_value_or_text(
    overrides: list[str], key: str, value: Any, shop: Catalog
) -> None:
    found: Any = resolve("paper", overrides, catalog=shop).table()
    for part in key.split("."):
        found = found[part]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["enforcer=push", "enforcer.force=7"],
        ["enforcer.name=push", "enforcer.force=7"],
        ['enforcer={ name = "push" }', "enforcer.force=7"],
        ["source=['noise', 'data']", "source.0.scale=4"],
        ["evaluation.inputs.x=worn", "evaluation.inputs.x.strength=0.1"],
    ],
    ids=str,
)
def test_the_order_of_overrides_does_not_matter(overrides: list[str], shop: Catalog) -> None:
    straight = resolve("paper", overrides, catalog=shop).table()
    assert straight == resolve("paper", overrides[::-1], catalog=shop).table()
    text = str(straight)
    assert re.search(r"'force': 7.0|'scale': 4.0|'strength': 0.1", text)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["training.steps=5", "training.flops=1e9"], "training.steps and by training.flops"),
        (["training.epochs=1", "training.steps=5"], "training.steps and by training.epochs"),
        (["training={ flops = 1e9 }", "training.epochs=1"], "training.epochs and by training.flops"),
    ],
)
def test_lengths_in_different_units_are_not_set_together(
    overrides: list[str], named: str, shop: Catalog, refused: Refused
) -> None:
    for given in (overrides, overrides[::-1]):
        error = refused("paper", *given)
        assert f"is set by {named}" in error.what
    for one in overrides:  # alone it replaces that of the experiment
        resolve("paper", [one], catalog=shop)


@pytest.mark.parametrize("source", ["noise", {"name": "noise"}, ["noise", "data"], [{"name": "noise"}, "data"]])
def test_an_element_of_the_sources_is_overridden(source: Any, shop: Catalog, table: Table) -> None:
    experiment = resolve(table | {"source": source}, ["source.0.scale=3"], catalog=shop)
    assert experiment.sources[0].arguments["scale"] == 3.0
    assert [s.name for s in experiment.sources] == (["noise", "data"] if isinstance(source, list) else ["noise"])


def test_a_whole_element_is_overridden(shop: Catalog, table: Table) -> None:
    experiment = resolve(table | {"source": ["noise", "noise"]}, ["source.1=worn"], catalog=shop)
    assert [s.name for s in experiment.sources] == ["noise", "worn"]


@pytest.mark.parametrize(
    ("override", "what", "where", "expected"),
    [
        (
            "source.0.scale=2",
            "'source' has no element 0",
            "the override of source.0",
            "a list",
        ),
        (
            "optimizer.betas.2=1",
            "'optimizer.betas' has no element 2",
            "the override of optimizer.betas.2",
            "an element from 0 to 1",
        ),
        ("training.steps.0=1", "'training.steps' has no element 0", "the override of training.steps.0", "a list"),
        (
            "evaluation.inputs.0=noise",
            "'evaluation.inputs' has no element 0",
            "the override of evaluation.inputs.0",
            "a list",
        ),
    ],
)
def test_a_missing_element_is_told(override: str, what: str, where: str, expected: str, refused: Refused) -> None:
    error = refused("paper", override)
    assert (error.what, error.where) == (what, where)
    assert error.expected == expected
    assert error.next_step == (f"write a new list: {override.split('.0')[0]} = [...]" if expected == "a list" else None)


@pytest.mark.parametrize("override", ["model.width", "", "=3", "model..width=3", ".width=3", "model.=3", " = "])
def test_what_is_no_override_is_told(override: str, refused: Refused) -> None:
    error = refused("paper", override)
    assert error.what == f"'{override}' is not an override"
    assert error.expected == "key=value, for instance enforcer.weight=0.5"


@pytest.mark.parametrize(("override", "nearest"), [("modl.width=3", "model"), ("xyz=3", None), ("base=paper", None)])
def test_an_unknown_table_cannot_be_overridden(override: str, nearest: str | None, refused: Refused) -> None:
    error = refused("paper", override)
    assert error.what == f"there is no key '{override.split('.')[0].split('=')[0]}' to set"
    assert error.where == f"the override '{override}'"
    assert "model" in error.choices
    assert error.nearest == nearest


@pytest.mark.parametrize(
    ("override", "what", "key"),
    [
        ("model.widht=3", "model 'net' has no argument 'widht'", "[model], key 'widht'"),
        ("model.width=wide", "model 'net': 'width' cannot be \"wide\": input should be a", "[model], key 'width'"),
        ("model.width=3.0", "model 'net': 'width' cannot be 3.0: input should be a valid integer", "[model], key 'width'"),
        ("training.steps=1e400", "[training]: 'steps' cannot be Infinity", "[training], key 'steps'"),
        ("enforcer.weight=1e400", "enforcer 'pull': 'weight' cannot be Infinity", "[enforcer], key 'weight'"),
        ("model.width=", "model 'net': 'width' cannot be \"\": input should be a valid integer", "[model], key 'width'"),
        ("model.width.x=3", 'model \'net\': \'width\' cannot be {"x": 3}', "[model], key 'width'"),
        ("training.steps=5\nseed=3", "[training]: 'steps' cannot be \"5\\nseed=3\"", "[training], key 'steps'"),
        ("training.batch=8", "[training] has no key 'batch'", "[training], key 'batch'"),
        ("training=8", "'training' must be a table", "key 'training'"),
        ("enforcer=pul", "there is no enforcer 'pul'", "[enforcer], key 'name'"),
        ("summary=3", "'summary' must be text", "key 'summary'"),
    ],
)  # fmt: skip
def test_a_wrong_override_is_told_with_what_was_set(override: str, what: str, key: str, refused: Refused) -> None:
    error = refused("paper", override)
    assert error.what.startswith(what)
    assert error.where == f"paper.toml with the override '{override.replace(chr(10), chr(92) + 'n')}', {key}"


def test_an_override_hides_no_fault_of_the_file(table: Table, refused: Refused) -> None:
    error = refused(table | {"evaluation": 3}, "model.width=3")
    assert error.what == "'evaluation' must be a table"


def test_overrides_reach_what_is_not_in_the_file(shop: Catalog, table: Table) -> None:
    overrides = ["enforcer=pull", "evaluation.inputs.noise.scale=3", "optimizer.lr=1", "reconstruction.weight=2"]
    experiment = resolve(table, overrides, catalog=shop)
    assert experiment.enforcer.name == "pull"
    assert experiment.inputs["noise"].arguments["scale"] == 3.0
    assert experiment.optimizer.lr == 1.0
    assert experiment.reconstruction.weight == 2.0
