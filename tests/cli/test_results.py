"""`compare`, `report` and `apply`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from idemlab import load
from idemlab.wording import number


@pytest.fixture
def two(finished: Path, here: Path) -> tuple[Path, Path]:
    """Two copies of a finished run; the second says that it has another width and another error."""
    one, other = here / "one", here / "other"
    shutil.copytree(finished, one)
    shutil.copytree(finished, other)
    toml = (other / "experiment.toml").read_text()
    (other / "experiment.toml").write_text(toml.replace("width = 8", "width = 9"))
    certificate = json.loads((other / "certificate.json").read_text())
    certificate["inputs"]["noise"]["relative"][0] = 0.125
    (other / "certificate.json").write_text(json.dumps(certificate))
    return one, other


def row(text: str, name: str) -> list[str]:
    return next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()


def test_compare_puts_runs_side_by_side(idemlab, two):
    result = idemlab("compare", "one", "other")
    assert result.exit_code == 0
    assert row(result.stdout, "run") == ["run", "one", "other"]
    assert row(result.stdout, "noise/relative")[2] == "0.125"
    assert row(result.stdout, "noise/relative")[1] != "0.125"
    assert row(result.stdout, "model.width") == ["model.width", "8", "9"]
    assert row(result.stdout, "steps") == ["steps", "6", "6"]
    assert "enforcer.weight" not in result.stdout


def test_compare_of_equal_experiments_has_no_differences(idemlab, two):
    assert "what differs" not in idemlab("compare", "one").stdout


def test_compare_shows_keys_that_only_one_run_has(idemlab, two):
    toml = (two[1] / "experiment.toml").read_text()
    (two[1] / "experiment.toml").write_text(toml.replace('name = "gradient"', 'name = "cubic"\ncotangent = "unit"', 1))
    assert row(idemlab("compare", "one", "other").stdout, "enforcer.cotangent") == [
        "enforcer.cotangent",
        number(None),
        "unit",
    ]


def test_compare_draws_the_curves_where_asked(idemlab, two, here):
    assert idemlab("compare", "one", "other", "--out", "curves.png").stdout.endswith("Curves: curves.png\n")
    assert (here / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert idemlab("compare", "one", "other", "--out", "curves.txt").exit_code == 2


def test_compare_as_json(idemlab, two):
    shown = json.loads(idemlab("compare", "one", "other", "--json").stdout)
    assert [run["differs"]["model.width"] for run in shown["runs"]] == [8, 9]


def test_compare_shows_unfinished_runs(idemlab, two):
    (two[0] / "certificate.json").unlink()
    assert "not finished" in idemlab("compare", "one", "other").stdout


def test_report_names_the_page(idemlab, monkeypatch):
    written = []

    def write_report(run: Path, control: Path | None) -> Path:
        written.append((run, control))
        return Path("a/report.html")

    monkeypatch.setattr("idemlab.reports.page.write_report", write_report)
    assert idemlab("report", "a").stdout == "Report:  a/report.html\n"
    assert json.loads(idemlab("report", "a", "--json").stdout) == {"report": "a/report.html"}
    idemlab("report", "a", "--control", "b")
    assert written == [(Path("a"), None), (Path("a"), None), (Path("a"), Path("b"))]


def test_board_counts_what_it_shows(idemlab, two, here):
    result = idemlab("board")
    assert (result.exit_code, result.stdout) == (0, "Board:  board.html\nIt shows 2 runs.\n")
    (two[0] / "certificate.json").write_text("{")
    result = idemlab("board", ".", "--out", "other.html", "--json")
    assert json.loads(result.stdout) == {"board": "other.html", "shows": {"run": 2}, "damaged": 1}
    assert "1 of them is damaged" in result.stderr
    assert idemlab("board", "nowhere").exit_code == 2
    assert idemlab("board", ".", "--out", "other.txt").exit_code == 2


def test_compare_writes_a_page_where_asked(idemlab, two, here):
    assert idemlab("compare", "one", "other", "--html", "both.html").stdout.endswith("Page: both.html\n")
    assert "<html" in (here / "both.html").read_text()


def test_report_of_a_run(idemlab, two):
    assert idemlab("report", "one").exit_code == 0
    assert "<html" in (two[0] / "report.html").read_text()


def test_apply_projects_a_folder(idemlab, two, here):
    (here / "in").mkdir()
    point = np.linspace(-1, 1, 4, dtype=np.float32)
    np.save(here / "in" / "a.npy", point)
    np.save(here / "in" / "b.npy", -point)
    (here / "in" / "notes.txt").write_text("not an array")
    result = idemlab("apply", "one", "in", "out", "--times", "2")
    assert (result.exit_code, result.stdout) == (0, "2 files written to out\n")
    assert "notes.txt" in result.stderr
    import torch

    f = load("one")
    with torch.no_grad():
        expected = f(f(torch.from_numpy(point)[None]))[0].numpy()
    np.testing.assert_array_equal(np.load(here / "out" / "a.npy"), expected)
    shown = json.loads(idemlab("apply", "one", "in", "again", "--json").stdout)
    assert shown == {
        "written": ["again/a.npy", "again/b.npy"],
        "skipped": {},
        "left_out": {"not arrays by their endings": [str(here / "in" / "notes.txt")]},
    }


def test_apply_lists_what_it_skipped_and_does_the_rest(idemlab, two, here):
    (here / "in").mkdir()
    np.save(here / "in" / "a.npy", np.zeros(4))
    (here / "in" / "b.npy").write_text("not an array")
    result = idemlab("apply", "one", "in", "out")
    assert (result.exit_code, result.stdout) == (1, "1 file written to out\n")
    assert "1 file skipped:" in result.stderr
    assert "b.npy: cannot be read as an array" in result.stderr


def test_apply_counts_one_file_as_one(idemlab, two, here):
    (here / "in").mkdir()
    np.save(here / "in" / "a.npy", np.zeros(4))
    refused = idemlab("apply", "one", "in", "out", "--condition", "1")
    assert (refused.exit_code, "leave --condition out" in refused.stderr) == (2, True)
    assert idemlab("apply", "one", "in", "out").stdout == "1 file written to out\n"


def test_apply_without_an_input_folder(idemlab, two, here):
    result = idemlab("apply", "one", "nowhere", "out")
    assert result.exit_code == 2
    assert "'nowhere' does not exist" in result.stderr
    assert not (here / "out").exists()
