"""The arrows of the house: who may know whom, read from the source code."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import idemlab

ROOT = Path(__file__).parents[2]
CORE = ROOT / "platform" / "idemlab"
PACKAGES = {
    source: [
        path
        for path in sorted((ROOT / source).iterdir())
        if path.is_dir() and path.name != "__pycache__" and not (path / "pyproject.toml").exists()
    ]
    for source in ("platform", "plugins/idemlab-rank-control/src", "plugins", "registry")
}
"""The packages in each source root, what is inside another before what it is inside of."""
FILES = {
    source: [path for package in packages for path in sorted(package.rglob("*.py"))]
    for source, packages in PACKAGES.items()
}
PLUGINS = [path for source in FILES if source != "platform" for path in FILES[source]]
OUTSIDE = {package.name for source in PACKAGES if source != "platform" for package in PACKAGES[source]}
"""Names of the packages that the core must not know."""

LAYERS: list[set[str]] = [
    {"specs", "hookspecs"},
    {"enforcer", "orbit", "catalog"},
    {"experiment", "objective"},
    {"trainer", "report", "sweep", "testing"},
    {"cli"},
]
"""From the ground up: a module of one layer knows none of a higher one, however long the way."""

TERMINAL = {"rich", "typer", "click", "tqdm"}


# -- reading source code ----------------------------------------------------------------------------------------------


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below but those under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from (other, *executed(other))
            continue
        yield child
        yield from executed(child)


def package_of(path: Path) -> list[str]:
    """The package that relative imports in a file start from."""
    source = next(root for root in FILES if path.is_relative_to(ROOT / root))
    return list(path.relative_to(ROOT / source).parent.parts)


def imports(path: Path, *, checking_too: bool = False) -> set[str]:
    """Absolute dotted names of the modules, or names in modules, that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(tree_of(path)) if checking_too else executed(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = package_of(path)
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in (
            "import_module",
            "__import__",
        ):
            found |= {
                text.value for text in ast.walk(node) if isinstance(text, ast.Constant) and type(text.value) is str
            }
    return found


def packages(path: Path) -> set[str]:
    """Top-level packages that a file imports, for type checking or not."""
    return {name.partition(".")[0] for name in imports(path, checking_too=True)}


def modules() -> dict[str, list[Path]]:
    """Files of the core by the name of the module, or of the package in it, directly below `idemlab`."""
    found: dict[str, list[Path]] = {}
    for path in FILES["platform"]:
        name = path.relative_to(CORE).parts[0].removesuffix(".py")
        if name != "__init__":  # the façade: its names are loaded when used
            found.setdefault(name, []).append(path)
    return found


MODULES = modules()


def knows(name: str) -> set[str]:
    """Modules of the core that one of them imports, at once or when called."""
    named = {found.split(".")[1] for path in MODULES[name] for found in imports(path) if found.startswith("idemlab.")}
    return (named & set(MODULES)) - {name}


def reaches(name: str) -> set[str]:
    """Modules of the core that one of them knows, directly or through others."""
    found: set[str] = set()
    todo = [name]
    while todo:
        new = knows(todo.pop()) - found
        found |= new
        todo += new
    return found


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def python(code: str) -> str:
    """What a fresh interpreter prints, started from the root of the repository."""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout


# -- the reader itself ------------------------------------------------------------------------------------------------


def test_the_reader_sees_every_way_to_import(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules[__name__].__dict__, "ROOT", tmp_path)
    path = tmp_path / "platform" / "idemlab" / "cli" / "x.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import a.b\nfrom c import d\nfrom . import e\nfrom ..f import g\n"
        "if TYPE_CHECKING:\n    import h\nelse:\n    import i\n"
        "def late():\n    import j\n    importlib.import_module('k.l')\n    __import__('m')\n    import_module(f'{n}.o')\n"
    )
    always = {"a.b", "c.d", "idemlab.cli.e", "idemlab.f.g", "i", "j", "k.l", "m", ".o"}
    assert imports(path) == always
    assert imports(path, checking_too=True) == always | {"h"}
    assert packages(path) >= {"a", "c", "idemlab", "h", "i", "j", "k", "m"}


def test_the_reader_finds_the_house() -> None:
    assert {
        *("idemlab_data", "idemlab_enforcers", "idemlab_metrics", "idemlab_models", "idemlab_registry"),
        "idemlab_rank_control",
    } == OUTSIDE
    assert {"specs", "hookspecs", "catalog", "orbit", "enforcer", "experiment", "objective", "trainer"} <= set(MODULES)
    assert knows("experiment") >= {"catalog", "errors", "schema", "settings"}
    assert reaches("trainer") >= {"experiment", "objective", "catalog", "specs"}


# -- the source roots -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", list(FILES))
def test_a_source_root_is_no_package(source: str) -> None:
    """`platform/__init__.py` would hide the standard module of that name from everything started in the root."""
    assert not (ROOT / source / "__init__.py").exists()
    assert FILES[source]


def test_the_standard_module_platform_works_from_the_root() -> None:
    assert python("import platform; print(platform.system())").strip()
    assert python(
        "import runpy, sys; sys.argv = ['platform']; runpy.run_module('platform', run_name='__main__')"
    ).strip()


@pytest.mark.parametrize("path", FILES["platform"], ids=relative)
def test_the_core_knows_no_plugin(path: Path) -> None:
    assert not packages(path) & OUTSIDE
    texts = [
        node.value for node in executed(tree_of(path)) if isinstance(node, ast.Constant) and type(node.value) is str
    ]
    assert not [text for text in texts for name in OUTSIDE if name in text]


@pytest.mark.parametrize("path", PLUGINS, ids=relative)
def test_plugins_know_each_other_by_name_only(path: Path) -> None:
    """Each could be installed without the others, as a stranger's."""
    assert packages(path) & OUTSIDE <= {package_of(path)[0]}


@pytest.mark.parametrize("path", PLUGINS, ids=relative)
def test_plugins_use_the_contracts_only(path: Path) -> None:
    """Nothing of what trains, evaluates or reports: that may change without a new api_version."""
    contracts = {"catalog", "dataset", "enforcer", "errors", "metric", "orbit", "source", "specs", "step"}
    if "studies" in path.parts:  # what a study is made of, and what it draws with
        contracts |= {"drawing", "results", "study", "summary", "sweep"}
    if path.name == "verdict.py":  # which writes tables as records have them
        contracts |= {"studying"}
    used = {name.split(".")[1] for name in imports(path, checking_too=True) if name.startswith("idemlab.")}
    assert used <= contracts | set(idemlab.__all__)


# -- the arrows -------------------------------------------------------------------------------------------------------


def test_arrows_make_no_circle() -> None:
    order = list(TopologicalSorter({name: knows(name) for name in MODULES}).static_order())
    assert order.index("specs") < order.index("catalog") < order.index("experiment") < order.index("trainer")


@pytest.mark.parametrize(
    ("name", "above"),
    [
        (name, set().union(*LAYERS[height + 1 :]))
        for height, layer in enumerate(LAYERS[:-1])
        for name in sorted(layer & set(MODULES))
    ],
)
def test_arrows_point_downwards(name: str, above: set[str]) -> None:
    assert not reaches(name) & above


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"__main__"}))
def test_the_command_line_is_on_top(name: str) -> None:
    assert name == "cli" or "cli" not in reaches(name)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_the_core_does_not_go_through_its_own_facade(name: str) -> None:
    """`from idemlab import X` in the core would hide an arrow from these tests."""
    for path in MODULES[name]:
        names = {found for found in imports(path, checking_too=True) if found.split(".")[0] == "idemlab"}
        direct = {found for found in names if found.split(".")[1:2] and found.split(".")[1] in idemlab.__all__}
        assert direct <= {"idemlab.__version__", *(f"idemlab.{module}" for module in MODULES)}, path


BELOW_CLI = [path for name in sorted(set(MODULES) - {"cli", "__main__"}) for path in MODULES[name]]


@pytest.mark.parametrize("path", [*BELOW_CLI, *PLUGINS], ids=relative)
def test_nothing_below_the_command_line_prints(path: Path) -> None:
    calls = [ast.unparse(node.func) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)]
    assert not {"print", "sys.stdout.write", "sys.stderr.write"} & set(calls)
    assert not packages(path) & TERMINAL


@pytest.mark.parametrize("name", sorted(reaches("trainer")))
def test_nothing_below_the_trainer_knows_accelerate(name: str) -> None:
    assert not [path for path in MODULES[name] if "accelerate" in packages(path)]


@pytest.mark.parametrize("path", PLUGINS, ids=relative)
def test_no_plugin_knows_accelerate(path: Path) -> None:
    assert "accelerate" not in packages(path)


def test_only_the_catalog_knows_entry_points() -> None:
    knowing = {
        relative(path)
        for paths in FILES.values()
        for path in paths
        for node in ast.walk(tree_of(path))
        if "entry_points" in (getattr(node, "attr", ""), getattr(node, "id", ""), getattr(node, "name", ""))
    }
    assert knowing == {"platform/idemlab/catalog.py"}


# -- the façade -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", idemlab.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(idemlab, name) is not None
    assert name in dir(idemlab)


def test_type_checkers_see_the_same_names() -> None:
    (block,) = [node for node in tree_of(CORE / "__init__.py").body if isinstance(node, ast.If)]
    seen = {
        (alias.asname, node.module) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen == set(idemlab._HOME.items())
    assert idemlab.__all__ == ["__version__", *sorted(idemlab._HOME)]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'idemlab' has no attribute 'nothing'"):
        _ = idemlab.nothing


def test_importing_idemlab_loads_nothing_heavy() -> None:
    loaded = set(python("import idemlab, sys; print(*{name.partition('.')[0] for name in sys.modules})").split())
    assert "idemlab" in loaded
    assert not loaded & {
        "torch",
        "numpy",
        "pydantic",
        "accelerate",
        "datasets",
        "matplotlib",
        "rich",
        "typer",
        "pluggy",
        "hypothesis",
    }
