"""`list`, `show` and `plugins`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

from idemlab import BadInput, installed, resolve
from idemlab.catalog.catalog import Catalog
from idemlab.catalog.provided import Provided
from idemlab.cli import browsing, plugins, showing
from idemlab.contracts.specs import KINDS, EnforcerKind, EnforcerSpec, MetricSpec, Spec, StudySpec, Traits


def own(**values: object) -> EnforcerSpec:
    def factory(weight: float, steps: list[int] | None = None) -> None:
        """What it does,
        on two lines.

            indented = formula

        Args:
            weight: of the loss,
                positive.
            steps (unused): a list.
        """

    return EnforcerSpec(**({"name": "own", "factory": factory, "summary": "An enforcer of a test."} | values))


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """The installed plugins and a broken one."""
    points = [*entry_points(group="idemlab"), EntryPoint("lost", "idemlab_no_such_module", "idemlab")]
    made = Catalog(points)
    for module in (browsing, plugins, showing):
        monkeypatch.setattr(module, "installed", lambda: made)
    return made


def offer(catalog: Catalog, *specs: Spec) -> None:
    """Let the catalog's broken plugin offer something after all."""
    for spec in specs:
        catalog._provided[spec.kind].append(Provided(spec, catalog.failures[0].plugin))


def test_list_shows_every_kind_that_is_offered(idemlab):
    result = idemlab("list")
    assert result.exit_code == 0
    titles = [
        line.split()[0] for line in result.stdout.splitlines() if line and line.split()[0] in browsing.PLURALS.values()
    ]
    assert titles == [browsing.PLURALS[kind] for kind in KINDS if installed().entries(kind)]
    for entry in installed():
        assert f"\n{entry.spec.name} " in result.stdout
        assert entry.spec.summary in result.stdout


@pytest.mark.parametrize("word", ["enforcer", "enforcers"])
def test_list_of_one_kind(idemlab, word):
    result = idemlab("list", word)
    names = [line.split()[0] for line in result.stdout.splitlines()]
    assert names == ["enforcers", *(entry.spec.name for entry in installed().entries("enforcer"))]


def test_list_as_json_has_all_of_it_and_nothing_else(idemlab):
    result = idemlab("list", "sources", "--json")
    listed = json.loads(result.stdout)
    assert [each["name"] for each in listed] == [entry.spec.name for entry in installed().entries("source")]
    assert set(listed[0]) == {"kind", "name", "summary", "reference", "aliases", "distribution", "version"}
    assert result.stderr == ""


def test_list_names_the_distribution_where_it_is_not_idemlab(idemlab, catalog):
    offer(catalog, own(), own(name="cubic"))
    lines = idemlab("list", "enforcers").stdout.splitlines()
    assert next(line for line in lines if line.startswith("own ")).endswith("unknown ?")
    assert [line.split()[0] for line in lines if "cubic " in line] == ["idemlab:cubic", "unknown:cubic"]


def test_list_says_that_plugins_are_broken_beside_the_list(idemlab, catalog):
    result = idemlab("list", "models")
    assert result.exit_code == 0
    assert "could not be loaded completely; for the reason: idemlab plugins" in result.stderr
    assert "could not" not in result.stdout


def test_list_without_any_plugin(idemlab, monkeypatch):
    empty = Catalog([])
    for module in (browsing, plugins):
        monkeypatch.setattr(module, "installed", lambda: empty)
    assert "no plugin offers any" in idemlab("list").stdout
    assert "no plugin offers any" in idemlab("list", "models").stdout
    assert "no plugin is loaded" in idemlab("plugins").stdout
    listed = json.loads(idemlab("list", "--json").stdout)
    assert {entry["kind"] for entry in listed} == {"optimizer", "schedule", "tracker"}


def test_show_has_arguments_with_types_defaults_and_help(idemlab):
    text = idemlab("show", "cubic").stdout
    assert text.startswith("cubic, enforcer: ")
    assert "cubic-iteration" in text
    assert "gradient substitution" in text
    row = next(line for line in text.splitlines() if line.startswith("weight"))
    assert "float, >= 0" in row
    assert "1.0" in row
    assert "of the loss" in row


@pytest.mark.parametrize("name", ["cubic-iteration", "idemlab:cubic"])
def test_show_by_alias_and_by_full_name(idemlab, name):
    assert idemlab("show", name).stdout == idemlab("show", "cubic").stdout


def test_show_of_a_name_in_several_kinds_shows_all(idemlab):
    both = idemlab("show", "gaussian").stdout
    assert "gaussian, dataset: " in both
    assert "gaussian, source: " in both
    one = idemlab("show", "gaussian", "--kind", "sources").stdout
    assert "gaussian, dataset: " not in one
    assert one.strip() in both
    assert [each["kind"] for each in json.loads(idemlab("show", "gaussian", "--json").stdout)] == ["dataset", "source"]


def test_show_as_json(idemlab):
    (shown,) = json.loads(idemlab("show", "purification", "--json").stdout)
    step = shown["arguments"][-1]
    assert step["name"] == "step"
    assert step["type"] == "float, > 0, <= 1"
    assert (step["required"], step["default"]) == (False, 1.0)
    assert shown["traits"]["kinds"] == ["weight projection"]
    assert shown["traits"]["linear_only"] is True


def test_show_reads_the_docstring(idemlab, catalog):
    offer(catalog, own(traits=lambda weight, steps: Traits(), install="some-package", reference="a paper"))
    (shown,) = json.loads(idemlab("show", "own", "--json").stdout)
    assert shown["help"] == "What it does, on two lines.\n\n    indented = formula"
    assert [argument["help"] for argument in shown["arguments"]] == ["of the loss, positive.", "a list."]
    assert shown["arguments"][0]["required"] is True
    assert "traits" not in shown
    text = idemlab("show", "own").stdout
    for expected in ("depend on its arguments", "some-package", "a paper", "required", "none"):
        assert expected in text


def test_show_names_what_sets_an_enforcer_apart(idemlab, catalog):
    kinds = frozenset({EnforcerKind.LOSS})
    traits = Traits(kinds=kinds, smooth=False, batch_statistics=False, domain=(0.0, 1.0), targets_rank=True)
    offer(catalog, own(traits=traits))
    text = idemlab("show", "own").stdout
    traits_line = next(line for line in text.splitlines() if line.startswith("traits"))
    assert traits_line.split(None, 1)[1].split(", ", 2)[2].split(", ") == [
        "not smooth at idempotents",
        "not exact with batch statistics",
        "targets rank",
    ]
    assert "real eigenvalues in [0, 1]" in traits_line


def test_show_of_something_without_arguments_or_docstring(idemlab, catalog):
    def factory() -> None: ...

    offer(catalog, MetricSpec(name="bare", factory=factory, summary="Nothing."))
    assert "It takes no arguments." in idemlab("show", "bare").stdout


def test_show_of_an_experiment_is_its_resolved_file(idemlab):
    name = installed().entries("experiment")[0].spec.name
    text = idemlab("show", name).stdout
    assert resolve(name).to_toml().rstrip() in text
    assert f"idemlab run {name} --set training.seed=" in text
    (shown,) = json.loads(idemlab("show", name, "--json").stdout)
    assert shown["experiment"]["model"]["name"] == resolve(name).model.name


def test_show_of_an_experiment_file(idemlab, here):
    assert resolve("tiny.toml").to_toml().rstrip() in idemlab("show", "tiny.toml").stdout
    (shown,) = json.loads(idemlab("show", here / "tiny.toml", "--json").stdout)
    assert shown["experiment"]["training"]["steps"] == 6
    (here / "run").mkdir()
    (here / "run" / "experiment.toml").write_text((here / "tiny.toml").read_text())
    assert "[training]" in idemlab("show", "run").stdout


def test_show_of_a_study_is_what_it_runs(idemlab, here, catalog):
    from idemlab import Findings, Study, Sweep

    plan = Sweep(experiment="mlp-cubic", over={"enforcer.weight": [1.0, 2.0]}, seeds=3)
    study = Study(examine=lambda material: Findings(), sweeps={"weights": plan})
    offer(catalog, StudySpec(name="weights", factory=lambda: study, summary="A study of a test."))
    shown = tomllib.loads(idemlab("show", "weights").stdout.partition("\n[")[2].join(["[", ""]))
    assert shown["sweep"]["weights"]["seeds"] == 3
    assert shown["sweep"]["weights"]["over"] == {"enforcer.weight": [1.0, 2.0]}
    offer(catalog, StudySpec(name="bare", factory=lambda: Study(examine=study.examine), summary="Without a sweep."))
    assert "It has no sweeps" in idemlab("show", "bare").stdout
    offer(catalog, StudySpec(name="wrong", factory=lambda: here, summary="No study."))
    assert "not an idemlab.Study" in idemlab("show", "wrong").stderr


def test_show_of_a_suite_is_its_tasks_and_arms(idemlab):
    shown = idemlab("show", "league").stdout
    assert re.search(r"^torus +Torus of dimension 2", shown, flags=re.MULTILINE)
    assert re.search(r"^gradient +", shown, flags=re.MULTILINE)
    assert "enforcer.weight" in shown
    assert "It takes no arguments" not in shown


@pytest.mark.parametrize("name", [entry.spec.name for entry in installed().entries("experiment")])
def test_each_key_that_show_names_can_be_set(name):
    """With the value that it has, which changes nothing."""
    before = resolve(name)
    table = before.table()

    def value(key: str) -> object:
        node: object = table
        for part in key.split("."):
            if isinstance(node, list) and part.isdigit():
                node = node[int(part)]
            elif isinstance(node, dict) and part in node:
                node = node[part]
            else:
                return None
        return node

    keys = list(showing._keys(before))
    assert len(keys) > 20
    assert len(set(keys)) == len(keys)
    own = [f"{key}={json.dumps(value(key))}" for key in keys if isinstance(value(key), (str, int, float))]
    assert resolve(name, own).table() == table


def test_keys_include_those_of_lists_and_those_without_a_value(here):
    table = {
        "dataset": "gaussian",
        "model": "mlp",
        "source": ["data", "gaussian"],
        "enforcer": {"name": "hybrid", "enforcers": ["cubic", {"name": "gradient", "weight": 2.0}]},
        "optimizer": {"betas": [0.5, 0.9]},
        "training": {"steps": 1},
    }
    keys = set(showing._keys(resolve(table)))
    assert {"source", "source.1.scale", "enforcer.enforcers.1.weight", "optimizer.betas", "training.flops"} <= keys


@pytest.mark.usefixtures("terminal")
def test_show_on_a_terminal_is_coloured_and_fits_it(idemlab):
    for name in ("ign", "tiny.toml"):
        text = idemlab("show", name).stdout
        assert "\x1b[" in text
        assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in text.splitlines()) <= 100


def test_plugins_alone_lists(idemlab, catalog):
    result = idemlab("plugins")
    assert result.exit_code == 0
    assert result.stdout == idemlab("plugins", "list").stdout
    row = next(line for line in result.stdout.splitlines() if line.startswith("enforcers"))
    ours = [entry for entry in catalog.entries("enforcer") if entry.plugin.name == "enforcers"]
    assert f"{len(ours)} enforcers" in row
    assert "cause: cannot be loaded: ModuleNotFoundError" in result.stdout
    assert f"fix: {catalog.failures[0].fix}" in result.stdout


@pytest.mark.parametrize("words", [["plugins", "--json"], ["plugins", "list", "--json"], ["plugins", "--json", "list"]])
def test_plugins_as_json(idemlab, catalog, words):
    shown = json.loads(idemlab(*words).stdout)
    offers = {plugin["name"]: plugin["offers"] for plugin in shown["plugins"]}
    assert offers["models"] == {"models": [entry.spec.name for entry in catalog.entries("model")]}
    (failure,) = shown["failures"]
    assert failure["plugin"]["module"] == "idemlab_no_such_module"


def test_markup_in_the_text_of_plugins_is_only_text(idemlab, catalog):
    offer(catalog, own(summary="[red]not a colour[/red] [/oops] :smile:"))
    for command in (["list", "enforcers"], ["show", "own"]):
        assert "[red]not a colour[/red] [/oops] :smile:" in idemlab(*command).stdout


def test_browsing_never_loads_torch(tmp_path: Path):
    calls = [["list"], ["show", "cubic"], ["plugins"], ["--help"], ["show", "mlp-cubic"]]
    code = (
        "import sys\n"
        "from idemlab.cli import main\n"
        f"for words in {calls!r}:\n"
        "    sys.argv = ['idemlab', *words]\n"
        "    try:\n        main()\n"
        "    except SystemExit as end:\n        assert not end.code, end.code\n"
        "    loaded = sorted({'torch', 'numpy', 'datasets', 'matplotlib'} & set(sys.modules))\n"
        "    print(*words, loaded, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == [" ".join([*words, "[]"]) for words in calls]
    assert all(part in done.stdout for part in ("cubic", "Usage", "plugins"))


def test_only_what_is_asked_for_is_searched(catalog):
    with pytest.raises(BadInput, match="there is no source 'cubic'"):
        browsing.matching(catalog, "cubic", "source")
