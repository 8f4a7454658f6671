"""Where an experiment comes from, what it is based on, and the resolved file."""

from __future__ import annotations

import copy
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from idemlab import BadInput, Catalog, Experiment, installed, resolve

Table = dict[str, Any]
Write = Callable[[str, str], Path]
Refused = Callable[..., BadInput]


# -- where an experiment comes from ------------------------------------------------------------------------------------


def test_an_experiment_is_found_by_name_full_name_path_table_and_run(
    shop: Catalog, write: Write, monkeypatch: pytest.MonkeyPatch, paper: str
) -> None:
    path = write("mine/paper.toml", paper)
    write("runs/first/experiment.toml", paper)
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
        tomllib.loads(paper),
    ]
    tables = [resolve(reference, catalog=shop).table() for reference in references]
    assert all(table == tables[0] for table in tables)
    assert tables[0]["model"] == {"name": "net", "width": 32, "norm": "group"}
    assert resolve("paper", catalog=shop).name == "paper"


def test_a_folder_of_a_run_hides_no_experiment(
    shop: Catalog, write: Write, monkeypatch: pytest.MonkeyPatch, paper: str
) -> None:
    run = write("paper/experiment.toml", paper.replace("steps = 100", "steps = 7")).parent
    monkeypatch.chdir(run.parent)
    assert resolve("paper", catalog=shop).training.steps == 100
    assert resolve(Path("paper"), catalog=shop).training.steps == 7
    assert resolve("./paper", catalog=shop).training.steps == 7


def test_a_run_in_the_current_folder_is_found_by_its_bare_name(
    shop: Catalog, write: Write, monkeypatch: pytest.MonkeyPatch, paper: str
) -> None:
    monkeypatch.chdir(write("monday/experiment.toml", paper).parents[1])
    assert resolve("monday", catalog=shop).training.steps == 100


def test_a_table_is_left_as_it_was(shop: Catalog, table: Table) -> None:
    table["base"] = "paper"
    before = copy.deepcopy(table)
    resolve(table, ["model.width=3", "evaluation.inputs.noise.scale=2"], catalog=shop)
    assert table == before


def test_an_unknown_name_is_told(refused: Refused) -> None:
    error = refused("papr")
    assert str(error).splitlines() == [
        "there is no experiment 'papr'",
        "  choices: fails, paper",
        "  did you mean: paper",
        "  next: idemlab list experiments",
    ]


def test_a_folder_without_a_run_is_told(tmp_path: Path, refused: Refused) -> None:
    assert refused(tmp_path).what == f"the folder '{tmp_path}' holds no experiment.toml"


def test_an_experiment_whose_file_is_gone_is_told(site: Path, refused: Refused) -> None:
    (site / "experiments" / "paper.toml").unlink()
    error = refused("paper")
    assert error.what.startswith("cannot be read: [Errno 2]")
    assert error.where == "paper.toml"


def test_a_plugin_that_cannot_give_its_file_is_told(shop: Catalog) -> None:
    with pytest.raises(Exception, match="experiment 'shop:fails' raised RuntimeError: no file today"):
        resolve("fails", catalog=shop)


# -- base --------------------------------------------------------------------------------------------------------------


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


def test_a_bare_name_in_the_base_is_short_for_a_table(shop: Catalog, write: Write) -> None:
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


def test_lists_of_the_base_are_replaced(shop: Catalog, write: Write, paper: str) -> None:
    base = write("base.toml", paper + '[evaluation]\nmetrics = ["error"]\n[[source]]\nname = "noise"\n')
    child = based(shop, str(base), source="data", evaluation={"metrics": []})
    assert child["source"] == {"name": "data"}
    assert child["evaluation"]["metrics"] == []


def test_inputs_of_the_base_are_laid_over_by_name(shop: Catalog, write: Write, paper: str) -> None:
    base = write("base.toml", paper + '[evaluation]\ninputs = { a = "noise", b = { name = "noise", scale = 2.0 } }')
    inputs = based(shop, str(base), evaluation={"inputs": {"b": "worn", "c": "noise"}})["evaluation"]["inputs"]
    assert {key: value["name"] for key, value in inputs.items()} == {"a": "noise", "b": "worn", "c": "noise"}


@pytest.mark.parametrize(("mine", "other"), [("steps", "flops"), ("flops", "steps")])
def test_one_length_replaces_the_other(mine: str, other: str, shop: Catalog, write: Write, paper: str) -> None:
    base = write("base.toml", paper.replace("steps = 100", f"{other} = 100"))
    child = based(shop, str(base), training={mine: 7})["training"]
    assert child[mine] == 7
    assert other not in child
    assert child["batch_size"] == 8


def test_a_base_is_looked_up_beside_the_file(shop: Catalog, write: Write, paper: str) -> None:
    write("lab/first.toml", paper)
    write("lab/sub/second.toml", 'base = "../first.toml"\n[model]\nwidth = 5')
    third = write("lab/third.toml", 'base = "sub/second.toml"\n[model]\nnorm = "none"')
    assert resolve(third, catalog=shop).table()["model"] == {"name": "net", "width": 5, "norm": "none"}


def test_a_run_may_be_a_base(shop: Catalog, write: Write, paper: str) -> None:
    write("runs/first/experiment.toml", paper)
    again = write("runs/again.toml", 'base = "first"\n[training]\nseed = 1')
    assert resolve(again, catalog=shop).training.seed == 1


def test_a_circle_is_told(write: Write, refused: Refused) -> None:
    write("a.toml", 'base = "b.toml"')
    write("b.toml", 'base = "c.toml"')
    path = write("c.toml", 'base = "a.toml"')
    error = refused(path.with_name("a.toml"))
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
def test_a_missing_base_is_told_where_it_is_asked_for(base: str, what: str, write: Write, refused: Refused) -> None:
    path = write("mine.toml", f'base = "{base}"')
    error = refused(path)
    assert error.what == what.format(path.parent)
    assert str(error.where).startswith(f"{path}, key 'base'")


def test_a_base_is_a_name(refused: Refused) -> None:
    error = refused({"base": ["paper"]})
    assert error.what == "'base' must be the name or the path of an experiment"
    assert error.where == "the given table, key 'base'"


def test_a_fault_in_the_base_is_told_with_both_files(write: Write, refused: Refused, paper: str) -> None:
    base = write("base.toml", paper.replace("width", "widht"))
    path = write("mine.toml", 'base = "base.toml"')
    assert refused(path).where == f"{path} (based on {base}), [model], key 'widht'"
    path = write("other.toml", 'base = "paper"\n[model]\nwidht = 3')
    assert refused(path).where == f"{path} (based on paper.toml), [model], key 'widht'"


# -- the resolved file -------------------------------------------------------------------------------------------------


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
    assert experiment.dataset.arguments["root"] == Path("data").absolute()
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
