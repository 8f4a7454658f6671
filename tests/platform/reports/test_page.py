"""The report of a finished run: whole, readable offline, escaped."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import runpy
import shutil
import tomllib
from pathlib import Path

import pytest
import torch
from PIL import Image

from idemlab import Run, load, resolve, train, write_report
from idemlab.catalog.catalog import installed
from idemlab.objective.evaluation import examples, extremes
from idemlab.objective.parts import assemble
from idemlab.wording import number

_page = runpy.run_path(str(Path(__file__).with_name("page.py")))
IMAGES, SECTIONS, NASTY = _page["IMAGES"], _page["SECTIONS"], _page["NASTY"]
Page, change = _page["Page"], _page["change"]


def test_everything_is_there(blank: Path) -> None:
    path = write_report(blank)
    assert path == blank / "report.html"
    page = Page(path)
    assert [attributes["id"] for tag, attributes in page.tags if tag == "section"] == SECTIONS
    assert [href.removeprefix("#") for href in page.values("href") if href.startswith("#")] == SECTIONS
    certificate = json.loads((blank / "certificate.json").read_text())
    assert certificate["sentence"] in page.words
    assert certificate["verdict"] in page.words
    for threshold, value in certificate["inputs"]["data"]["thresholds"].items():
        assert f"{threshold} {number(value)}" in page.words
    assert f"{30 * 8 + 8 + 8 * 30 + 30}" in page.words  # parameters
    assert json.loads((blank / "environment.json").read_text())["packages"]["torch"] in page.words
    assert (blank / "experiment.toml").read_text().strip() in "".join(page.text)


def test_numbers_of_the_certificate(blank: Path) -> None:
    page = Page(write_report(blank))
    inputs = json.loads((blank / "certificate.json").read_text())["inputs"]
    first, second, *rows = page.cells("certificates")
    assert first[1] == "relative error at"
    assert second == ["f(x)", "f(f(x))", "f(f(f(x)))", "f(x)", "x"]
    for (name, one), row in zip(inputs.items(), rows, strict=True):
        figures = [
            *one["relative"],
            one["absolute"][0],
            one["trace"],
            one["spread"],
            one["input_spread"],
            one["displacement"],
        ]
        assert row[0] == name
        assert [float(cell) for cell in (*row[1:5], *row[6:10])] == pytest.approx(figures, rel=6e-3)
        assert row[5] == f"{one['rank']:g} of 30"
        assert row[10] == one["verdict"]


def test_all_weights_that_a_run_kept_are_listed(blank: Path) -> None:
    assert 'id="weights"' not in write_report(blank).read_text()
    certificate = json.loads((blank / "certificate.json").read_text())
    certificate["inputs"]["data"]["relative"][0] = 0.0123
    (blank / "certificate-best.json").write_text(json.dumps(certificate | {"steps": 2, "verdict": "identity"}))
    page = Page(write_report(blank))
    section = page.source.partition('id="weights"')[2].partition("</section>")[0]
    for shown in ("<dt>best</dt><dd>those of the best evaluation</dd>", "0.0123", "identity", 'which="best"', ">2<"):
        assert shown in section
    assert 'href="./certificate-best.json"' in page.source


def test_metrics_have_plain_labels_and_explanations(blank: Path) -> None:
    page = Page(write_report(blank))
    head, *rows = page.cells("metrics")
    assert head == ["metric", "x: data", "x: noise", "x: corrupted"]
    measured = json.loads((blank / "certificate.json").read_text())["inputs"]["data"]["figures"]["reconstruction_error"]
    reconstruction, restoration = rows
    assert reconstruction[0] == "reconstruction error"
    assert float(reconstruction[1]) == pytest.approx(measured, rel=6e-3)
    assert restoration[:3] == ["restoration error", "—", "—"]
    summary = installed().find("metric", "restoration-error").spec.summary
    assert summary in page.words


def test_nothing_comes_from_outside(blank: Path) -> None:
    page = Page(write_report(blank))
    assert {tag for tag, _ in page.tags} & {"iframe", "object", "embed", "base", "form"} == set()
    for value in page.values("src", "href", "srcset", "action", "data", "poster"):
        assert value.startswith(("data:", "#", "./")), value
    style = re.search(r"<style>(.*?)</style>", page.source, re.S)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    assert "prefers-color-scheme: dark" in style[1]
    assert "@media print" in style[1]
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    policy = [
        a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    ]
    (script,) = re.findall(r"<script>(.*?)</script>", page.source, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == [
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    ]  # so that no other script runs


def test_what_people_wrote_is_escaped(blank: Path) -> None:
    page = Page(write_report(blank))
    assert tomllib.loads((blank / "experiment.toml").read_text())["summary"] == NASTY
    assert NASTY in page.words
    assert "a <run> & more" in page.words
    assert page.source.count("<script") == 1
    assert "<run>" not in page.source


@pytest.mark.long
def test_pictures_are_in_the_page_and_in_the_folder(run: Path) -> None:
    page = Page(write_report(run))
    names = ["orbits-data", "orbits-noise", "orbits-corrupted", "curves", "spectrum", "hero", "thumbnail"]
    assert sorted(path.name for path in (run / "figures").iterdir()) == sorted(f"{name}.png" for name in names)
    for name in names[:-1]:
        with Image.open(run / "figures" / f"{name}.png") as image:
            assert image.width > 400
    rows = [Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) for source in page.values("src")]
    first = [image.size for image in rows if image.width == 12 * 5 + 11]  # twelve images, pixel by pixel, with gaps
    halves = [image.size for image in rows if image.width == 6 * 5 + 5]  # six typical ones, or the six worst
    assert len(first) == 4 + 4 + 5  # the corrupted ones have a target
    assert len(halves) == 2 * len(first)
    assert {image.mode for image in rows} == {"RGBA"}
    assert rows[0].getpixel((5, 0)) == (0, 0, 0, 0)
    panels = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(panels) == 4 + 3
    assert [attributes["role"] for _, attributes in page.tags if "drawing" in str(attributes.get("class"))] == [
        "img"
    ] * 8
    assert all(attributes["aria-label"] for _, attributes in page.tags if attributes.get("role") == "img")


def test_typical_and_worst_samples_are_those_of_the_certificate(blank: Path) -> None:
    experiment = resolve(IMAGES)
    ranked = extremes(experiment, assemble(experiment), load(blank), torch.device("cpu"), count=3)
    certificates = json.loads((blank / "certificate.json").read_text())["inputs"]
    for one, (name, certificate) in zip(ranked, certificates.items(), strict=True):
        examples, largest = one.worst
        assert (examples.name, one.points) == (name, certificate["points"])
        assert largest == pytest.approx(certificate["worst_error"], rel=1e-5)
        assert one.typical[1] <= largest
        orbits = [shown.orbit for shown, _ in (one.typical, one.worst)]
        changes = [(again - y).flatten(1).norm(dim=1) for _, y, again, *_ in orbits]
        assert (changes[1] >= changes[0].max()).all()
        assert len(changes[0]) == len(changes[1]) == 3


@pytest.mark.usefixtures("undrawn")
@pytest.mark.long
def test_vectors_have_one_picture_of_orbits(trained: dict[str, Path], tmp_path: Path) -> None:
    control = Path(shutil.copytree(trained["vectors"], tmp_path / "control"))
    page = Page(write_report(Run.open(trained["vectors"]), control=control))
    files = {path.stem for path in (trained["vectors"] / "figures").iterdir()}
    assert files == {"orbits", "curves", "spectrum", "thumbnail"}
    assert (
        "x is data: test samples of 'sequences'; noise: source 'gaussian'; corrupted: source 'corrupted'" in page.words
    )
    assert "Typical are those around the median of 32 samples" in page.words
    assert "A second application moves the median sample and the worst one by" in page.words
    drawn = page.source.partition('id="pictures"')[2].partition("</section>")[0].count("<svg")
    assert drawn == 3 * (1 + 1 + 2), "for each set of inputs: the run, the control, typical and worst"
    assert "control in panels of this name: what the control, which enforces nothing, makes of the same x" in page.words


def test_files_with_the_values_are_linked(blank: Path) -> None:
    links = [href for href in Page(write_report(blank)).values("href") if href.startswith("./")]
    assert links == ["./certificate.json", "./metrics.jsonl", "./experiment.toml", "./environment.json"]


# -- what stays as it is ------------------------------------------------------------------------------------------------


def test_writing_again_gives_the_same_and_leaves_nothing_beside(blank: Path) -> None:
    before = {path.name for path in blank.iterdir()}
    first = write_report(blank).read_text()
    assert write_report(blank).read_text() == first
    assert {path.name for path in blank.iterdir()} == before | {"report.html", "figures"}


@pytest.mark.parametrize(
    ("verdict", "colour"),
    [("genuine", "genuine"), ("constant", "wrong"), ("not idempotent", "wrong")],
)
def test_the_badge_tells_good_from_bad(blank: Path, verdict: str, colour: str) -> None:
    change(blank / "certificate.json", verdict=verdict)
    page = Page(write_report(blank))
    assert f'<span class="badge {colour}">{verdict}</span>' in page.source


def test_the_change_of_a_second_application_is_said_in_words(blank: Path) -> None:
    inputs = json.loads((blank / "certificate.json").read_text())["inputs"]
    for one, relative in zip(inputs.values(), (0.0123, 0.0877, 0.137), strict=True):
        one["relative"][0] = relative
    change(blank / "certificate.json", inputs=inputs)
    assert (
        "A second application changes its result by 1.2 % at data, 8.8 % at noise and 14 % at corrupted"
        in Page(write_report(blank)).words
    )
    change(blank / "certificate.json", inputs={"data": inputs["data"]})
    assert "A second application changes its result by 1.2 % at data (share" in Page(write_report(blank)).words


def test_estimates_are_called_estimates(blank: Path) -> None:
    assert "randomised estimates" not in Page(write_report(blank)).words
    inputs = json.loads((blank / "certificate.json").read_text())["inputs"]
    inputs["noise"]["spectra"][0]["exact"] = False
    change(blank / "certificate.json", inputs=inputs)
    assert "randomised estimates" in Page(write_report(blank)).words


def test_ranks_that_were_not_measured(blank: Path) -> None:
    inputs = json.loads((blank / "certificate.json").read_text())["inputs"]
    inputs = {name: one | {"spectra": [], "rank": None, "trace": None} for name, one in inputs.items()}
    change(blank / "certificate.json", inputs=inputs)
    page = Page(write_report(blank))
    assert [row[5] for row in page.cells("certificates")[2:]] == ["not measured"] * 3
    assert "spectrum" not in page.values("id")
    assert "#spectrum" not in page.values("href")


@pytest.mark.usefixtures("unplotted")
def test_deep_orbits_are_written_with_powers(tmp_path: Path) -> None:
    table = IMAGES | {"evaluation": {"depth": 5, "rank_points": 0}, "dataset": IMAGES["dataset"] | {"shape": [3]}}
    page = Page(write_report(train(table, tmp_path / "deep")))
    assert page.cells("certificates")[1][:5] == ["f(x)", "f(f(x))", "f(f(f(x)))", "f⁴(x)", "f⁵(x)"]


# -- examples -----------------------------------------------------------------------------------------------------------


def test_only_inputs_made_of_the_data_have_targets() -> None:
    experiment = resolve(IMAGES)
    parts = assemble(experiment)
    shown = {one.name: one for one in examples(experiment, parts, lambda x: x / 2, "cpu", 5)}  # type: ignore[arg-type]
    assert list(shown) == ["data", "noise", "corrupted"]
    assert shown["noise"].target is None
    for name in ("data", "corrupted"):
        target = shown[name].target
        assert target is not None
        assert (target == shown["data"].orbit[0]).all()
    assert [tuple(points.shape) for points in shown["noise"].orbit] == [(5, 1, 6, 5)] * 4
