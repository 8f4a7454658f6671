"""The page on testing has all checks, and prints what is printed; the examples of the hooks pass the kit."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest

from idemlab.contracts.hookspecs import HookSpecs
from idemlab.testing import check_thing
from idemlab.testing.doors import CHECKED_KINDS
from idemlab.testing.kit import CHECKS

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")


def test_the_page_has_every_check_of_enforcers() -> None:
    table, _, _ = PAGE.partition("## Models, datasets")
    rows = re.findall(r"^\| `([a-z-]+)` \|", table, flags=re.MULTILINE)
    assert sorted(rows) == sorted(check.name for check in CHECKS if check.kind == "enforcer")


@pytest.mark.long
def test_the_page_shows_the_failure_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    code = re.search(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    shown = re.search(r"```text\n(.*?)  again:\n", PAGE, flags=re.DOTALL)
    assert code is not None
    assert shown is not None
    exec(code[1], {"__name__": "__main__"})
    assert shown[1] in capsys.readouterr().out


@pytest.mark.parametrize("kind", CHECKED_KINDS)
def test_the_example_of_the_hook_passes(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = f"provide_{kind}s"
    _, _, code = (inspect.getdoc(getattr(HookSpecs, hook)) or "").partition("Example::\n")
    module: Any = ModuleType(f"example_of_{hook}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(dedent(code), module.__dict__)
    (spec,) = getattr(module, hook)()
    report = check_thing(kind, spec, quick=True)
    assert report.passed, str(report)
