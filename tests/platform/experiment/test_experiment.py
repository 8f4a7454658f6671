"""Experiments: files that compose names, checked before torch is loaded."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from idemlab import BadInput, Catalog, Experiment, installed, resolve

Table = dict[str, Any]

SHOP = """
from pathlib import Path
from typing import Annotated, Literal
from annotated_types import Ge, Gt
from idemlab import (
    DatasetSpec, EnforcerSpec, ExperimentSpec, MetricSpec, ModelSpec, SourceSpec, hookimpl
)

FILES = Path(__file__).parent / "experiments"

def balls(count: Annotated[int, Gt(0)] = 8, root: Path | None = None): ...
def net(shape: tuple[int, ...], width: Annotated[int, Gt(0)] = 16, norm: Literal["group", "none"] = "group"): ...
def none(): ...
def pull(weight: Annotated[float, Ge(0)] = 1.0, limit: int | None = None): ...
def push(force: float = 2.0): ...
def many(members: "list[Enforcer]"): ...
def data(): ...
def noise(scale: Annotated[float, Gt(0)] = 1.0, shape: tuple[int, ...] = (2, 3)): ...
def worn(strength: float = 0.5): ...
def error(): ...
def fails(): raise RuntimeError("no file today")

def offer(spec, *factories):
    return [spec(name=factory.__name__, factory=factory, summary="") for factory in factories]

@hookimpl
def provide_datasets(): return offer(DatasetSpec, balls)

@hookimpl
def provide_models(): return offer(ModelSpec, net)

@hookimpl
def provide_enforcers(): return offer(EnforcerSpec, none, pull, push, many)

@hookimpl
def provide_sources(): return offer(SourceSpec, data, worn) + [
    SourceSpec(name="noise", factory=noise, summary="", aliases=("gaussian",))
]

@hookimpl
def provide_metrics(): return offer(MetricSpec, error)

@hookimpl
def provide_experiments():
    yield from offer(ExperimentSpec, fails)
    for path in sorted(FILES.glob("*.toml")):
        yield ExperimentSpec(name=path.stem, factory=lambda path=path: path, summary="")
"""

PAPER = """
summary = "A paper."

[dataset]
name = "balls"

[model]
name = "net"
width = 32

[enforcer]
name = "pull"
weight = 20.0
limit = 3

[optimizer]
name = "adam"
lr = 0.1
betas = [0.5, 0.9]

[training]
steps = 100
batch_size = 8
"""


@pytest.fixture
def shop(site: Path, install: Callable[..., None], catalog: Callable[..., Catalog]) -> Catalog:
    """A catalog of small things, with the registered experiment `paper`."""
    (site / "experiments").mkdir()
    (site / "experiments" / "paper.toml").write_text(PAPER)
    install("shop", SHOP)
    return catalog(strict=True)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """A function that writes a file below the test's folder."""

    def make(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return make


@pytest.fixture
def table() -> Table:
    """The least that an experiment can say."""
    return {"dataset": "balls", "model": "net", "training": {"steps": 5}}


def refused(reference: Any, catalog: Catalog, *overrides: str) -> BadInput:
    """The error that resolving ends in."""
    with pytest.raises(BadInput) as caught:
        resolve(reference, overrides, catalog=catalog)
    assert caught.value.exit_code == 2
    return caught.value


# -- where an experiment comes from -----------------------------------------------------------------------------------


def test_an_experiment_is_found_by_name_full_name_path_table_and_run(
    shop: Catalog, write: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("mine/paper.toml", PAPER)
    write("runs/first/experiment.toml", PAPER)
    monkeypatch.chdir(path.parents[1])
    references = [
        "paper",
        "shop:paper",
        path,
        str(path),
        "mine/paper.toml",
        Path("mine/paper.toml"),
        path.parents[1] / "runs" / "first",
        "runs/first",
        "runs/first/experiment.toml",
        tomllib.loads(PAPER),
    ]
    tables = [resolve(reference, catalog=shop).table() for reference in references]
    assert all(table == tables[0] for table in tables)
    assert tables[0]["model"] == {"name": "net", "width": 32, "norm": "group"}
    assert resolve("paper", catalog=shop).name == "paper"


def test_a_folder_of_a_run_hides_no_experiment(
    shop: Catalog, write: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write("paper/experiment.toml", PAPER.replace("steps = 100", "steps = 7")).parent
    monkeypatch.chdir(run.parent)
    assert resolve("paper", catalog=shop).training.steps == 100
    assert resolve(Path("paper"), catalog=shop).training.steps == 7
    assert resolve("./paper", catalog=shop).training.steps == 7


def test_a_run_in_the_current_folder_is_found_by_its_bare_name(
    shop: Catalog, write: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write("monday/experiment.toml", PAPER).parents[1])
    assert resolve("monday", catalog=shop).training.steps == 100


def test_a_table_is_left_as_it_was(shop: Catalog, table: Table) -> None:
    table["base"] = "paper"
    before = copy.deepcopy(table)
    resolve(table, ["model.width=3", "evaluation.inputs.noise.scale=2"], catalog=shop)
    assert table == before


def test_an_unknown_name_is_told(shop: Catalog) -> None:
    error = refused("papr", shop)
    assert str(error).splitlines() == [
        "there is no experiment 'papr'",
        "  choices: fails, paper",
        "  did you mean: paper",
        "  next: idemlab list experiments",
    ]


@pytest.mark.parametrize("reference", ["papr.toml", "mine/papr.toml", Path("papr"), Path("mine") / "papr.toml"])
def test_a_missing_file_is_told(reference: str | Path, shop: Catalog) -> None:
    error = refused(reference, shop)
    assert error.what == f"there is no file '{reference}'"
    assert error.nearest == "paper"
    assert error.next_step == "idemlab list experiments"


def test_a_folder_without_a_run_is_told(shop: Catalog, tmp_path: Path) -> None:
    assert refused(tmp_path, shop).what == f"the folder '{tmp_path}' holds no experiment.toml"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"[model\nname = 3", "not valid TOML: Expected ']'"),
        (b"steps = 1\nsteps = 2", "not valid TOML: Cannot overwrite a value (at"),
        (b"summary = '\xff'", "cannot be read: 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_an_unreadable_file_is_told(content: bytes, what: str, shop: Catalog, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    error = refused(path, shop)
    assert error.what.startswith(what)
    assert error.where == str(path)


def test_an_experiment_whose_file_is_gone_is_told(shop: Catalog, site: Path) -> None:
    (site / "experiments" / "paper.toml").unlink()
    error = refused("paper", shop)
    assert error.what.startswith("cannot be read: [Errno 2]")
    assert error.where == "paper.toml"


def test_a_plugin_that_cannot_give_its_file_is_told(shop: Catalog) -> None:
    with pytest.raises(Exception, match="experiment 'shop:fails' raised RuntimeError: no file today"):
        resolve("fails", catalog=shop)


# -- base -------------------------------------------------------------------------------------------------------------


def based(catalog: Catalog, base: str = "paper", **tables: Any) -> Table:
    return resolve({"base": base, **tables}, catalog=catalog).table()


def test_tables_are_laid_over_those_of_the_base(shop: Catalog) -> None:
    paper = resolve("paper", catalog=shop).table()
    assert based(shop) == paper
    child = based(shop, model={"norm": "none"}, training={"seed": 3})
    assert child["model"] == {"name": "net", "width": 32, "norm": "none"}
    assert child["training"] == paper["training"] | {"seed": 3}
    assert child["enforcer"] == paper["enforcer"]


@pytest.mark.parametrize("same", ["pull", {"name": "pull"}])
def test_the_same_name_keeps_the_arguments_of_the_base(same: Any, shop: Catalog) -> None:
    assert based(shop, enforcer=same)["enforcer"] == {"name": "pull", "weight": 20.0, "limit": 3}


@pytest.mark.parametrize("other", ["push", {"name": "push"}])
def test_another_name_replaces_the_table_of_the_base(other: Any, shop: Catalog) -> None:
    assert based(shop, enforcer=other)["enforcer"] == {"name": "push", "force": 2.0}


def test_a_bare_name_in_the_base_is_short_for_a_table(shop: Catalog, write: Callable[[str, str], Path]) -> None:
    base = write("base.toml", 'dataset = "balls"\nmodel = "net"\nenforcer = "pull"\n[training]\nsteps = 5')
    assert based(shop, str(base), enforcer={"weight": 3})["enforcer"] == {"name": "pull", "weight": 3.0}


def test_another_optimizer_keeps_the_rate_of_the_base(shop: Catalog) -> None:
    """All optimisers have these settings, so they are not arguments of the one named."""
    for other in ("sgd", {"name": "sgd"}):
        optimizer = based(shop, optimizer=other)["optimizer"]
        assert (optimizer["name"], optimizer["lr"]) == ("sgd", 0.1)


def test_a_bare_name_is_an_optimizer_too(shop: Catalog, table: Table) -> None:
    settings = resolve(table | {"optimizer": "sgd"}, catalog=shop).table()["optimizer"]
    assert (settings["name"], settings["lr"]) == ("sgd", 1e-3)


def test_lists_of_the_base_are_replaced(shop: Catalog, write: Callable[[str, str], Path]) -> None:
    base = write("base.toml", PAPER + '[evaluation]\nmetrics = ["error"]\n[[source]]\nname = "noise"\n')
    child = based(shop, str(base), source="data", evaluation={"metrics": []})
    assert child["source"] == {"name": "data"}
    assert child["evaluation"]["metrics"] == []


def test_inputs_of_the_base_are_laid_over_by_name(shop: Catalog, write: Callable[[str, str], Path]) -> None:
    base = write("base.toml", PAPER + '[evaluation]\ninputs = { a = "noise", b = { name = "noise", scale = 2.0 } }')
    inputs = based(shop, str(base), evaluation={"inputs": {"b": "worn", "c": "noise"}})["evaluation"]["inputs"]
    assert {key: value["name"] for key, value in inputs.items()} == {"a": "noise", "b": "worn", "c": "noise"}


@pytest.mark.parametrize(("mine", "other"), [("steps", "flops"), ("flops", "steps")])
def test_one_length_replaces_the_other(mine: str, other: str, shop: Catalog, write: Callable[[str, str], Path]) -> None:
    base = write("base.toml", PAPER.replace("steps = 100", f"{other} = 100"))
    child = based(shop, str(base), training={mine: 7})["training"]
    assert child[mine] == 7
    assert other not in child
    assert child["batch_size"] == 8


def test_a_base_is_looked_up_beside_the_file(shop: Catalog, write: Callable[[str, str], Path]) -> None:
    write("lab/first.toml", PAPER)
    write("lab/sub/second.toml", 'base = "../first.toml"\n[model]\nwidth = 5')
    third = write("lab/third.toml", 'base = "sub/second.toml"\n[model]\nnorm = "none"')
    assert resolve(third, catalog=shop).table()["model"] == {"name": "net", "width": 5, "norm": "none"}


def test_a_run_may_be_a_base(shop: Catalog, write: Callable[[str, str], Path]) -> None:
    write("runs/first/experiment.toml", PAPER)
    again = write("runs/again.toml", 'base = "first"\n[training]\nseed = 1')
    assert resolve(again, catalog=shop).training.seed == 1


def test_a_circle_is_told(shop: Catalog, write: Callable[[str, str], Path]) -> None:
    write("a.toml", 'base = "b.toml"')
    write("b.toml", 'base = "c.toml"')
    path = write("c.toml", 'base = "a.toml"')
    error = refused(path.with_name("a.toml"), shop)
    assert error.what == "experiments are based on each other in a circle: a.toml -> b.toml -> c.toml -> a.toml"
    assert str(error.where).endswith("a.toml, key 'base'")


@pytest.mark.parametrize(
    ("base", "what"),
    [
        ("papr", "there is no experiment 'papr'"),
        ("papr.toml", "there is no file '{}/papr.toml'"),
        ("", "there is no experiment ''"),
    ],
)
def test_a_missing_base_is_told_where_it_is_asked_for(
    base: str, what: str, shop: Catalog, write: Callable[[str, str], Path]
) -> None:
    path = write("mine.toml", f'base = "{base}"')
    error = refused(path, shop)
    assert error.what == what.format(path.parent)
    assert error.where == f"{path}, key 'base'"


def test_a_base_is_a_name(shop: Catalog) -> None:
    error = refused({"base": ["paper"]}, shop)
    assert error.what == "'base' must be the name or the path of an experiment"
    assert error.where == "the given table, key 'base'"


def test_a_fault_in_the_base_is_told_with_both_files(shop: Catalog, write: Callable[[str, str], Path]) -> None:
    base = write("base.toml", PAPER.replace("width", "widht"))
    path = write("mine.toml", 'base = "base.toml"')
    assert refused(path, shop).where == f"{path} (based on {base}), [model], key 'widht'"
    path = write("other.toml", 'base = "paper"\n[model]\nwidht = 3')
    assert refused(path, shop).where == f"{path} (based on paper.toml), [model], key 'widht'"


# -- overrides --------------------------------------------------------------------------------------------------------


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
        (["dataset.root=a/b.c"], "dataset.root", "a/b.c"),
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
            "--set source.0",
            "a list; --set 'source=[...]' writes a new one",
        ),
        (
            "optimizer.betas.2=1",
            "'optimizer.betas' has no element 2",
            "--set optimizer.betas.2",
            "an element from 0 to 1",
        ),
        ("training.steps.0=1", "'training.steps' has no element 0", "--set training.steps.0", "a list; "),
        ("evaluation.inputs.0=noise", "'evaluation.inputs' has no element 0", "--set evaluation.inputs.0", "a list; "),
    ],
)
def test_a_missing_element_is_told(override: str, what: str, where: str, expected: str, shop: Catalog) -> None:
    error = refused("paper", shop, override)
    assert (error.what, error.where) == (what, where)
    assert str(error.expected).startswith(expected)


@pytest.mark.parametrize("override", ["model.width", "", "=3", "model..width=3", ".width=3", "model.=3", " = "])
def test_what_is_no_override_is_told(override: str, shop: Catalog) -> None:
    error = refused("paper", shop, override)
    assert error.what == f"'{override}' is not an override"
    assert error.expected == "key=value, for instance enforcer.weight=0.5"


@pytest.mark.parametrize(("override", "nearest"), [("modl.width=3", "model"), ("xyz=3", None), ("base=paper", None)])
def test_an_unknown_table_cannot_be_overridden(override: str, nearest: str | None, shop: Catalog) -> None:
    error = refused("paper", shop, override)
    assert error.what == f"there is no key '{override.split('.')[0].split('=')[0]}' to set"
    assert error.where == f"--set {override}"
    assert "model" in error.choices
    assert error.nearest == nearest


@pytest.mark.parametrize(
    ("override", "what", "key"),
    [
        ("model.widht=3", "model 'net' has no argument 'widht'", "[model], key 'widht'"),
        ("model.width=wide", "model 'net': 'width' cannot be \"wide\": input should be a", "[model], key 'width'"),
        ("model.width=3.0", "model 'net': 'width' cannot be 3.0: input should be a valid integer", "[model], key 'width'"),
        ("model.width=", "model 'net': 'width' cannot be \"\": input should be a valid integer", "[model], key 'width'"),
        ("model.width.x=3", 'model \'net\': \'width\' cannot be {"x": 3}', "[model], key 'width'"),
        ("training.steps=5\nseed=3", "[training]: 'steps' cannot be \"5\\nseed=3\"", "[training], key 'steps'"),
        ("training.batch=8", "[training] has no key 'batch'", "[training], key 'batch'"),
        ("training=8", "'training' must be a table", "key 'training'"),
        ("enforcer=pul", "there is no enforcer 'pul'", "[enforcer], key 'name'"),
        ("summary=3", "'summary' must be text", "key 'summary'"),
    ],
)  # fmt: skip
def test_a_wrong_override_is_told_with_what_was_set(override: str, what: str, key: str, shop: Catalog) -> None:
    error = refused("paper", shop, override)
    assert error.what.startswith(what)
    assert error.where == f"paper.toml with --set {override}, {key}"


def test_an_override_hides_no_fault_of_the_file(shop: Catalog, table: Table) -> None:
    error = refused(table | {"evaluation": 3}, shop, "model.width=3")
    assert error.what == "'evaluation' must be a table"


def test_overrides_reach_what_is_not_in_the_file(shop: Catalog, table: Table) -> None:
    overrides = ["enforcer=pull", "evaluation.inputs.noise.scale=3", "optimizer.lr=1", "reconstruction.weight=2"]
    experiment = resolve(table, overrides, catalog=shop)
    assert experiment.enforcer.name == "pull"
    assert experiment.inputs["noise"].arguments["scale"] == 3.0
    assert experiment.optimizer.lr == 1.0
    assert experiment.reconstruction.weight == 2.0


# -- what may stand in the tables -------------------------------------------------------------------------------------


def test_the_least_experiment_is_completed(shop: Catalog, table: Table) -> None:
    assert resolve(table, catalog=shop).table() == {
        "summary": "",
        "dataset": {"name": "balls", "count": 8},
        "model": {"name": "net", "width": 16, "norm": "group"},
        "source": {"name": "data"},
        "enforcer": {"name": "none"},
        "reconstruction": {"weight": 1.0, "distance": "l2", "input": {"name": "data"}},
        "optimizer": {"name": "adam", "lr": 1e-3, "schedule": "constant", "warmup": 0.0, "final": 0.0, "clip": 0.0},
        "training": {
            "steps": 5,
            "batch_size": 64,
            "micro_batches": 1,
            "seed": 0,
            "dtype": "float32",
            "precision": "full",
            "compile": False,
            "log_every": 50,
            "checkpoint_every": 1000,
            "keep": 2,
            "trackers": [],
        },
        "evaluation": {
            "every": 1000,
            "points": 1000,
            "batch_size": 250,
            "depth": 3,
            "rank_points": 8,
            "inputs": {"noise": {"name": "noise", "scale": 1.0, "shape": [2, 3]}},
            "metrics": [],
        },
    }


@pytest.mark.parametrize(
    ("changes", "what", "where"),
    [
        ({"enforcers": {}}, "there is no key 'enforcers'", "key 'enforcers'"),
        ({"dataset": None}, "the table [dataset] is missing", ""),
        ({"model": None}, "the table [model] is missing", ""),
        ({"model": "nett"}, "there is no model 'nett'", "[model], key 'name'"),
        ({"model": {"width": 3}}, "a model is a table with a 'name', not {\"width\": 3}", "[model]"),
        ({"model": {"name": "net", "width": 0}}, "model 'net': 'width' cannot be 0", "[model], key 'width'"),
        ({"model": {"name": "net", "shape": [3]}}, "model 'net' has no argument 'shape'", "[model], key 'shape'"),
        ({"dataset": {"name": "balls", "cuont": 0}}, "dataset 'balls' has no argument 'cuont'", "[dataset], key 'cuont'"),
        ({"enforcer": "noise"}, "there is no enforcer 'noise' ('noise' is a source)", "[enforcer], key 'name'"),
        ({"source": []}, "'source' is empty", "[source]"),
        ({"source": "nois"}, "there is no source 'nois'", "[source], key 'name'"),
        ({"source": ["data", {"name": "noise", "scale": 0}]}, "source 'noise': 'scale' cannot be 0",
         "[source][1], key 'scale'"),
        ({"training": 3}, "'training' must be a table", "key 'training'"),
        ({"optimizer": ["adam"]}, "'optimizer' must be a table", "key 'optimizer'"),
        ({"training": {}}, "how long to train is not said", "[training]"),
        ({"training": None}, "how long to train is not said", "[training]"),
        ({"training": {"steps": 5, "flops": 1e9}}, "how long to train is said twice", "[training]"),
        ({"training": {"steps": 5, "batch_size": 10, "micro_batches": 3}},
         "batch_size 10 cannot be cut into 3 equal micro_batches", "[training]"),
        ({"training": {"steps": "5"}}, "[training]: 'steps' cannot be \"5\"", "[training], key 'steps'"),
        ({"training": {"steps": True}}, "[training]: 'steps' cannot be true", "[training], key 'steps'"),
        ({"training": {"flops": float("inf")}}, "[training]: 'flops' cannot be Infinity: input should be a finite number",
         "[training], key 'flops'"),
        ({"training": {"steps": 5, "bath_size": 3}}, "[training] has no key 'bath_size'", "[training], key 'bath_size'"),
        ({"training": {"steps": 5, "trackers": ["wandb", "x"]}}, "[training]: 'trackers'[1] cannot be \"x\"",
         "[training], key 'trackers'[1]"),
        ({"optimizer": {"lr": float("nan")}}, "[optimizer]: 'lr' cannot be NaN", "[optimizer], key 'lr'"),
        ({"optimizer": {"lr": float("inf")}}, "[optimizer]: 'lr' cannot be Infinity", "[optimizer], key 'lr'"),
        ({"optimizer": {"schedule": "cosin"}}, "[optimizer]: 'schedule' cannot be \"cosin\"", "[optimizer], key 'schedule'"),
        ({"reconstruction": {"weight": -1}}, "[reconstruction]: 'weight' cannot be -1", "[reconstruction], key 'weight'"),
        ({"reconstruction": {"input": "wron"}}, "there is no source 'wron'", "[reconstruction], key 'input', key 'name'"),
        ({"evaluation": {"points": 1}}, "[evaluation]: 'points' cannot be 1", "[evaluation], key 'points'"),
        ({"evaluation": {"inputs": {"data": "noise"}}}, "'data' is always evaluated", "[evaluation.inputs]"),
        ({"evaluation": {"inputs": ["noise"]}}, "[evaluation]: 'inputs' cannot be [\"noise\"]",
         "[evaluation], key 'inputs'"),
        ({"evaluation": {"inputs": {"x": {"name": "nois"}}}}, "there is no source 'nois'",
         "[evaluation.inputs], key 'x', key 'name'"),
        ({"evaluation": {"metrics": "error"}}, "[evaluation]: 'metrics' cannot be \"error\"",
         "[evaluation], key 'metrics'"),
        ({"evaluation": {"metrics": ["error", "eror"]}}, "there is no metric 'eror'",
         "[evaluation], key 'metrics'[1], key 'name'"),
        ({"summary": ["x"]}, "'summary' must be text", "key 'summary'"),
    ],
    ids=str,
)  # fmt: skip
def test_a_fault_is_told_with_its_file_and_key(
    changes: Table, what: str, where: str, shop: Catalog, table: Table
) -> None:
    error = refused({key: value for key, value in (table | changes).items() if value is not None}, shop)
    assert error.what.startswith(what)
    assert error.where == (f"the given table, {where}" if where else "the given table")
    assert error.expected or error.choices or error.next_step


@pytest.mark.parametrize(
    ("changes", "nearest"),
    [
        ({"enforcers": {}}, "enforcer"),
        ({"Training": {}}, "training"),
        ({"model": "nett"}, "net"),
        ({"training": {"steps": 5, "bath_size": 3}}, "batch_size"),
        ({"optimizer": {"schedule": "cosin"}}, "cosine"),
        ({"reconstruction": {"distance": "L2"}}, "l2"),
        ({"evaluation": {"metrics": ["eror"]}}, "error"),
    ],
    ids=str,
)
def test_the_nearest_match_is_named(changes: Table, nearest: str, shop: Catalog, table: Table) -> None:
    assert refused(table | changes, shop).nearest == nearest


def test_other_keys_of_the_optimizer_are_left_for_the_preflight(shop: Catalog, table: Table) -> None:
    experiment = resolve(table | {"optimizer": {"name": "SGD", "momentum": 0.9, "nesterov": True}}, catalog=shop)
    assert experiment.optimizer.model_extra == {"momentum": 0.9, "nesterov": True}
    assert experiment.table()["optimizer"]["momentum"] == 0.9


# -- the resolved file ------------------------------------------------------------------------------------------------


def assert_fixed_point(experiment: Experiment, folder: Path, catalog: Catalog) -> None:
    text = experiment.to_toml()
    path = folder / "resolved.toml"
    path.write_text(text, encoding="utf-8")
    again = resolve(path, catalog=catalog)
    assert again.table() == experiment.table()
    assert again.to_toml().splitlines()[1:] == text.splitlines()[1:]
    for part in ("dataset", "model", "enforcer", "sources", "corruption", "inputs", "metrics", "optimizer", "training"):
        assert getattr(again, part) == getattr(experiment, part)


def test_a_resolved_file_resolves_to_itself(shop: Catalog, tmp_path: Path) -> None:
    overrides = [
        "source=['noise', 'data']",
        "enforcer=many",
        "enforcer.members=['pull', { name = 'push', force = 1 }]",
        "evaluation.metrics=['error']",
        "evaluation.inputs.b=worn",
        "reconstruction.input.strength=0.25",
        "reconstruction.input.name=worn",
        "dataset.root=data",
    ]
    experiment = resolve("paper", overrides, catalog=shop)
    assert experiment.dataset.arguments["root"] == Path("data")
    assert_fixed_point(experiment, tmp_path, shop)


def test_an_argument_that_is_none_is_left_out_and_comes_back(shop: Catalog, table: Table, tmp_path: Path) -> None:
    experiment = resolve(table | {"enforcer": {"name": "pull", "limit": None}}, catalog=shop)
    assert experiment.enforcer.arguments == {"weight": 1.0, "limit": None}
    assert experiment.table()["enforcer"] == {"name": "pull", "weight": 1.0}
    assert "flops" not in experiment.table()["training"]
    assert_fixed_point(experiment, tmp_path, shop)


def test_the_resolved_file_names_the_experiment(shop: Catalog) -> None:
    assert resolve("paper", catalog=shop).to_toml().startswith("# paper, resolved: every default is written out.\n")


def shipped() -> list[str]:
    return [entry.full_name for entry in installed().entries("experiment") if entry.plugin.distribution == "idemlab"]


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_experiment_resolves_to_a_fixed_point(name: str, tmp_path: Path) -> None:
    experiment = resolve(name)
    assert experiment.summary == installed().find("experiment", name).spec.summary
    assert_fixed_point(experiment, tmp_path, installed())


def test_resolving_needs_no_torch() -> None:
    code = (
        "import sys, idemlab\n"
        "names = [entry.full_name for entry in idemlab.installed().entries('experiment')]\n"
        "print(len(names), len([idemlab.resolve(name).to_toml() for name in names]))\n"
        "print(*{'torch', 'numpy', 'datasets', 'torchvision', 'accelerate'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    resolved, loaded = run.stdout.split("\n", 1)
    count, again = resolved.split()
    assert count == again
    assert int(count) >= len(shipped()) > 0
    assert loaded.split() == []


def test_another_optimizer_keeps_rate_and_schedule_but_not_the_arguments_of_the_class() -> None:
    settings = resolve("digits-projector", ["optimizer.name=sgd", "optimizer.momentum=0.9"]).optimizer
    assert (settings.name, settings.lr, settings.schedule) == ("sgd", 0.02, "cosine")
    assert settings.model_extra == {"momentum": 0.9}
