"""What stands in files is text in the pages made of them, never markup."""

from __future__ import annotations

import json
import tomllib
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas
import pytest
import tomli_w
from markdown_it import MarkdownIt
from matplotlib.figure import Figure

from idemlab import Claim, Findings, Sweep, run_sweep, train, write_report
from idemlab.catalog.catalog import installed
from idemlab.studies.record import _write_record, claims_table, markdown

EVIL = "<script>alert('1' & \"2\")</script><img src=x onerror=alert(3)> {{ 7 * 7 }} {% x %}"
SCRIPTS = {path.read_text().strip() for path in (files("idemlab") / "templates").iterdir() if path.name.endswith(".js")}
BREAKOUT = "\" onload='alert(4)' x=\"</code></pre></title></style><svg/onload=alert(5)>"


class Tags(HTMLParser):
    """The tags and attributes of a page, and its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.scripts: set[str] = set()
        self.script = False
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.script = tag == "script"

    def handle_data(self, data: str) -> None:
        if self.script:
            self.scripts.add(data)
            self.script = False
        else:
            self.text += data


def is_harmless(page: Tags) -> bool:
    """Whether there is nothing in a page that runs code or loads anything."""
    handlers = {name for name in page.attributes if name.startswith("on")}
    own = page.scripts <= SCRIPTS  # a page's own script, which its policy names
    return (
        own and not handlers and not page.tags & {"iframe", "object", "embed", "base", "form", "input", "foreignobject"}
    )


@pytest.fixture
def run(tiny: dict[str, Any], tmp_path: Path, unplotted: None) -> Path:
    """A finished run; its pictures are not drawn, which takes long."""
    tiny["summary"] = EVIL + BREAKOUT
    return train(tiny, tmp_path / "<script>alert(0)<" / "'\"><img src=x onerror=alert(1)>").path


def test_the_summary_and_the_folder_of_a_run(run: Path) -> None:
    page = Tags(write_report(run).read_text(encoding="utf-8"))
    assert is_harmless(page)
    assert "img" not in page.tags or "alert" not in "".join(page.attributes)
    assert EVIL + BREAKOUT in page.text
    assert run.name in page.text


def test_every_text_in_the_files_of_a_stranger_s_run(run: Path) -> None:
    """Names, sentences, versions and metrics, in all of which a stranger can write anything; a verdict is one of four."""
    certificate = json.loads((run / "certificate.json").read_text())
    one = certificate["inputs"]["data"]
    one |= {"verdict": EVIL, "figures": {EVIL: 0.5, BREAKOUT: 1}, "thresholds": {EVIL: 1, BREAKOUT: 2}}
    hostile = {"sentence": EVIL + BREAKOUT, "inputs": {EVIL: one, BREAKOUT: one}}
    (run / "certificate.json").write_text(json.dumps(certificate | hostile))
    environment = {"python": EVIL, EVIL: BREAKOUT, "packages": {EVIL: BREAKOUT}, "plugins": {BREAKOUT: EVIL}}
    environment |= {"plan": {"parameters": 3, "steps": 5, "flops_per_step": 7}}
    (run / "environment.json").write_text(json.dumps(environment))
    (run / "experiment.toml").write_text(f'summary = """{EVIL}"""\n# {BREAKOUT}\n[model]\nname = """{BREAKOUT} """\n')
    page = Tags(write_report(run).read_text(encoding="utf-8"))
    assert is_harmless(page)
    assert "img" not in page.tags or page.attributes.isdisjoint({"onerror", "onload"})
    for text in (EVIL, BREAKOUT):
        assert page.text.count(text) >= 5


def test_the_names_in_a_run_that_is_not_finished(run: Path) -> None:
    (run / "certificate.json").unlink()
    entry = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    entry = {key.replace("data", EVIL.replace("/", "")): value for key, value in entry.items()}
    (run / "metrics.jsonl").write_text(json.dumps(entry) + "\n")
    page = Tags(write_report(run).read_text(encoding="utf-8"))
    assert is_harmless(page)
    assert EVIL.replace("/", "") in page.text


# -- records ----------------------------------------------------------------------------------------------------------------

CLAIM = Claim(claim=f"{EVIL} | b", paper=BREAKOUT, ours="<!-- a", conclusion="</td>\n\n<script>", holds=True)


def rendered(text: str) -> Tags:
    """Markdown as a page, by a renderer that lets HTML through."""
    return Tags(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))


def test_claims_are_text() -> None:
    page = rendered(claims_table([CLAIM]))
    assert page.tags == {"table", "thead", "tbody", "tr", "th", "td"}
    assert EVIL.replace("\\", "") in page.text
    assert "| b" in page.text
    assert "<!-- a" in page.text


def test_tables_of_records_are_text() -> None:
    table = pandas.DataFrame({EVIL: [BREAKOUT, "a | b"], "error <x>": ["<SCRIPT>", "</table>"], "n": [1.0, 2.0]})
    text = markdown(table)
    page = rendered(text)
    assert page.tags == {"table", "thead", "tbody", "tr", "th", "td"}
    assert all(part in page.text for part in (EVIL, BREAKOUT, "a | b", "<SCRIPT>", "</table>"))
    assert len(text.splitlines()) == 4


def test_a_plain_less_than_stays_readable() -> None:
    assert "| p < 0.01, x <= 2, <3 |" in markdown(pandas.DataFrame({"a": ["p < 0.01, x <= 2, <3"]}))


def test_a_record_s_page_and_figures_are_text(tmp_path: Path) -> None:
    figure = Figure()
    axes = figure.add_subplot()
    axes.plot([0, 1], label=EVIL.replace("_", ""))
    axes.set_title(BREAKOUT)
    axes.legend()
    findings = Findings(
        claims=[CLAIM],
        figures={"one": figure},
        tables={"two": pandas.DataFrame({EVIL: [BREAKOUT]})},
        captions={},
        text="",
    )
    heading = {
        "study": "mine",
        "summary": "A study.",
        "reference": "",
        "quick": True,
        "not_run": [EVIL],
    }
    made_in = {"environment.json": [EVIL], "environment-further.json": [EVIL]}
    _write_record(tmp_path, heading, findings, {}, made_in, [], installed())
    page = rendered((tmp_path / "README.md").read_text(encoding="utf-8"))
    assert is_harmless(page)
    tree = ElementTree.parse(tmp_path / "figures" / "one.svg")
    tags = {element.tag.rpartition("}")[2] for element in tree.iter()}
    assert "script" not in tags
    assert "img" not in tags
    assert not any(name.startswith("on") for element in tree.iter() for name in element.keys())  # noqa: SIM118


def test_values_that_a_sweep_tries_stay_values(tiny: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(tomli_w.dumps(tiny | {"training": {"steps": 1, "batch_size": 16}}))
    texts = ["<script>'|\"", '"""\n[first]\nx = 1', "$\\bad{$"]  # the last is no formula that matplotlib can read
    results = run_sweep(Sweep(experiment=str(file), over={"summary": texts}), tmp_path / "sweep")
    assert tomllib.loads((tmp_path / "sweep" / "sweep.toml").read_text())["sweep"]["over"]["summary"] == texts
    assert sorted(results.table["summary"]) == sorted(texts)
    assert sorted(pandas.read_csv(tmp_path / "sweep" / "table.csv")["summary"]) == sorted(texts)
