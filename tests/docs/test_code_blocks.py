"""A reader follows each page from top to bottom: files are written, plugins installed, experiments resolved, Python run.

What a block needs to be followed:

- `python title="name.py"` and `toml title="name.toml"` are files that the reader makes; `toml title="pyproject.toml"` also
  installs the entry points in it, `toml title="known_plugins.toml"` is checked as an index. Other `python` blocks of a page
  share one namespace.
- `toml` blocks with a table [sweep.NAME] are studies, those with a table [task.NAME] suites of a league.
- other `toml` blocks are experiments, or parts of one, and must resolve.
- `sh` lines and `$ ` lines of `console` are commands. Those of idemlab are called: `run` resolves the experiment, and trains
  it for two steps if it is the reader's own; `report`, `apply`, `push`, `export`, `doctor`, `bench` and `profile` are only
  parsed. Lines below a `$ ` line must be printed by the command, in that order (`...`: others). Where one begins with
  `error:`, the command must end with 2, where one ends with ` failed`, with 1. `mkdir` and `cd` are followed; `pip install
  -e` and `pytest` in a project that the reader made install its entry points and collect its tests.
- `<!-- not run: reason -->` above a block exempts it.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import idemlab
from idemlab.catalog.known import KnownPlugin
from idemlab.cli import app
from idemlab.reports.application import Applied
from idemlab.standings.suite import find_suite
from idemlab_data.vision import torchvision_datasets

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PART_OF = "mlp-gradient"
"""The experiment over which a block that is only part of one is laid."""
BRIEFLY = ("training.steps=2", "evaluation.points=16", "evaluation.rank_points=0")

_FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+?) -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w+)(?P<info>[^\n]*)\n(?P<body>.*?)^(?P=indent)```$",
    flags=re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """One fenced block of a page.

    Args:
        page: its name, for messages.
        line: of the opening fence.
        language: as written after the fence.
        title: name of the file that the reader is to make of it, or "".
        body: without the fence.
        reason: why it is not run, or "".
    """

    page: str
    line: int
    language: str
    title: str
    body: str
    reason: str = ""

    @property
    def commands(self) -> list[tuple[list[str], list[str]]]:
        """The commands of shell lines: the words of each and, in a `console`, the lines that it prints."""
        found: list[tuple[list[str], list[str]]] = []
        for line in self.body.splitlines():
            if self.language == "console" and not line.startswith("$ "):
                found[-1][1].append(line)
                continue
            commands = (shlex.split(command, comments=True) for command in line.removeprefix("$ ").split("&&"))
            found.extend((words, []) for words in commands if words)
        return found


def blocks_of(text: str, page: str) -> list[Block]:
    """The fenced blocks of a page, from top to bottom."""
    found = []
    for match in _FENCE.finditer(text):
        title = re.search(r'title="([^"]+)"', match["info"])
        line = text.count("\n", 0, match.start("language")) + 1
        body = dedent(match["body"])
        found.append(Block(page, line, match["language"], title[1] if title else "", body, match["reason"] or ""))
    return found


class Reader:
    """Follows one page in an empty folder.

    Args:
        folder: to work in; on `sys.path`.
        monkeypatch: keeps heavy commands from doing what they do.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder, self._here, self._monkeypatch = folder, folder, monkeypatch
        self._namespace: dict[str, Any] = {"__name__": "__main__"}

    def follow(self, block: Block) -> None:
        if block.title:
            (self._here / block.title).write_text(block.body, encoding="utf-8")
        match block.language:
            case "python" if block.title:
                self._import(Path(block.title))
            case "python":
                if "import lightning" in block.body:
                    torchvision_datasets()  # Lightning loads torchvision, which needs help beside a CPU-only torch
                exec(compile("\n" * block.line + block.body, block.page, "exec"), self._namespace)
            case "toml" if block.title == "pyproject.toml":
                self._install(tomllib.loads(block.body))
            case "toml" if block.title == "known_plugins.toml":
                assert [KnownPlugin(**table) for table in tomllib.loads(block.body)["plugin"]]
            case "toml" if re.search(r"^\[sweep\.", block.body, flags=re.MULTILINE):
                file = self._folder / "study.toml"
                file.write_text(block.body, encoding="utf-8")
                for plan in idemlab.Study.from_toml(file, lambda _: idemlab.Findings()).sweeps.values():
                    assert [plan.resolve(setting) for setting in plan.settings()]
            case "toml" if re.search(r"^\[task\.", block.body, flags=re.MULTILINE):
                file = self._folder / "suite.toml"
                file.write_text(block.body, encoding="utf-8")
                assert find_suite(str(file), idemlab.installed()).task
            case "toml":
                table = tomllib.loads(block.body)
                whole = table.keys() & {"dataset", "base"}
                idemlab.resolve(Path(block.title) if block.title else table if whole else {"base": PART_OF} | table)
            case "sh" | "console":
                for words, printed in block.commands:
                    self._command(words, printed)

    def _command(self, words: list[str], printed: list[str]) -> None:
        project = self._here / "pyproject.toml"
        match words:
            case ["idemlab", *rest]:
                self._call(rest, printed)
            case ["mkdir", folder]:
                (self._here / folder).mkdir()
            case ["cd", folder]:
                self._here = self._here / folder
                self._monkeypatch.chdir(self._here)
                self._monkeypatch.syspath_prepend(self._here)
            case ["pip", "install", "-e", *_] if project.exists():
                self._monkeypatch.syspath_prepend(self._here / "src")
                self._install(tomllib.loads(project.read_text(encoding="utf-8")))
            case ["pytest"] if project.exists():
                collect = [sys.executable, "-m", "pytest", "-q", "--collect-only"]
                path = os.pathsep.join([str(self._here / "src"), str(self._folder)])
                subprocess.run(collect, check=True, env=os.environ | {"PYTHONPATH": path}, capture_output=True)

    def _import(self, file: Path) -> None:
        """Import a file that the reader made, afresh."""
        names = [part for part in file.with_suffix("").parts if part != "src"]
        for name in [name for name in sys.modules if name.partition(".")[0] == names[0]]:
            del sys.modules[name]
        importlib.invalidate_caches()
        importlib.import_module(".".join(names))
        idemlab.installed.cache_clear()

    def _install(self, project: dict[str, Any]) -> None:
        name, version = project["project"]["name"], project["project"]["version"]
        info = self._folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        points = project["project"]["entry-points"]["idemlab"]
        (info / "entry_points.txt").write_text("\n".join(["[idemlab]", *(f"{k} = {v}" for k, v in points.items())]))
        idemlab.installed.cache_clear()

    def _call(self, words: list[str], printed: list[str]) -> None:
        refused = any(line.startswith("error:") for line in printed)
        failed = any(line.endswith(" failed") for line in printed)
        with self._monkeypatch.context() as patch:
            patch.setattr("idemlab.doctor.examine", lambda *_, **__: [])
            patch.setattr("idemlab.reports.application.apply", lambda *_, **__: Applied([], {}))
            patch.setattr("idemlab.reports.page.write_report", lambda run, **_: run)
            if words[0] == "run" and (self._here / words[1]).exists() and not refused:
                words = [*words, *(word for override in BRIEFLY for word in ("--set", override))]
            elif words[0] == "run" and not refused:
                patch.setattr("idemlab.training.loop.train", _enough)
            elif words[0] == "sweep":
                patch.setattr("idemlab.sweeps.runner.run_sweep", _only_resolve)
            elif words[0] == "bench":
                patch.setattr("idemlab.benchmarks.benchmark.bench", _enough)
            elif words[0] == "profile":
                patch.setattr("idemlab.benchmarks.profiling.profile", _enough)
            elif words[0] == "push":
                patch.setattr("idemlab.sharing.push.push", _enough)
            elif words[0] == "export":
                patch.setattr("idemlab.sharing.exporting.export", _enough)
            elif words[0] == "study":
                patch.setattr("idemlab.studies.record.run_study", _enough)
            elif words[0] == "league":
                patch.setattr("idemlab.standings.league.run_league", _enough)
            elif words[0] == "board" and not any(self._here.rglob("experiment.toml")):
                patch.setattr("idemlab.reports.board.board", _enough)
            elif words[0] == "compare" and not any((self._here / word).exists() for word in words):
                patch.setattr("idemlab.reports.comparison.compare", _enough)
            result = CliRunner().invoke(app, words, catch_exceptions=False)
        assert result.exit_code == (2 if refused else 1 if failed else 0), (
            f"idemlab {shlex.join(words)}\n{result.output}"
        )
        lines = iter([line.rstrip() for line in result.output.splitlines()])
        assert all(line in lines for line in printed if line != "..."), (
            f"idemlab {shlex.join(words)} printed\n{result.output}"
        )


def _enough(*_: Any, **__: Any) -> None:
    """In place of what takes long: the command line was right so far."""
    raise typer.Exit


def _only_resolve(plan: idemlab.Sweep, *_: Any, **__: Any) -> None:
    """In place of a sweep: every trial of it, or what a sampler may choose, is an experiment."""
    plan.check()
    for setting in plan.settings() if plan.sampler == "grid" else plan.probes():
        plan.resolve(setting)
    raise typer.Exit


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """A reader in an empty folder; the modules and plugins made there are forgotten afterwards."""
    for name in ("RANK", "LOCAL_RANK", "FORCE_COLOR", "TTY_COMPATIBLE", "IDEMLAB_PLUGINS", "IDEMLAB_STRICT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    idemlab.installed.cache_clear()
    yield Reader(tmp_path, monkeypatch)
    idemlab.installed.cache_clear()
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_a_reader_can_follow_the_page(page: Path, reader: Reader) -> None:
    for block in blocks_of(page.read_text(encoding="utf-8"), page.name):
        if not block.reason:
            reader.follow(block)


def test_every_block_is_of_a_language_that_is_checked() -> None:
    checked = {"python", "toml", "sh", "console", "text", "bibtex"}
    wrong = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = blocks_of(text, page.name)
        wrong += [f"{page.name}:{block.line}: {block.language}" for block in blocks if block.language not in checked]
        if len(re.findall(r"^ *```", text, flags=re.MULTILINE)) != 2 * len(blocks):
            wrong.append(f"{page.name}: a block of no language, or one that is never closed")
    assert not wrong


# -- the reader is one who notices ---------------------------------------------------------------------------------------

WRONG = [
    ("python", "", "import idemlab\nidemlab.no_such_name\n", AttributeError),
    ("toml", "", '[enforcer]\nname = "cubik"\n', idemlab.BadInput),
    ("toml", "own.toml", '[dataset]\nname = "torus"\nradius = 1.0\n', idemlab.BadInput),
    ("console", "", "$ idemlab run mlp-cubic --set enforcer.wait=2\n", AssertionError),
    ("console", "", "$ idemlab run no-such-experiment\n", AssertionError),
    ("sh", "", "cd . && idemlab show cubik\n", AssertionError),
    ("sh", "", "idemlab apply runs/one images out --time 2\n", AssertionError),
    ("sh", "", "idemlab doktor\n", AssertionError),
    ("console", "", "$ idemlab list enforcers\ncubic  Something else.\n", AssertionError),
]


@pytest.mark.parametrize(
    ("language", "title", "body", "error"), WRONG, ids=[body.splitlines()[-1] for _, _, body, _ in WRONG]
)
def test_a_wrong_block_is_noticed(reader: Reader, language: str, title: str, body: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        reader.follow(Block("here", 1, language, title, body))


def test_blocks_are_found_with_their_title_and_reason() -> None:
    text = (
        'A\n\n<!-- not run: slow -->\n```python title="a.py"\nx = 1\n```\n\n'
        "1. B\n\n    ```console\n    $ ls && pwd\n    out\n    ```\n"
    )
    first, second = blocks_of(text, "page")
    assert first == Block("page", 4, "python", "a.py", "x = 1\n", "slow")
    assert (second.line, second.commands) == (10, [(["ls"], []), (["pwd"], ["out"])])
