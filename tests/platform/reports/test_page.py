"""The report: whole, readable offline, escaped, and there for unfinished runs too."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from idemlab import BadInput, Failure, Run, load, resolve, train, write_report
from idemlab.catalog.catalog import installed
from idemlab.objective.evaluation import examples, extremes
from idemlab.objective.parts import assemble
from idemlab.wording import number

NASTY = "Sorts <script>alert(\"1 & 2\")</script> 'lists'"
IMAGES: dict[str, Any] = {
    "summary": NASTY,
    "dataset": {"name": "gaussian", "shape": [1, 6, 5], "train": 64, "test": 32},
    "model": {"name": "mlp", "width": 8, "depth": 1},
    "enforcer": {"name": "gradient"},
    "training": {"steps": 4, "batch_size": 16, "log_every": 2},
    "evaluation": {
        "every": 2,
        "rank_points": 2,
        "metrics": ["reconstruction-error", "restoration-error"],
        "inputs": {"noise": "gaussian", "corrupted": {"name": "corrupted", "noise": 0.5}},
    },
}
VECTORS = IMAGES | {"dataset": {"name": "sequences", "length": 5, "train": 64, "test": 32}}
SECTIONS = ["pictures", "certificates", "metrics", "curves", "spectrum", "cost", "tables", "experiment", "environment"]
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """A parsed page: tags in order, text by tag, and proof that tags are balanced."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def values(self, *names: str) -> list[str]:
        return [str(attributes[name]) for _, attributes in self.tags for name in names if name in attributes]

    def cells(self, section: str) -> list[list[str]]:
        """Rows of the first table of a section."""
        body = re.search(rf'<section id="{section}">.*?<table>(.*?)</table>', self.source, re.S)
        assert body is not None
        rows = re.findall(r"<tr>(.*?)</tr>", body[1], re.S)
        return [
            [re.sub(r"<.*?>", "", cell) for cell in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row, re.S)] for row in rows
        ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {name: train(table, folder / name).path for name, table in (("images", IMAGES), ("vectors", VECTORS))}


@pytest.fixture
def run(trained: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the finished run on images, to change at will."""
    return Path(shutil.copytree(trained["images"], tmp_path / "a <run> & more"))


@pytest.fixture
def blank(run: Path, unplotted: None) -> Path:
    """The same, for tests that look at words only: its pictures are not drawn, which takes long."""
    return run


def change(path: Path, **values: Any) -> None:
    """Change keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def unfinish(run: Path) -> None:
    (run / "certificate.json").unlink()
    (run / "operator.safetensors").unlink()
    metrics = run / "metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:2]))


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


# -- the control --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(IMAGES | {"enforcer": {"name": "none"}}, tmp_path_factory.mktemp("controls") / "control").path


def test_the_control_beside_a_run_is_found(blank: Path, control: Path) -> None:
    assert "control" not in [attributes.get("id") for _, attributes in Page(write_report(blank)).tags]
    shutil.copytree(control, blank.parent / "without")
    other = Path(shutil.copytree(control, blank.parent / "nearer than another", dirs_exist_ok=True))
    text = (blank.parent / "without" / "experiment.toml").read_text()
    (blank.parent / "without" / "experiment.toml").write_text(text.replace("log_every = 2", "log_every = 3"))
    far = Path(shutil.copytree(control, blank.parent / "other model"))
    (far / "experiment.toml").write_text(text.replace("width = 8", "width = 9"))
    page = Page(write_report(blank))
    assert "The control nearer than another enforces nothing" in page.words
    assert "Their experiments differ in the enforcer alone." in page.words
    own, others = (json.loads((path / "certificate.json").read_text())["inputs"] for path in (blank, other))
    rows = {(row[0], row[1]): row[2:] for row in page.cells("control")[1:]}
    for name in own:
        run, control_, factor = rows[name, "relative error"]
        assert float(run) == pytest.approx(own[name]["relative"][0], rel=6e-3)
        assert float(control_) == pytest.approx(others[name]["relative"][0], rel=6e-3)
        assert float(factor.removesuffix(" x")) == pytest.approx(float(control_) / float(run), rel=2e-2)
    assert page.words.count("control f(f(x))") == 2 * 3  # the rows, and their legends


def test_a_control_has_no_control(control: Path, unplotted: None) -> None:
    shutil.copytree(control, control.parent / "second")
    assert "Beside the control" not in Page(write_report(control)).words


def test_a_control_can_be_given(blank: Path, control: Path, trained: dict[str, Path]) -> None:
    assert "Beside the control" in Page(write_report(blank, control=control)).words
    with pytest.raises(BadInput, match="has samples of shape"):
        write_report(blank, control=trained["vectors"])
    with pytest.raises(BadInput, match="holds no run"):
        write_report(blank, control=blank.parent)
    begun = Path(shutil.copytree(control, blank.parent / "begun"))
    unfinish(begun)
    with pytest.raises(BadInput, match="is not finished"):
        write_report(blank, control=begun)
    with pytest.raises(BadInput, match="nothing to compare"):
        write_report(begun, control=blank)


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


# -- runs that are not whole --------------------------------------------------------------------------------------------


def test_an_unfinished_run_says_how_far_it_got_and_how_to_go_on(blank: Path) -> None:
    unfinish(blank)
    page = Page(write_report(blank))
    assert "Not finished: it got to step 2 of 4 (50 %)." in page.words
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
    assert "Not finished: it got to step 0." in page.words
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
