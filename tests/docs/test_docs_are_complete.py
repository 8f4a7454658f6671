"""What the pages say must be all there is, and true: hooks, names, commands, variables, thresholds, versions, links."""

from __future__ import annotations

import ast
import inspect
import json
import re
import runpy
import tomllib
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from markdown import Markdown
from mkdocs.exceptions import PluginError
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pydantic import BaseModel

import idemlab
import idemlab.testing
from idemlab.certificate.verdict import THRESHOLDS
from idemlab.cli import app
from idemlab.contracts.hookspecs import HookSpecs
from idemlab.experiment.settings import (
    EvaluationSettings,
    OptimizerSettings,
    ReconstructionSettings,
    TrainingSettings,
)

ROOT = Path(__file__).parents[2]
HOOKS = [name for name in vars(HookSpecs) if name.startswith("provide_")]


def _page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_page_on_plugins_shows_every_hook_with_its_own_example() -> None:
    assert HOOKS
    for hook in HOOKS:
        section = _page("docs/plugins.md").partition(f"### {hook}\n")[2].partition("\n#")[0]
        sentence, _, example = (inspect.getdoc(getattr(HookSpecs, hook)) or "").partition("\n\nExample::\n")
        shown = section.partition("```python\n")[2].partition("```")[0]
        assert sentence in section, hook
        assert ast.dump(ast.parse(shown)) == ast.dump(ast.parse(dedent(example))), hook


def test_every_public_name_on_the_page_on_plugins_can_be_imported_from_idemlab() -> None:
    table = _page("docs/plugins.md").partition("\n## Public names\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+)(?:\(\.\.\.\))?`", table.partition("| tests and figures |")[0])) - {"idemlab"}
    assert {"l2", "Operator", "hookimpl", "generator"} <= named <= set(idemlab.__all__)


# -- names, commands, variables, thresholds --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        ("docs/choose.md", "enforcer"),
        ("docs/choose.md", "source"),
        ("docs/data.md", "dataset"),
        ("docs/certificate.md", "metric"),
    ],
)
def test_every_built_in_name_stands_in_a_table(page: str, kind: str) -> None:
    rows = [line for line in _page(page).splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])}
    ours = {e.spec.name for e in idemlab.installed().entries(kind) if e.plugin.distribution == "idemlab"}
    assert ours <= named


@pytest.mark.parametrize(
    ("table", "settings"),
    [
        ("reconstruction", ReconstructionSettings),
        ("optimizer", OptimizerSettings),
        ("training", TrainingSettings),
        ("evaluation", EvaluationSettings),
    ],
)
def test_the_page_on_experiments_has_every_key_with_its_default(table: str, settings: type[BaseModel]) -> None:
    section = _page("docs/experiments.md").partition(f"\n`[{table}]`: ")[2].partition("|\n\n")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) ?\|", section, flags=re.MULTILINE))
    assert {
        key: tomllib.loads(f"value = {text.strip('`')}")["value"] if text else None for key, text in rows.items()
    } == {key: field.default for key, field in settings.model_fields.items()}


def test_the_page_on_the_command_line_has_every_command() -> None:
    rows = re.findall(r"^\| `idemlab (\w+)", _page("docs/cli.md"), flags=re.MULTILINE)
    assert sorted(rows) == sorted(
        {(c.name or c.callback.__name__).rstrip("_") for c in app.registered_commands if c.callback}
        | {group.name for group in app.registered_groups if group.name}
    )


def test_the_page_on_the_command_line_has_every_variable() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "platform").rglob("*.py"))
    read = set(re.findall(r"(?<!_)IDEMLAB_[A-Z]+", sources))
    assert read
    assert read <= set(re.findall(r"^\| `(IDEMLAB_[A-Z]+)", _page("docs/cli.md"), flags=re.MULTILINE))


def test_the_page_on_the_certificate_has_the_thresholds() -> None:
    table = _page("docs/certificate.md").partition("| Threshold | Value |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (.+) \| ([\d.]+) \|$", table, flags=re.MULTILINE)
    assert {rule.replace("\\|", "|"): float(value) for rule, value in rows} == THRESHOLDS


# -- README, versions, links -----------------------------------------------------------------------------------------------


def test_readme_has_two_commands_for_a_fresh_machine_and_their_extras_exist() -> None:
    commands = [line for line in _page("README.md").splitlines() if "-m venv" in line]
    assert [re.sub(r".*-e '\.\[(\w+)\]' && ", r"\1: ", line) for line in commands] == [
        *("demo: idemlab run digits-projector", "dev: pytest -n auto")
    ]
    assert {"demo", "dev"} <= set(_project()["optional-dependencies"])


NUMBERS = {
    "relative idempotence error at noise": "noise/relative",
    "relative idempotence error at corrupted digits": "corrupted/relative",
    "relative idempotence error at digits": "data/relative",
    "reconstruction error of digits": "data/reconstruction_error",
    "restoration error of corrupted digits": "corrupted/restoration_error",
    "generated digits that a small classifier can read": "noise/readable",
}


def test_the_numbers_in_readme_are_those_of_the_record_it_names() -> None:
    readme = _page("README.md")
    (folder,) = re.findall(r"`(registry/idemlab_registry/records/[^`]+)`", readme)
    medians = json.loads(_page(f"{folder}/results.json"))["median_and_range"]
    rows = re.findall(r"^\| (.+) \| (0\.\d{3}) \| (0\.\d{3}) \|$", readme, flags=re.MULTILINE)
    assert {label: [with_it, without] for label, with_it, without in rows} == {
        label: [f"{medians[run][number]['median']:.3f}" for run in ("digits-projector", "digits-control")]
        for label, number in NUMBERS.items()
    }


def test_links_inside_the_repository_lead_somewhere() -> None:
    broken = [
        f"{page.name}: {target}"
        for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).is_file()
    ]
    assert not broken


def test_the_number_that_readme_and_start_page_open_with_is_that_of_the_table() -> None:
    readme, start = _page("README.md"), _page("docs/index.md").replace("\n", " ")
    row = r"^\| relative idempotence error at noise \| ([\d.]+) \| ([\d.]+) \|$"
    with_it, without = re.findall(row, readme, flags=re.MULTILINE)[0]
    assert f"is **{with_it}**" in readme
    assert f"reaches **{without}**" in readme
    assert f"is {with_it}; without an enforcer, at the same cost, it is {without}" in start


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name != "index.md"))
def test_every_page_is_in_the_menu_and_on_the_start_page_and_in_readme(page: str) -> None:
    assert page in [file for entry in _site()["nav"] for file in entry.values()]
    assert f"]({page})" in _page("docs/index.md")
    assert f"](docs/{page})" in _page("README.md")


def test_the_api_page_lists_every_public_name_once() -> None:
    listed = re.findall(r"^::: (\S+)$", _page("docs/api.md"), flags=re.MULTILINE)
    assert sorted(listed) == sorted(
        f"{module.__name__}.{name}"
        for module in (idemlab, idemlab.testing)
        for name in module.__all__
        if name != "__version__"
    )


def test_every_formula_is_typeset() -> None:
    hooks = runpy.run_path(str(ROOT / "docs" / "hooks.py"))
    markdown = Markdown(
        extensions=["pymdownx.arithmatex", "pymdownx.superfences"],
        extension_configs={"pymdownx.arithmatex": {"generic": True}},
    )
    typeset = ""
    for page in (ROOT / "docs").glob("*.md"):
        html = markdown.reset().convert(page.read_text(encoding="utf-8"))
        typeset += hooks["on_page_content"](html, page=SimpleNamespace(file=SimpleNamespace(src_uri=page.name)))
    assert typeset.count("<math") > 50
    assert "arithmatex" not in typeset
    with pytest.raises(PluginError, match=r"page\.md: the formula .* has a command"):
        hooks["mathml"](r"\nosuchcommand x", False, "page.md")


def _site() -> dict[str, Any]:
    site: dict[str, Any] = yaml.safe_load(_page("mkdocs.yml"))
    return site


def _project() -> dict[str, dict[str, list[str]]]:
    project: dict[str, dict[str, list[str]]] = tomllib.loads(_page("pyproject.toml"))["project"]
    return project


def test_constraints_pin_one_public_version_of_everything_that_is_asked_for() -> None:
    lines = [line for line in _page("constraints.txt").splitlines() if not line.startswith("#")]
    pins = dict(line.split("==") for line in lines)
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", line) for line in lines)
    extras = _project()["optional-dependencies"]
    asked = [
        *_project()["dependencies"],
        *(r for extra in ("demo", "test", "docs", "tensorboard", "dev") for r in extras[extra]),
    ]
    for requirement in map(Requirement, asked):
        if requirement.name != "idemlab":
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def test_the_citation_has_this_version_and_both_papers() -> None:
    citation = yaml.safe_load(_page("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == idemlab.__version__
    assert [(work["title"], work["year"]) for work in citation["references"]] == [
        *(("Enforcing Idempotency in Neural Networks", 2025), ("Idempotent Generative Network", 2024))
    ]
