"""The notebook of the docs runs, and shows what it shows in the docs.

After a change, write its outputs anew: `python tests/docs/execute_notebook.py NOTEBOOK EMPTY-FOLDER NOTEBOOK`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


def shown(path: Path) -> list[list[str]]:
    """For each cell of code what its outputs are: their verdicts, pictures and bars in order."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    pattern = r"genuine(?=</span>)|not idempotent(?=</span>)|<img|<svg|<progress|done after"
    cells = [cell["outputs"] for cell in content["cells"] if cell["cell_type"] == "code"]
    pages = [["".join(output["data"]["text/html"]) for output in outputs] for outputs in cells]
    return [re.findall(pattern, "".join(page)) for page in pages]


@pytest.mark.long
def test_the_notebook_runs_and_shows_the_same(tmp_path: Path) -> None:
    script = Path(__file__).with_name("execute_notebook.py")
    result = tmp_path / "executed.ipynb"
    (tmp_path / "empty").mkdir()
    command = [sys.executable, str(script), str(NOTEBOOK), str(tmp_path / "empty"), str(result)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    assert shown(result) == shown(NOTEBOOK)


def test_the_notebook_shows_each_kind_of_thing_and_no_folder_of_a_machine() -> None:
    first, run, report, sweep = shown(NOTEBOOK)
    assert first == ["genuine", "<svg"]
    assert run[:3] == ["<progress", "done after", "genuine"]
    assert "<img" in report
    assert "genuine" in sweep
    text = re.sub(r"base64,[^\"]*", "", NOTEBOOK.read_text(encoding="utf-8"))
    assert not re.search(r"/(home|root|work|tmp|Users)/", text)
