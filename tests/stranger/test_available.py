"""`idemlab plugins list --available`: what is known, what of it is installed, and how to install the rest."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Idemlab = Callable[..., Result]
Install = Callable[..., None]

PLUGIN = "from idemlab import hookimpl\n@hookimpl\ndef provide_models(): return []\n"
INDEX = """
[[plugin]]
name = "idemlab-shrink"
summary = "Shrinks what is too large."
offers = { enforcer = ["shrink"], model = ["small"] }
install = "pip install idemlab-shrink"

[[plugin]]
name = "wrong"
"""


def own_index(here: Path, install: Install) -> None:
    """A plugin whose package carries an index of its own."""
    install("curator", PLUGIN)
    (here / "site" / "curator.py").unlink()
    (here / "site" / "curator").mkdir()
    (here / "site" / "curator" / "__init__.py").write_text(PLUGIN)
    (here / "site" / "curator" / "known_plugins.toml").write_text(INDEX)


def test_known_plugins_are_shown_with_kind_summary_and_command(here: Path, install: Install, call: Idemlab) -> None:
    own_index(here, install)
    result = call("plugins", "list", "--available")
    assert result.exit_code == 0
    header, *rows = [[cell.strip() for cell in line.split("  ") if cell] for line in result.stdout.splitlines()]
    assert header == ["plugin", "kind", "installed", "install with"]
    assert [
        "idemlab-shrink",
        "enforcer, model",
        "Shrinks what is too large.",
        "no",
        "pip install idemlab-shrink",
    ] in rows
    assert result.stderr.startswith("left out: known_plugins.toml of curator 0.3, plugin 'curator', plugin 2: ")


@pytest.mark.parametrize("words", [["list", "--available", "--json"], ["--json", "list", "--available"]])
def test_known_plugins_as_json(words: list[str], here: Path, install: Install, call: Idemlab) -> None:
    own_index(here, install)
    install("idemlab-shrink", PLUGIN, version="2.5")
    shown = {plugin["name"]: plugin for plugin in json.loads(call("plugins", *words).stdout)}
    assert shown["idemlab-shrink"]["installed"] == "2.5"
    assert shown["idemlab-shrink"]["offers"] == {"enforcer": ["shrink"], "model": ["small"]}


def test_no_known_plugin(call: Idemlab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDEMLAB_PLUGINS", "")
    assert call("plugins", "list", "--available").stdout == "no plugin is known\n"


@pytest.mark.parametrize("words", [["plugins", "list", "--available"], ["plugins", "new", "shrink"]])
def test_neither_loads_torch(words: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\n"
        f"sys.argv = ['idemlab', *{words!r}]\n"
        "from idemlab.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print(sorted({'torch', 'numpy', 'datasets', 'matplotlib'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"
