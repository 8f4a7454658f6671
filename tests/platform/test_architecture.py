"""The arrows of the house: who may know whom, read from the source code."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import idemlab

ROOT = Path(__file__).parents[2]
CORE = ROOT / "platform" / "idemlab"
PACKAGES = {
    source: [path for path in sorted((ROOT / source).iterdir()) if path.is_dir() and path.name != "__pycache__"]
    for source in ("platform", "plugins", "registry")
}
"""The packages in each source root."""
FILES = {
    source: [path for package in packages for path in sorted(package.rglob("*.py"))]
    for source, packages in PACKAGES.items()
}
PLUGINS = [path for source in FILES if source != "platform" for path in FILES[source]]
BELOW_CLI = [path for path in FILES["platform"] if not {"cli", "__main__.py"} & set(path.relative_to(CORE).parts)]
OUTSIDE = {package.name for source in PACKAGES if source != "platform" for package in PACKAGES[source]}
"""Names of the packages that the core must not know."""

STUDIES = {"studies.record.", "reports.style.", "sharing.rounding.", "wording."}
"""What the studies and shipped operators of the registry are made of, and what they draw with."""

ROOMS = [
    *("errors", "wording", "arguments", "system", "contracts", "catalog", "certificate", "purification", "experiment"),
    *(
        "objective",
        "runs",
        "watching",
        "reports",
        "sharing",
        "training",
        "benchmarks",
        "sweeps",
        "studies",
        "standings",
    ),
    *("testing", "doctor", "scaffold", "cli"),
]
"""All rooms of the core from the ground up: each may know those before it."""

CONTRACTS = {*idemlab.__all__, "testing"}
"""What a plugin may take from the core: names of the façade, and the conformance kit."""
TERMINAL = {"rich", "typer", "click", "tqdm"}


# -- reading source code ----------------------------------------------------------------------------------------------


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def last_name(node: ast.expr) -> str:
    """`c` for the expressions `c` and `a.b.c`, "" for any other."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below but those under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and last_name(child.test) == "TYPE_CHECKING":
            for other in child.orelse:
                yield from (other, *executed(other))
            continue
        yield child
        yield from executed(child)


def package_of(path: Path) -> list[str]:
    """The package that relative imports in a file start from."""
    source = next(root for root in FILES if path.is_relative_to(ROOT / root))
    return list(path.relative_to(ROOT / source).parent.parts)


@cache
def imports(path: Path, *, checking_too: bool = False) -> set[str]:
    """Absolute dotted names of the modules, or names in modules, that a file imports anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(tree_of(path)) if checking_too else executed(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = package_of(path)
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and last_name(node.func) in ("import_module", "__import__"):
            found |= {
                text.value for text in ast.walk(node) if isinstance(text, ast.Constant) and type(text.value) is str
            }
    return found


def packages(path: Path) -> set[str]:
    """Top-level packages that a file imports, for type checking or not."""
    return {name.partition(".")[0] for name in imports(path, checking_too=True)}


def room_of(path: Path) -> str:
    """The folder, or the single module, directly below `idemlab` that a file of the core belongs to."""
    return path.relative_to(CORE).parts[0].removesuffix(".py")


def known_rooms(path: Path, *, checking_too: bool = False) -> set[str]:
    """Rooms that a file of the core imports from, its own left out."""
    named = {found.split(".")[1] for found in imports(path, checking_too=checking_too) if found.startswith("idemlab.")}
    return (named & set(ROOMS)) - {room_of(path)}


def module_of(path: Path) -> str:
    """The dotted name of a file of the core."""
    return ".".join(path.relative_to(CORE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES["platform"] if path != CORE / "__init__.py"}


def known_modules(path: Path) -> set[str]:
    """Modules of the core that a file imports when it is itself imported, or later."""
    found = set()
    for name in imports(path):
        while name and name not in MODULES:
            name = name.rpartition(".")[0]
        found.add(name)
    return (found & set(MODULES)) - {module_of(path)}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def offending(paths: list[Path], wrong: Callable[[Path], object]) -> dict[str, object]:
    """What is wrong, by file: empty where the rule is kept."""
    return {relative(path): found for path in paths if (found := wrong(path))}


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
    assert {"idemlab_data", "idemlab_enforcers", "idemlab_metrics", "idemlab_models", "idemlab_registry"} == OUTSIDE
    experiment = CORE / "experiment" / "checking.py"
    assert known_rooms(experiment) >= {"catalog", "errors"}
    assert known_modules(experiment) >= {"idemlab.catalog.schema", "idemlab.experiment.settings"}


# -- the source roots -------------------------------------------------------------------------------------------------


def test_a_source_root_is_no_package() -> None:
    """`platform/__init__.py` would hide the standard module of that name from everything started in the root."""
    assert not [source for source in FILES if (ROOT / source / "__init__.py").exists()]
    assert all(FILES.values())


def test_the_standard_module_platform_works_from_the_root() -> None:
    assert python("import platform; print(platform.system())").strip()
    assert python(
        "import runpy, sys; sys.argv = ['platform']; runpy.run_module('platform', run_name='__main__')"
    ).strip()


def test_the_core_knows_no_plugin() -> None:
    def known(path: Path) -> object:
        texts = [
            node.value for node in executed(tree_of(path)) if isinstance(node, ast.Constant) and type(node.value) is str
        ]
        return packages(path) & OUTSIDE or [text for text in texts for name in OUTSIDE if name in text]

    assert not offending(FILES["platform"], known)


def test_plugins_know_each_other_by_name_only() -> None:
    """Each could be installed without the others, as a stranger's."""
    assert not offending(PLUGINS, lambda path: (packages(path) & OUTSIDE) - {package_of(path)[0]})


def test_plugins_use_the_public_names_only() -> None:
    """Nothing of what trains, evaluates or reports: that may change without a new api_version."""

    def private(path: Path) -> set[str]:
        used = {name.split(".", 1)[1] for name in imports(path, checking_too=True) if name.startswith("idemlab.")}
        allowed = STUDIES if "idemlab_registry" in path.parts else set()
        return {name for name in used if name.split(".")[0] not in CONTRACTS and not name.startswith(tuple(allowed))}

    assert not offending(PLUGINS, private)


# -- the arrows -------------------------------------------------------------------------------------------------------


def test_every_room_is_on_the_list() -> None:
    assert {room_of(path) for path in FILES["platform"]} - {"__init__", "__main__"} == set(ROOMS)


def test_a_room_knows_only_the_rooms_before_it() -> None:
    height = {room: number for number, room in enumerate(ROOMS)}
    assert not offending(
        [path for path in MODULES.values() if room_of(path) in height],
        lambda path: {room for room in known_rooms(path, checking_too=True) if height[room] > height[room_of(path)]},
    )


def test_the_conformance_kit_needs_only_what_a_plugin_author_meets() -> None:
    kit = [path for path in FILES["platform"] if room_of(path) == "testing"]
    allowed = {"errors", "wording", "contracts", "catalog", "certificate"}
    assert not offending(kit, lambda path: known_rooms(path) - allowed)


def test_modules_make_no_circle() -> None:
    list(TopologicalSorter({name: known_modules(path) for name, path in MODULES.items()}).static_order())


def test_no_room_carries_a_public_name() -> None:
    """A module of that name would hide the function as soon as it is imported."""
    assert not set(ROOMS) & set(idemlab.__all__)


def test_the_core_does_not_go_through_its_own_facade() -> None:
    """`from idemlab import X` in the core would hide an arrow from these tests."""

    def through(path: Path) -> set[str]:
        names = {found.split(".")[1] for found in imports(path, checking_too=True) if found.startswith("idemlab.")}
        return names & set(idemlab._HOME) - set(ROOMS)

    assert not offending(list(MODULES.values()), through)


def test_no_private_name_crosses_a_room() -> None:
    def private(path: Path) -> set[str]:
        return {
            found
            for found in imports(path, checking_too=True)
            if found.startswith("idemlab.")
            and found.rpartition(".")[2].startswith("_")
            and not found.endswith("__")
            and (path.is_relative_to(CORE) is False or found.split(".")[1] != room_of(path))
        }

    assert not offending([*MODULES.values(), *PLUGINS], private)


def test_nothing_but_the_command_line_and_the_progress_prints() -> None:
    def prints(path: Path) -> set[str]:
        calls = {ast.unparse(node.func) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)}
        return {"print", "sys.stdout.write", "sys.stderr.write"} & calls | packages(path) & TERMINAL

    silent = [path for path in BELOW_CLI if room_of(path) != "watching"]
    plugins = [path for path in PLUGINS if path.name != "shipped.py"]  # a command of its own
    assert not offending([*silent, *plugins], prints)


ONLY = {
    "accelerate": {"doctor", "testing", "training"},  # the kit checks trackers, whose contract is Accelerate's
    "optuna": {"sweeps"},
    "pluggy": {"catalog", "contracts"},
}
"""Which rooms may import an engine."""


def test_an_engine_is_known_in_its_own_room_only() -> None:
    assert not offending(
        [*BELOW_CLI, *PLUGINS],
        lambda path: {
            engine
            for engine, rooms in ONLY.items()
            if engine in packages(path) and not (path.is_relative_to(CORE) and room_of(path) in rooms)
        },
    )


def test_only_the_catalog_knows_entry_points() -> None:
    knowing = {
        relative(path)
        for paths in FILES.values()
        for path in paths
        for node in ast.walk(tree_of(path))
        if "entry_points" in (getattr(node, "attr", ""), getattr(node, "id", ""), getattr(node, "name", ""))
    }
    assert {str(Path(path).parent) for path in knowing} == {"platform/idemlab/catalog"}


# -- the façade -------------------------------------------------------------------------------------------------------


def test_every_public_name_is_there() -> None:
    assert not [name for name in idemlab.__all__ if getattr(idemlab, name) is None]


def test_nothing_but_public_names_is_offered() -> None:
    """Whatever has been loaded meanwhile: rooms and helpers are not for use."""
    assert python("import idemlab; idemlab.resolve, idemlab.Traits; print(*dir(idemlab))").split() == sorted(
        idemlab.__all__
    )


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
