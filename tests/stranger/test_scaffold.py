"""`idemlab plugins new`: a complete project, and names that would do harm are refused."""

from __future__ import annotations

import ast
import importlib
import runpy
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import EntryPoint, distribution
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import Result

import idemlab
from idemlab import Catalog, scaffold
from idemlab.catalog.known import Index, KnownPlugin
from idemlab.scaffold import new_plugin

Idemlab = Callable[..., Result]
Install = Callable[..., None]

FILES = {
    *("pyproject.toml", "README.md", "LICENSE", ".gitignore", ".github/workflows/ci.yml", "tests/test_enforcer.py"),
    *(f"src/idemlab_shrink/{name}" for name in ("__init__.py", "enforcer.py", "plugin.py", "py.typed")),
}

# -- what is written ----------------------------------------------------------------------------------------------------


@pytest.fixture
def project(call: Idemlab, here: Path) -> Path:
    """The folder of a new project, `idemlab-shrink`."""
    result = call("plugins", "new", "idemlab-shrink")
    assert result.exit_code == 0
    assert result.stdout.endswith("Next:  cd idemlab-shrink && pip install -e '.[test]' && pytest\n")
    return here / "idemlab-shrink"


def test_the_project_is_complete(project: Path) -> None:
    assert {path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()} == FILES
    for path in project.rglob("*"):
        assert path.is_dir() or "{{" not in path.read_text().replace("${{", ""), path


def test_its_distribution_is_described(project: Path) -> None:
    table = tomllib.loads((project / "pyproject.toml").read_text())
    assert table["project"]["name"] == "idemlab-shrink"
    assert table["project"]["entry-points"]["idemlab"] == {"idemlab-shrink": "idemlab_shrink.plugin"}
    assert {"idemlab>=0.1", "torch>=2.9"} <= set(table["project"]["dependencies"])
    assert table["project"]["optional-dependencies"]["test"] == ["idemlab[testing]", "pytest>=8.3"]
    assert "Copyright (c) 2" in (project / "LICENSE").read_text()


COMMIT = "0123456789abcdef0123456789abcdef01234567"
SOURCES: dict[str, tuple[str | None, str, str]] = {
    # where this idemlab came from: (pip's record of it, the first command of CI, the first command of the README)
    "a package index": (None, "pip install -e '.[test]'", "pip install -e '.[test]' && pytest"),
    "a repository": (
        f'{{"url": "https://host.org/me/idemlab", "vcs_info": {{"vcs": "git", "commit_id": "{COMMIT}"}}}}',
        f"pip install 'idemlab[testing] @ git+https://host.org/me/idemlab@{COMMIT}'",
        f"pip install 'idemlab[testing] @ git+https://host.org/me/idemlab@{COMMIT}'",
    ),
    "an archive": (
        '{"url": "https://host.org/idemlab-0.1.0-py3-none-any.whl", "archive_info": {}}',
        "pip install 'idemlab[testing] @ https://host.org/idemlab-0.1.0-py3-none-any.whl'",
        "pip install 'idemlab[testing] @ https://host.org/idemlab-0.1.0-py3-none-any.whl'",
    ),
    "a folder": (
        '{"url": "file:///home/me/idemlab", "dir_info": {"editable": true}}',
        'test -n "$IDEMLAB" || ',
        "pip install 'FOLDER-OF-IDEMLAB[testing]'",
    ),
    "a damaged record": ("{", 'test -n "$IDEMLAB" || ', "pip install 'FOLDER-OF-IDEMLAB[testing]'"),
}


@pytest.mark.parametrize("case", list(SOURCES))
def test_it_says_where_idemlab_comes_from(case: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name alone pip would ask an index that does not have it, or has a stranger's under its name."""
    record, ci, readme = SOURCES[case]
    own = distribution("idemlab")
    monkeypatch.setattr(type(own), "read_text", lambda _, name: record if name == "direct_url.json" else None)
    monkeypatch.setattr(scaffold, "_check_taken", lambda *_: None)
    new_plugin("shrink", here / "shrink")
    workflow = yaml.safe_load((here / "shrink/.github/workflows/ci.yml").read_text())
    steps = workflow["jobs"]["tests"]["steps"]
    assert steps[1]["with"]["python-version"] == "${{ matrix.python }}"
    commands = [step["run"] for step in steps if "run" in step]
    assert commands[0].startswith(ci)
    assert commands[-2:] == ["pip install -e '.[test]'", "pytest"]
    text = (here / "shrink/README.md").read_text()
    assert text.split("```sh\n")[1].splitlines()[0] == readme
    assert ("no package index has it" in text) == (case != "a package index")
    assert "/home/me" not in text + str(commands), "nobody else finds what lies there"


def test_its_hook_module_imports_no_torch(project: Path) -> None:
    tree = ast.parse((project / "src/idemlab_shrink/plugin.py").read_text())
    top = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert {getattr(node, "module", "").partition(".")[0] for node in top} == {
        *("__future__", "collections", "typing", "annotated_types", "idemlab")
    }


@pytest.mark.parametrize("name", ["idemlab-shrink", "soft-target-2", "idemlab-annotated", "idemlab-enforcer"])
def test_its_enforcer_is_offered_under_its_name(name: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new_plugin(name)
    monkeypatch.syspath_prepend(here / name / "src")
    package, enforcer = name.replace("-", "_"), name.removeprefix("idemlab-")
    try:
        catalog = Catalog([EntryPoint(name, f"{package}.plugin", "idemlab")], strict=True)
        (entry,) = catalog.entries("enforcer")
        assert (entry.spec.kind, entry.spec.name) == ("enforcer", enforcer)
        built = catalog.check("enforcer", {"name": enforcer, "weight": 2.0}, "here").build()
        assert isinstance(built, idemlab.Enforcer)
    finally:
        for module in [module for module in sys.modules if module.partition(".")[0] == package]:
            del sys.modules[module]
        importlib.invalidate_caches()


def test_an_empty_folder_will_do(here: Path) -> None:
    (here / "work").mkdir()
    files = new_plugin("shrink", here / "work")
    assert files[0] == here / "work" / "pyproject.toml"
    assert len(files) == len(FILES)


# -- what is refused ------------------------------------------------------------------------------------------------------

REFUSED: dict[str, str] = {
    "My_Plugin": "'My_Plugin' is not a valid plugin name",
    "shrink--more": "'shrink--more' is not a valid plugin name",
    "-shrink": "'-shrink' is not a valid plugin name",
    "3d": "'3d' is not a valid plugin name",
    "": "'' is not a valid plugin name",
    "../shrink": "'../shrink' is not a valid plugin name",
    "platform": "a package 'platform' would hide the module of Python",
    "json": "a package 'json' would hide the module of Python",
    "class": "Python or idemlab already uses 'class'",
    "idemlab-lambda": "Python or idemlab already uses 'lambda'",
    "idemlab-float": "Python or idemlab already uses 'float'",
    "idemlab-hookimpl": "Python or idemlab already uses 'hookimpl'",
    "idemlab-3d": "the enforcer would be called '3d'",
    "idemlab": "Python or idemlab already uses 'idemlab'",
    "torch": "there is a package 'torch' already, of the distribution torch",
    "idemlab-models": "there is a package 'idemlab_models' already",
    "pytest-xdist": "there is a package 'pytest_xdist' already, of the distribution pytest-xdist",
    "cubic": "there is an enforcer 'cubic' already",
    "idemlab-cubic-iteration": "there is an enforcer 'cubic-iteration' already",
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_a_bad_or_taken_name_is_refused_with_another(name: str, call: Idemlab, here: Path) -> None:
    result = call("plugins", "new", "--", name)
    assert result.exit_code == 2
    assert f"error: {REFUSED[name]}" in result.stderr
    assert "idemlab plugins new " in result.stderr.splitlines()[-1]
    assert [path.name for path in here.iterdir()] == ["site"]


@pytest.mark.parametrize("name", ["My_Plugin", "platform", "cubic", "3dShrink"])
def test_the_name_that_is_proposed_instead_will_do(name: str, call: Idemlab) -> None:
    refusal = call("plugins", "new", "--", name).stderr
    proposed = refusal.split("idemlab plugins new ")[-1].strip()
    assert call("plugins", "new", proposed).exit_code == 0


def test_a_name_of_a_known_plugin_is_refused(call: Idemlab, monkeypatch: pytest.MonkeyPatch) -> None:
    known = KnownPlugin(
        name="idemlab-shrink",
        summary="Shrinks what is too large.",
        offers={"enforcer": ["shrink"]},
        install="pip install idemlab-shrink",
    )
    monkeypatch.setattr(scaffold, "known_plugins", lambda _: Index((known,), ()))
    result = call("plugins", "new", "shrink")
    assert result.exit_code == 2
    assert "error: 'shrink' could be confused with a known plugin, idemlab-shrink: " in result.stderr
    assert result.stderr.splitlines()[-1].endswith("idemlab plugins new idemlab-my-shrink")


def test_a_name_of_an_installed_stranger_is_refused_with_its_origin(call: Idemlab, install: Install) -> None:
    install(
        "faraway",
        """
        from idemlab import EnforcerSpec, hookimpl

        def shrink(): ...

        @hookimpl
        def provide_enforcers():
            yield EnforcerSpec(name="shrink", factory=shrink, summary="Shrinks.")
        """,
    )
    result = call("plugins", "new", "idemlab-shrink")
    assert result.exit_code == 2
    assert "there is an enforcer 'shrink' already" in result.stderr
    assert "faraway 0.3, plugin 'faraway'" in result.stderr
    assert "there is a package 'faraway' already" in call("plugins", "new", "faraway").stderr


@pytest.mark.long
def test_a_folder_with_something_in_it_is_left_alone(call: Idemlab, here: Path) -> None:
    (here / "shrink").mkdir()
    (here / "shrink" / "thesis.tex").write_text("all my work")
    (here / "file").write_text("")
    for words, message in (((), "the folder 'shrink' is not empty"), (("--out", "file"), "'file' is a file")):
        result = call("plugins", "new", "shrink", *words)
        assert result.exit_code == 2
        assert message in result.stderr
        assert "next: choose another --out" in result.stderr
    assert [path.name for path in (here / "shrink").iterdir()] == ["thesis.tex"]


def test_a_folder_that_cannot_be_written_is_told(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(idemlab.Failure, match="cannot be written: no"):
        new_plugin("shrink")


@pytest.mark.parametrize("kind", ["optimizer", "schedule", "tracker"])
def test_a_project_of_another_kind_passes_its_own_tests(
    kind: str, call: Idemlab, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("plugins", "new", f"idemlab-own-{kind}", "--kind", kind).exit_code == 0
    project = here / f"idemlab-own-{kind}"
    for path in project.rglob("*"):
        assert path.is_dir() or "{{" not in path.read_text().replace("${{", ""), path
        assert path.is_dir() or "enforcer" not in path.read_text(), path
    monkeypatch.syspath_prepend(project / "src")
    plugin = importlib.import_module(f"idemlab_own_{kind}.plugin")
    catalog = idemlab.installed()
    for spec in getattr(plugin, f"provide_{kind}s")():
        assert spec.name == f"own-{kind}"
        catalog = catalog.including(spec)
    monkeypatch.setattr("idemlab.training.loop.or_installed", lambda given: given or catalog)
    tests = runpy.run_path(str(project / "tests" / f"test_{kind}.py"))
    (checks,) = tests["test_conformance"].pytestmark
    assert len(checks.args[1]) > 2
    for case in checks.args[1]:
        tests["test_conformance"](*case.values)
    ran = [name for name in tests if name.startswith("test_") and name != "test_conformance"]
    assert len(ran) == (1 if kind == "tracker" else 2)
    for name in ran:
        tests[name](**({"tmp_path": here} if "trains" in name else {}))


def test_a_kind_without_a_project_is_refused(call: Idemlab, here: Path) -> None:
    result = call("plugins", "new", "idemlab-mine", "--kind", "optimiser")
    assert result.exit_code == 2
    assert "there is no project to write for the kind 'optimiser'" in result.stderr
    assert "optimizer" in result.stderr
    assert not (here / "idemlab-mine").exists()
