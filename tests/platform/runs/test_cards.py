"""What a notebook shows of a run, a certificate and a sweep: complete, escaped, and never an error."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

import idemlab
from idemlab import Failure, Results, Run, Trial
from idemlab.certificate.card import spectrum_svg
from idemlab.system import strict_json

EVIL = "<script>alert('x')</script>&\""

ONE: dict[str, Any] = {
    "relative": [0.0512, float("nan")], "absolute": [0.01, 0.009], "rank": 2, "trace": 2.1, "spread": 0.5, "dimension": 4,
    "input_spread": 1.0, "displacement": 0.5, "verdict": "genuine", "figures": {}, "thresholds": {},
    "spectra": [{"exact": True, "singular_values": [1.2, 1.0, 0.3, 0.0], "eigenvalue_moduli": []}],
}  # fmt: skip


class Balanced(HTMLParser):
    """Fails where a tag is closed that is not open."""

    VOID = ("br", "img", "path", "circle")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def looked_at(page: str) -> list[str]:
    """The tags of a page that is well formed, safe, and readable in the dark."""
    parser = Balanced()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    assert "script" not in parser.seen
    assert "http" not in page.replace("http://www.w3.org/", "")
    assert "background: #fff" not in page.replace("border-radius: 4px; background: #fff", "")  # behind pictures only
    return parser.seen


def make_run(path: Path, name: str = "genuine", inputs: str = "data", **files: Any) -> Run:
    path.mkdir(parents=True)
    (path / "experiment.toml").touch()
    certificate = {"verdict": name, "sentence": "So it is.", "steps": 9, "flops": 1.0, "inputs": {inputs: ONE}}
    for file, content in ({"certificate.json": certificate} | files).items():
        if content is not None:
            text = content if isinstance(content, str) else strict_json.dumps(content)
            (path / file).write_text(text)
    return Run(path)


def test_a_run_shows_verdict_errors_spectrum_and_picture(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert "img" not in looked_at(run._repr_html_())
    run.figures.mkdir()
    for picture in ("hero", "orbits-data", "curves"):
        (run.figures / f"{picture}.png").write_bytes(b"png")
    page = run._repr_html_()
    assert looked_at(page).count("img") == 1
    for shown in (
        ">genuine</span> So it is.",
        "0.0512",
        "not a number",
        "2 / 4",
        "<polyline",
        "data:image/png;base64,cG5n",
    ):
        assert shown in page


def test_a_run_shows_all_weights_that_it_kept(tmp_path: Path) -> None:
    best = {"verdict": EVIL, "sentence": "", "steps": 6, "flops": 1.0, "inputs": {"data": ONE | {"relative": [0.0123]}}}
    alone = make_run(tmp_path / "alone")._repr_html_()
    page = make_run(tmp_path / "run", **{"certificate-best.json": best})._repr_html_()
    looked_at(page)
    assert page.count("<table") == alone.count("<table") + 1
    for shown in (">best<", ">6<", "0.0123", "&lt;script&gt;"):
        assert shown in page
        assert shown not in alone


@pytest.mark.parametrize("what", ["inputs", "folder", "verdict"])
def test_nothing_is_taken_for_markup(what: str, tmp_path: Path) -> None:
    safe = EVIL.replace("/", "")
    path = tmp_path / (safe if what == "folder" else "run")
    run = make_run(path, name=EVIL if what == "verdict" else "genuine", inputs=EVIL if what == "inputs" else "data")
    page = run._repr_html_()
    looked_at(page)
    assert "&lt;script&gt;" in page


def test_an_unfinished_a_damaged_and_a_missing_run_say_so(tmp_path: Path) -> None:
    line = {"step": 4, "split": "evaluation", "data/relative": 0.25, "time": {"seconds": 1.0}}
    unfinished = make_run(tmp_path / "a", **{"certificate.json": None, "metrics.jsonl": json.dumps(line) + "\n"})
    page = unfinished._repr_html_()
    looked_at(page)
    assert "not finished</span> Not finished: it reached step 4." in page
    assert "0.25" in page
    assert "damaged: " in make_run(tmp_path / "b", **{"certificate.json": "{"})._repr_html_()
    with pytest.raises(
        Failure, match=r"damaged: a JSON object was expected[^$]*write it again: idemlab run \S+ --resume"
    ):
        make_run(tmp_path / "e", **{"certificate.json": "[]"}).certificate  # noqa: B018
    assert "no run yet" in Run(tmp_path / "c")._repr_html_()


def test_a_certificate_shows_itself() -> None:
    projector = nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        projector.weight.copy_(torch.diag(torch.tensor([1.0, 1.0, 0.0, 0.0])))
    page = idemlab.certify(projector, torch.randn(64, 4))._repr_html_()
    looked_at(page)
    for shown in (">genuine</span>", "64 inputs", "2 / 4", "<polyline", "95 % interval"):
        assert shown in page
    constant = idemlab.certify(lambda x: torch.zeros_like(x), torch.randn(8, 4), rank_points=0)._repr_html_()
    looked_at(constant)
    assert ">constant</span>" in constant
    assert "<polyline" not in constant


@pytest.mark.parametrize("values", [[1.0], [3.0, 0.5], [1.0 / (1 + i) for i in range(1024)], [float("inf"), 1.0, 0.0]])
def test_a_spectrum_is_a_small_picture(values: list[float]) -> None:
    tree = ElementTree.fromstring(spectrum_svg({"spectra": [{"singular_values": values}]}))
    (line,) = tree.iter("polyline")
    points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    assert 1 <= len(points) <= 120
    assert all(0 <= x <= 120 and 0 <= y <= 36 for x, y in points)
    assert spectrum_svg({"spectra": [{"singular_values": [float("nan")]}]}) == "—"


def trial(number: int, weight: Any, error: float | None, state: str = "complete", path: Path = Path("none")) -> Trial:
    return Trial(
        number=number, values={"enforcer.weight": weight}, seed=0, state=state, error="", steps=1, flops=1.0, seconds=1.0,
        verdict="genuine" if state == "complete" else "", metrics={"data/relative": error}, path=path,
    )  # fmt: skip


def test_results_show_the_best_setting_first_and_its_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "trials" / "0001")
    trials = (trial(0, 1.0, 0.5), trial(1, EVIL, 0.25, path=run.path), trial(2, 3.0, None, state="failed"))
    page = Results(trials=trials, keys=("enforcer.weight",), path=tmp_path)._repr_html_()
    looked_at(page)
    assert "3 trials: 2 complete, 1 failed" in page
    assert page.index("0.25") < page.index("0.5<")
    assert "So it is." in page
    many = tuple(trial(i, float(i), i / 100) for i in range(30))
    page = Results(trials=many, keys=("enforcer.weight",), path=tmp_path)._repr_html_()
    assert looked_at(page).count("tr") == 21
    assert "and 10 more settings" in page
    looked_at(Results(trials=(), keys=(), path=tmp_path)._repr_html_())


def test_a_run_shows_itself_without_torch(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    code = f"import idemlab, sys; idemlab.Run.open({str(run.path)!r})._repr_html_(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
