"""Reports of runs that are not whole, and what stops a report."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

import pytest

from idemlab import BadInput, Failure, resolve, write_report

_page = runpy.run_path(str(Path(__file__).with_name("page.py")))
IMAGES, SECTIONS, Page, unfinish = _page["IMAGES"], _page["SECTIONS"], _page["Page"], _page["unfinish"]


def test_an_unfinished_run_says_how_far_it_got_and_how_to_go_on(blank: Path) -> None:
    unfinish(blank)
    page = Page(write_report(blank))
    assert "Not finished: it reached step 2 of 4 (50 %)." in page.words
    assert f"idemlab run '{blank}' --resume" in page.words
    sections = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert sections == ["metrics", "curves", "cost", "tables", "experiment", "environment"]
    assert "badge open" in page.values("class")
    labels = [row[0] for row in page.cells("metrics")]
    assert labels[:3] == ["metric", "absolute error", "relative error"]
    assert "reconstruction error" in labels
    assert "optimiser steps 2 of 4" in page.words


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    (tmp_path / "experiment.toml").write_text(resolve(IMAGES).to_toml())
    page = Page(write_report(tmp_path))
    assert "Not finished: it reached step 0." in page.words
    assert "Not recorded." in page.words
    assert not (tmp_path / "figures").exists()
    sections = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert sections == ["cost", "tables", "experiment", "environment"]


def test_plugins_that_are_gone_cost_the_pictures_only(blank: Path) -> None:
    toml = blank / "experiment.toml"
    toml.write_text(toml.read_text().replace('name = "mlp"', 'name = "gone-model"'))
    page = Page(write_report(blank))
    assert "The pictures could not be drawn. there is no model 'gone-model'" in page.words
    sections = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert sections == [section for section in SECTIONS if section != "pictures"]


def test_damaged_weights_cost_the_pictures_only(blank: Path) -> None:
    (blank / "operator.safetensors").write_bytes(b"damaged")
    page = Page(write_report(blank))
    assert "cannot read the weights" in page.words
    assert "certificates" in page.values("id")


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no run"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_damaged_certificate(blank: Path) -> None:
    (blank / "certificate.json").write_text('{"verdict"')
    with pytest.raises(Failure, match="damaged"):
        write_report(blank)
    assert not (blank / "report.html").exists()


def test_damaged_experiment(blank: Path) -> None:
    (blank / "experiment.toml").write_text("summary = ")
    with pytest.raises(Failure, match="damaged"):
        write_report(blank)


def test_a_folder_that_cannot_be_written_keeps_the_old_report(blank: Path) -> None:
    write_report(blank)
    (blank / "report.html").write_text("old")
    shutil.rmtree(blank / "figures")
    (blank / "figures").touch()
    with pytest.raises(Failure, match="cannot be written"):
        write_report(blank)
    assert (blank / "report.html").read_text() == "old"
