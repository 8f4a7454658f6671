"""Runs side by side."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from idemlab import BadInput, Failure, Run, compare, train
from idemlab.experiment.toml import differing, flat, read
from idemlab.wording import number

EXPERIMENT: dict[str, Any] = {
    "summary": "One of two.",
    "dataset": {"name": "gaussian", "shape": [4], "train": 64, "test": 32},
    "model": {"name": "mlp", "width": 8, "depth": 1},
    "enforcer": {"name": "gradient"},
    "training": {"steps": 4, "batch_size": 16, "log_every": 2},
    "evaluation": {"every": 2, "rank_points": 1, "metrics": ["reconstruction-error"]},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs that differ in the enforcer's weight, its seed and their summaries."""
    folder = tmp_path_factory.mktemp("runs")
    first = train(EXPERIMENT, folder / "first")
    second = train(
        EXPERIMENT, folder / "second", overrides=["enforcer.name=none", "training.seed=5", "summary=The other."]
    )
    return first.path, second.path


@pytest.fixture
def runs(trained: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """Copies of the two runs, to change at will."""
    for path in trained:
        shutil.copytree(path, tmp_path / path.name)
    return tmp_path / "first", tmp_path / "second"


def unfinish(path: Path) -> None:
    (path / "certificate.json").unlink()
    (path / "operator.safetensors").unlink()
    metrics = path / "metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:2]))


@pytest.mark.long
def test_the_other_weights_of_a_run_are_compared_too(runs: tuple[Path, Path], tmp_path: Path) -> None:
    assert compare(runs).kept == {}
    kept = json.loads((runs[1] / "certificate.json").read_text()) | {"steps": 2, "verdict": "genuine"}
    kept["inputs"]["noise"]["relative"][0] = 0.0123
    (runs[1] / "certificate-ema.json").write_text(json.dumps(kept))
    comparison = compare(runs, html=tmp_path / "page.html")
    assert list(comparison.kept) == ["ema: verdict", "ema: step", "ema: data/relative", "ema: noise/relative"]
    assert comparison.kept["ema: noise/relative"] == ["—", "0.0123"]
    assert comparison.kept["ema: step"] == ["—", "2"]
    first, second = comparison.as_dict()["runs"]
    assert first["weights"] == []
    assert [each["which"] for each in second["weights"]] == ["last", "ema"]
    assert second["weights"][1]["errors"]["noise"] == 0.0123
    assert "0.0123" in (tmp_path / "page.html").read_text()


def test_rows_show_what_each_run_reached(runs: tuple[Path, Path]) -> None:
    comparison = compare(runs)
    assert [row.run for row in comparison.rows] == ["first", "second"]
    for row, path in zip(comparison.rows, runs, strict=True):
        certificate = json.loads((path / "certificate.json").read_text())
        assert row.summary.verdict == certificate["verdict"]
        assert row.summary.flops == certificate["flops"]
        assert comparison.value(row, "noise/relative") == certificate["inputs"]["noise"]["relative"][0]
        assert (
            comparison.value(row, "data/reconstruction_error")
            == certificate["inputs"]["data"]["figures"]["reconstruction_error"]
        )
        assert comparison.value(row, "noise/reconstruction_error") is None
        assert row.summary.seconds is not None
    assert comparison.metrics[:4] == ("data/relative", "noise/relative", "data/absolute", "noise/absolute")
    assert comparison.picture is None


def test_only_what_differs_is_told(runs: tuple[Path, Path]) -> None:
    first, second = compare(runs).rows
    assert first.differs["enforcer.name"] == "gradient"
    assert second.differs["enforcer.name"] == "none"
    assert (first.differs["training.seed"], second.differs["training.seed"]) == (0, 5)
    assert all(key.startswith("enforcer.") for key in set(first.differs) - {"training.seed"})
    assert {value for key, value in second.differs.items() if key not in ("enforcer.name", "training.seed")} == {None}


@pytest.mark.long
def test_the_picture_is_written(runs: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "pictures" / "curves.png"
    assert compare(runs, out=out).picture == out
    assert compare(runs[0], out=str(out), html=str(tmp_path / "page.html")).picture == out
    with Image.open(out) as image:
        assert image.format == "PNG"
    assert [path.name for path in out.parent.iterdir()] == ["curves.png"]


def test_as_dict_is_json(runs: tuple[Path, Path]) -> None:
    comparison = compare([Run.open(runs[0]), str(runs[1])])
    told = json.loads(json.dumps(comparison.as_dict()))
    assert told["picture"] is None
    assert [run["run"] for run in told["runs"]] == ["first", "second"]
    assert told["runs"][0]["metrics"]["noise/relative"] == comparison.value(comparison.rows[0], "noise/relative")
    assert told["runs"][1]["differs"]["enforcer.name"] == "none"
    assert set(told["runs"][0]) == {
        "run",
        "path",
        "verdict",
        "sentence",
        "step",
        "steps",
        "flops",
        "seconds",
        "metrics",
        "weights",
        "differs",
    }


@pytest.mark.long
def test_unfinished_runs_show_what_they_have(runs: tuple[Path, Path], tmp_path: Path) -> None:
    unfinish(runs[1])
    comparison = compare(runs, out=tmp_path / "curves.png")
    done, open_ = comparison.rows
    assert done.summary.finished
    assert not open_.summary.finished
    assert open_.summary.sentence == "Not finished: it reached step 2 of 4 (50 %)."
    assert comparison.value(open_, "noise/relative") is not None
    assert comparison.picture is not None


def test_runs_that_have_logged_nothing_leave_no_picture(runs: tuple[Path, Path], tmp_path: Path) -> None:
    unfinish(runs[0])
    (runs[0] / "metrics.jsonl").unlink()
    out = tmp_path / "curves.png"
    assert compare([runs[0]], out=out).picture is None
    assert not out.exists()


def test_folders_of_one_name_are_told_apart_by_their_paths(runs: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "first"
    shutil.copytree(runs[0], other)
    assert [row.run for row in compare([runs[0], other, runs[1]]).rows] == [str(runs[0]), str(other), "second"]


@pytest.mark.parametrize("out", ["curves.pdf", "curves"])
def test_only_png_files_are_drawn(runs: tuple[Path, Path], tmp_path: Path, out: str) -> None:
    with pytest.raises(BadInput, match="not a file name for a picture"):
        compare(runs, out=tmp_path / out)


def test_a_folder_is_no_picture(runs: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(BadInput, match="not a file name for a picture"):
        compare(runs, out=tmp_path / "folder.png")


def test_bad_runs(runs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing to compare"):
        compare([])
    with pytest.raises(BadInput, match="holds no run"):
        compare([runs[0], tmp_path / "nothing"])
    with pytest.raises(BadInput, match="given twice"):
        compare([runs[0], runs[0].parent / "." / "first"])
    (runs[1] / "experiment.toml").write_text("[")
    with pytest.raises(Failure, match="damaged"):
        compare(runs)


def test_a_picture_that_cannot_be_written(runs: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Failure, match="cannot be written"):
        compare(runs, out=tmp_path / "file" / "curves.png")


# -- the page -----------------------------------------------------------------------------------------------------------


def test_the_page_has_values_differences_and_curves(runs: tuple[Path, Path], tmp_path: Path) -> None:
    comparison = compare(runs, html=tmp_path / "pages" / "both.html")
    assert comparison.page == tmp_path / "pages" / "both.html"
    assert comparison.as_dict()["page"] == str(comparison.page)
    page = comparison.page.read_text(encoding="utf-8")
    text = " ".join(re.sub(r"<[^>]*>", "", page).split())
    for row in comparison.rows:
        assert f"{number(comparison.value(row, 'noise/relative'))}" in text
        assert row.summary.sentence in text
    assert "enforcer.name" in text
    assert page.count("<svg ") == 4  # loss, reconstruction, and the relative error at data and noise
    assert "<a " not in page  # neither has a report yet
    (runs[0] / "report.html").touch()
    compare(runs, html=comparison.page)
    assert 'href="./../first/report.html"' in comparison.page.read_text(encoding="utf-8")


@pytest.mark.usefixtures("undrawn")
def test_what_people_wrote_is_text_there_too(runs: tuple[Path, Path], tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    other = runs[1].rename(runs[1].with_name(evil))
    toml = (other / "experiment.toml").read_text()
    (other / "experiment.toml").write_text(toml.replace('name = "none"', f'name = "{evil}"'))
    certificate = json.loads((other / "certificate.json").read_text())
    certificate["inputs"] = {evil: certificate["inputs"]["data"]}
    (other / "certificate.json").write_text(json.dumps(certificate | {"sentence": evil, "verdict": evil}))
    compare([runs[0], other], html=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert page.count("&lt;img") >= 6


def test_pages_that_cannot_be_written(runs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not a file name for a page"):
        compare(runs, html=tmp_path / "page.txt")
    (tmp_path / "file").touch()
    with pytest.raises(Failure, match="the page cannot be written"):
        compare(runs, html=tmp_path / "file" / "page.html")


# -- tables -------------------------------------------------------------------------------------------------------------


def test_flat_tables() -> None:
    table = {"summary": "for people", "a": {"b": 1, "c": {"d": [1, 2], "e": {}}}, "s": [{"x": 1}, {"x": 2}], "none": []}
    assert flat(table) == {"a.b": 1, "a.c.d": [1, 2], "a.c.e": {}, "s.0.x": 1, "s.1.x": 2, "none": []}


def test_differing_keys() -> None:
    assert differing([{"a": 1, "b": 2, "c": None}, {"a": 1, "b": 3, "d": 4}]) == ["b", "c", "d"]
    assert differing([{"a": 1}]) == []


def test_a_missing_table_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="damaged"):
        read(tmp_path / "experiment.toml")
