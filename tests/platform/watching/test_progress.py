"""Progress from Python: lines in a script, a bar in a notebook, and silence where it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import idemlab
from idemlab.watching.progress import watching

Make = Callable[..., dict[str, Any]]


def test_a_script_gets_lines_and_can_be_silent(
    tmp_path: Path, tiny: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    idemlab.train(tiny(), tmp_path / "told")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "step 4/12  loss " in shown.err
    idemlab.train(tiny(), tmp_path / "silent", progress=False)
    assert capsys.readouterr() == ("", "")


class Handle:
    """What IPython gives to change an output that is shown."""

    def __init__(self, first: Any) -> None:
        self.shown = [first]

    def update(self, thing: Any) -> None:
        self.shown.append(thing)


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch) -> list[Handle]:
    """The outputs of a notebook that this process then seems to be."""
    handles: list[Handle] = []

    def display(thing: Any, *, display_id: bool) -> Handle:
        assert display_id
        handles.append(Handle(thing))
        return handles[-1]

    ipython, module = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=None)  # type: ignore[attr-defined]
    module.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr("idemlab.watching.progress.REDRAW", 0.0)
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    return handles


def test_a_notebook_gets_a_bar(
    tmp_path: Path, tiny: Make, cells: list[Handle], capsys: pytest.CaptureFixture[str]
) -> None:
    idemlab.train(tiny(), tmp_path / "run")
    (cell,) = cells
    assert capsys.readouterr() == ("", "")
    assert repr(cell.shown[0]) == "preparing"
    texts, pages = [repr(each) for each in cell.shown], [each._repr_html_() for each in cell.shown]
    assert any("7/12 · loss " in text and " left" in text for text in texts)
    assert '<progress value="12" max="12"' in pages[-1]
    assert "done after" in texts[-1]
    assert "mlp on gaussian, enforcer gradient" in texts[-1]
    with watching() as watcher:
        watcher.message("<script>")
    assert "&lt;script&gt;" in cells[-1].shown[-1]._repr_html_()


def test_a_notebook_says_that_a_run_failed(tmp_path: Path, tiny: Make, cells: list[Handle]) -> None:
    with pytest.raises(idemlab.Failure):
        idemlab.train(tiny(optimizer={"name": "sgd", "lr": 1e30}), tmp_path / "run")
    assert "stopped after" in repr(cells[0].shown[-1])


def test_an_ipython_terminal_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    from idemlab.watching.terminal import notebook

    ipython = ModuleType("IPython")
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    for shell in (None, SimpleNamespace()):
        ipython.get_ipython = lambda shell=shell: shell  # type: ignore[attr-defined]
        assert notebook() is None
