"""On a narrow terminal: columns are dropped, digits never; and what one types is completed by the shell."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from idemlab.cli.certificates import show_certificate
from idemlab.cli.console import show, table
from idemlab.watching.progress import _FURTHER, _fitting

NUMBERS = [f"{i}.{i}{i}{i}299" for i in range(1, 8)]
COLUMNS = ["inputs", *(f"error at f{i}" for i in range(1, 8)), "verdict"]


@pytest.mark.parametrize("width", [30, 60, 80, 100, 200])
def test_numbers_are_whole_or_not_there(width: int, terminal: None, monkeypatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    show(table(COLUMNS, [["data", *NUMBERS, "not idempotent"]], right=COLUMNS[1:-1]))
    text = capsys.readouterr().out
    shown = [number for number in NUMBERS if number in text]
    left_out = [column for column in COLUMNS[1:-1] if text.partition("no room for: ")[2].count(column)]
    assert shown == NUMBERS[: len(shown)], "the first ones stay"
    assert len(shown) >= 1
    assert len(shown) + len(left_out) == len(NUMBERS) or width < 60, "what is left out is told"
    assert (len(shown) == len(NUMBERS)) == (width >= 100)


def test_the_bar_keeps_step_and_time_left_and_drops_the_rest_by_and_by() -> None:
    kept = [len(_fitting(width, 30)) for width in (40, 60, 80, 100, 200)]
    assert kept == sorted(kept)
    assert (kept[0], kept[-1]) == (0, len(_FURTHER))
    assert _fitting(60, 30) == ["error {task.fields[error]}"]


@pytest.mark.parametrize(("verdict", "colour"), [("genuine", "32"), ("identity", "33"), ("constant", "31")])
def test_the_verdict_has_a_colour(verdict: str, colour: str, terminal: None, capsys) -> None:
    one = {"relative": [0.1], "absolute": [0.1], "rank": 1, "dimension": 4, "trace": 1.0, "spread": 1.0}
    one |= {"verdict": verdict, "figures": {}, "thresholds": {}}
    show_certificate({"inputs": {"data": one}, "verdict": verdict, "sentence": "So it is."})
    assert f"Verdict: \x1b[1;{colour}m{verdict}" in capsys.readouterr().out


def test_help_names_no_types_of_python(idemlab) -> None:
    text = idemlab("compare", "--help").stdout
    assert "<" not in text
    assert "{RUN}..." in text


@pytest.mark.long
def test_a_shell_can_complete() -> None:
    asked = {"_IDEMLAB_COMPLETE": "complete_bash", "COMP_WORDS": "idemlab sw", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "idemlab"], env=os.environ | asked, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["sweep"]
    assert (
        "--install-completion"
        in subprocess.run(
            [sys.executable, "-m", "idemlab", "--help"], capture_output=True, text=True, check=True
        ).stdout
    )
