"""What is imported is declared, and the lowest versions that are declared are those that are tried."""

from __future__ import annotations

import ast
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {
    extra: [Requirement(text) for text in texts if not text.startswith("idemlab")]
    for extra, texts in PROJECT["optional-dependencies"].items()
}
ALWAYS = [Requirement(text) for text in PROJECT["dependencies"]]


def imported(*roots: str) -> dict[str, str]:
    """Top-level packages that the code below some folders imports anywhere, each with one file that does."""
    found = {}
    for root in roots:
        for path in sorted((ROOT / root).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and not node.level:
                    names = [str(node.module)]
                for name in names:
                    found[name.partition(".")[0]] = path.relative_to(ROOT).as_posix()
    return found


def homes() -> dict[str, set[str]]:
    """Each import package with the distributions that installed it. `packages_distributions` takes seconds."""
    found: dict[str, set[str]] = {}
    for each in distributions():
        lines = (each.read_text("RECORD") or "").splitlines()
        for package in {line.partition(",")[0].partition("/")[0].removesuffix(".py") for line in lines}:
            found.setdefault(package, set()).add(each.name)
    return found


def undeclared(packages: dict[str, str], requirements: list[Requirement]) -> dict[str, str]:
    """Third-party packages that no requirement brings by its own name."""
    declared = {canonicalize_name(requirement.name) for requirement in requirements}
    installed = homes()
    return {
        package: where
        for package, where in packages.items()
        if package not in sys.stdlib_module_names
        and not package.startswith("idemlab")
        and not {canonicalize_name(name) for name in installed.get(package, {package})} & declared
    }


@pytest.mark.long
def test_every_direct_import_is_declared() -> None:
    kit = EXTRAS["testing"]
    assert not undeclared(imported("platform/idemlab/testing"), [*ALWAYS, *kit])
    rest = imported("platform", "plugins/idemlab_data", "plugins/idemlab_enforcers", "plugins/idemlab_metrics")
    rest |= imported("plugins/idemlab_models", "registry")
    assert not undeclared(rest, [*ALWAYS, *kit, *EXTRAS["export"]])
    assert set(undeclared(rest, [*ALWAYS, *EXTRAS["export"]])) == {"hypothesis", "pytest"}, "what only the kit needs"
    assert set(undeclared(rest, [*ALWAYS, *kit])) == {"onnxruntime"}, "what only an export needs"


def test_the_lowest_versions_are_the_declared_ones() -> None:
    lines = [line for line in (ROOT / "constraints-lowest.txt").read_text().splitlines() if not line.startswith("#")]
    lowest = dict(line.split("==") for line in lines)
    declared = {
        requirement.name.lower(): specifier.version
        for requirement in [*ALWAYS, *(each for extra in EXTRAS.values() for each in extra)]
        for specifier in requirement.specifier
    }
    assert lowest == declared
