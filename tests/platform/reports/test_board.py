"""The board: every run, sweep and study has a row, damaged ones too, and hundreds fit into seconds and megabytes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from idemlab import BadInput, Failure, board
from idemlab.reports import thumbnails
from idemlab.reports.inventory import inventory
from idemlab.system import lock

EVIL = "<script>alert('1' & \"2\")</script>"
EXPERIMENT = """# {name}, resolved: every default is written out.
summary = "A run."
[dataset]
name = "digits"
[model]
name = "mlp"
[enforcer]
name = "{enforcer}"
[training]
seed = {seed}
"""


class Rows(HTMLParser):
    """The rows of a board: attributes of each <tr>, its cells as text, its links and its pictures."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.rows: list[dict[str, Any]] = []
        self.tags: list[str] = []
        self.page = path.read_text(encoding="utf-8")
        self.feed(self.page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        if tag == "tr" and "data-kind" in found:
            self.rows.append({"text": "", "links": [], "pictures": 0, **found})
        elif self.rows and tag == "a":
            self.rows[-1]["links"].append(found["href"])
        elif self.rows and tag == "img":
            self.rows[-1]["pictures"] += 1

    def handle_data(self, data: str) -> None:
        if self.rows:
            self.rows[-1]["text"] += data

    def of(self, name: str) -> dict[str, Any]:
        (row,) = [row for row in self.rows if json.loads(row["data-order"])["name"] == name]
        return row

    def values(self, name: str, at: str = "") -> dict[str, list[Any]]:
        values: dict[str, list[Any]] = json.loads(self.of(name)["data-values"])[at]
        return values


def inputs(relative: float | str, **changes: Any) -> dict[str, Any]:
    """One set of inputs of certificate.json."""
    return {
        "relative": [relative, 0.01], "absolute": [0.02, 0.01], "spread": 0.4, "input_spread": 0.5, "dimension": 784,
        "rank": 31.5, "trace": 28.8, "thresholds": {}, "spectra": [], "figures": {},
    } | changes  # fmt: skip


def certificate(verdict: str = "genuine", **named: dict[str, Any]) -> dict[str, Any]:
    measured = named or {"data": inputs(0.03), "noise": inputs(0.05)}
    return {"verdict": verdict, "sentence": "It projects.", "steps": 100, "flops": 1e9, "inputs": measured}


def make_run(folder: Path, *, enforcer: str = "relative", seed: int = 3, **content: Any) -> Path:
    """A finished run as training leaves it, without an operator."""
    folder.mkdir(parents=True)
    (folder / "experiment.toml").write_text(EXPERIMENT.format(name="digits-projector", enforcer=enforcer, seed=seed))
    (folder / "environment.json").write_text(json.dumps({"plan": {"steps": 100, "flops_per_step": 1e7}}))
    (folder / "certificate.json").write_text(json.dumps(certificate(**content)))
    lines = [
        {"step": step, "split": "evaluation", "data/relative": 5 / step, "noise/relative": 9 / step}
        for step in range(10, 101, 10)
    ]
    timed = [json.dumps(line | {"time": {"seconds": 1.0}}) for line in lines]
    (folder / "metrics.jsonl").write_text("\n".join(timed))
    (folder / "report.html").write_text("a report")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Runs in every state, a sweep with trials, a record of a study, and damage of several kinds."""
    root = tmp_path / "mine"
    make_run(root / "runs" / "good")
    make_run(root / "runs" / "flat", verdict="constant", data=inputs("Infinity", rank=None))
    (make_run(root / "runs" / "begun") / "certificate.json").unlink()
    (make_run(root / "runs" / "torn") / "certificate.json").write_text('{"verdict"')
    (make_run(root / "runs" / "cut") / "experiment.toml").write_text("summary = ")
    sweep = root / "sweeps" / "rate"
    sweep.mkdir(parents=True)
    over = '[sweep]\nexperiment = "mlp-cubic"\n[sweep.over]\n"optimizer.lr" = [0.1, 1.0]\n[first.model]\nname = "mlp"\n'
    (sweep / "sweep.toml").write_text(over)
    (sweep / "table.csv").write_text(
        "trial,optimizer.lr,seed,state,verdict,error,data/relative,noise/relative,noise/rank\n"
        "0,0.1,0,complete,genuine,,0.02,0.07,4\n1,1.0,0,complete,constant,,0.001,0.002,0\n2,9.0,0,failed,,it diverged,,,\n"
    )
    make_run(sweep / "trials" / "0000")
    (make_run(sweep / "trials" / "0002") / "certificate.json").unlink()
    study = root / "studies" / "basin"
    study.mkdir(parents=True)
    (study / "README.md").write_text("# basin")
    claims = {"study": "basin", "summary": "A study.", "quick": False, "claims": [{"holds": True}, {"holds": None}]}
    (study / "claims.json").write_text(json.dumps(claims))
    return root


def test_everything_has_a_row(folder: Path) -> None:
    made = board(folder)
    assert made.path == folder / "board.html"
    assert made.counts == {"run": 5, "sweep": 1, "trial": 2, "study": 1}
    assert made.counted == "5 runs, 1 study, 1 sweep and 2 trials"
    assert made.damaged == 2
    rows = Rows(made.path)
    states = {json.loads(row["data-order"])["name"]: (row["data-state"], row["data-verdict"]) for row in rows.rows}
    assert states == {
        "runs/good": ("finished", "genuine"),
        "runs/flat": ("finished", "constant"),
        "runs/begun": ("not finished", ""),
        "runs/torn": ("damaged", ""),
        "runs/cut": ("damaged", "genuine"),
        "sweeps/rate": ("finished", ""),
        "sweeps/rate/trials/0000": ("finished", "genuine"),
        "sweeps/rate/trials/0002": ("failed", ""),
        "studies/basin": ("finished", ""),
    }
    good = rows.of("runs/good")
    assert good["links"] == ["./runs/good/report.html"]
    assert good["data-experiment"] == "digits-projector"
    assert "digits · mlp · relative" in good["text"]
    assert json.loads(good["data-order"])["seed"] == 3
    assert "it reached step 100 of 100" in rows.of("runs/begun")["text"]
    assert "certificate.json is damaged" in rows.of("runs/torn")["text"]
    assert "experiment.toml is damaged" in rows.of("runs/cut")["text"]
    assert "it diverged" in rows.of("sweeps/rate/trials/0002")["text"]
    assert "optimizer.lr = 0.1" in rows.of("sweeps/rate/trials/0000")["text"]
    assert "3 trials: 1 genuine, 1 constant and 1 failed. It tries optimizer.lr." in rows.of("sweeps/rate")["text"]
    assert rows.of("studies/basin")["links"] == ["./studies/basin/README.md"]
    assert "1 hold and 1 open" in rows.of("studies/basin")["text"]


def test_values_are_those_at_the_worst_inputs_or_at_the_chosen_ones(folder: Path) -> None:
    rows = Rows(board(folder).path)
    assert rows.values("runs/good")["relative"] == [0.05, "0.05", "at noise"]
    assert rows.values("runs/good", "data") == {
        "relative": [0.03, "0.03", ""],
        "absolute": [0.02, "0.02", ""],
        "spread": [0.4, "0.4", "80 % of x's"],
        "rank": [31.5, "31.5 of 784", ""],
    }
    assert rows.values("runs/flat")["relative"][:2] == [1e300, "infinite"]
    assert rows.values("runs/flat")["rank"][:2] == [None, ""]
    assert rows.values("sweeps/rate")["relative"][1:] == [
        "0.07",
        "at noise",
    ]  # of its genuine trial, not of its constant
    assert rows.values("runs/begun")["relative"][1] == "0.09"


def test_a_run_that_is_being_written_is_running(folder: Path) -> None:
    with lock.exclusive(folder / "runs" / "begun"):
        rows = Rows(board(folder).path)
    assert rows.of("runs/begun")["data-state"] == "running"
    assert "Running: it has reached step 100" in rows.of("runs/begun")["text"]


def test_it_runs_its_own_script_only_and_asks_nothing_of_the_network(folder: Path) -> None:
    page = Rows(board(folder).path).page
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-" in page.replace(
        "&#39;", "'"
    )
    assert not re.search(r"(?:https?:)?//[a-z]|@import|url\(|\son\w+=", page.replace("http://www.w3.org", ""))
    assert page.count("<script") == 1


def test_what_people_wrote_is_text(folder: Path) -> None:
    run = make_run(folder / "runs" / "javascript:alert(1)" / "'\"><img src=x onerror=y>", data=inputs(0.5))
    hostile = certificate(EVIL, **{f"{EVIL}": inputs(0.1), "'\"></td>": inputs(0.2)}) | {"sentence": EVIL}
    (run / "certificate.json").write_text(json.dumps(hostile))
    (run / "experiment.toml").write_text(
        f"# {EVIL}, resolved: x\n[dataset]\nname = '''{EVIL}'''\n[model]\nname = 3\n[training]\nseed = 'none'\n"
    )
    (folder / "sweeps" / "rate" / "sweep.toml").write_text(f"sweep = 3\nfirst = '''{EVIL}'''")
    (folder / "studies" / "basin" / "claims.json").write_text(json.dumps({"study": EVIL, "claims": 3}))
    rows = Rows(board(folder).path)
    assert rows.tags.count("script") == 1
    assert "img" not in rows.tags
    (row,) = [row for row in rows.rows if EVIL in row["data-verdict"]]
    assert all(link.startswith("./runs/javascript%3Aalert") for link in row["links"])
    assert row["text"].count(EVIL) >= 3


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("certificate.json", b"\xff\xfe"),
        ("certificate.json", b'{"verdict": 3, "inputs": []}'),
        ("experiment.toml", b"\xff"),
        ("environment.json", b"[]"),
        ("metrics.jsonl", b'\xff\n{"split": "evaluation"}\n["evaluation"]\n'),
        ("figures/thumbnail.png", b"\x89PNG\r\n\x1a\n and no more"),
    ],
)
def test_no_damage_stops_it(folder: Path, file: str, content: bytes) -> None:
    run = folder / "runs" / "begun"
    (run / "figures").mkdir()
    if file == "certificate.json":
        (run / file).touch()
    (run / file).write_bytes(content)
    rows = Rows(board(folder).path)
    assert rows.of("runs/begun")["data-state"] == ("damaged" if file.endswith(("json", "toml")) else "not finished")
    assert ("Pictures that cannot be read are left out: runs/begun." in rows.page) == file.endswith("png")


@pytest.mark.parametrize("table", ["", "trial\n", "\0", "trial,state\n0\n", 'trial,"state\n', "a,b\n1,2,3\n"])
def test_no_table_of_a_sweep_stops_it(folder: Path, table: str) -> None:
    (folder / "sweeps" / "rate" / "table.csv").write_text(table)
    assert Rows(board(folder).path).of("sweeps/rate")


def test_links_are_followed_once_and_hidden_folders_are_not_read(folder: Path) -> None:
    before = board(folder).counts
    make_run(folder / ".trash" / "old")
    (folder / "again").symlink_to(folder / "runs")
    (folder / "runs" / "above").symlink_to(folder)
    (folder / "nowhere").symlink_to(folder / "gone")
    assert board(folder).counts == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_has_a_row(folder: Path) -> None:
    (folder / "runs").chmod(0)
    try:
        assert "The folder cannot be read" in Rows(board(folder).path).of("runs")["text"]
    finally:
        (folder / "runs").chmod(0o755)


def test_links_lead_from_the_page_to_the_reports(folder: Path, tmp_path: Path) -> None:
    rows = Rows(board(folder / "runs", tmp_path / "pages" / "all.html").path)
    assert rows.of("good")["links"] == ["./../mine/runs/good/report.html"]


def test_bad_calls(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        board(tmp_path / "nothing")
    with pytest.raises(BadInput, match="is not a folder"):
        board(folder / "runs" / "good" / "report.html")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="there is no run, sweep or study below"):
        board(tmp_path / "empty")
    assert list((tmp_path / "empty").iterdir()) == []
    with pytest.raises(BadInput, match="not a file name for a page"):
        board(folder, tmp_path / "board.txt")
    (tmp_path / "file").touch()
    with pytest.raises(Failure, match="the board cannot be written"):
        board(folder, tmp_path / "file" / "board.html")


# -- pictures -----------------------------------------------------------------------------------------------------------


def save(path: Path, pixels: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path)
    return path


def test_a_small_picture_stays_as_it_is_and_a_large_one_is_shrunk(tmp_path: Path) -> None:
    small = thumbnails.thumbnail(save(tmp_path / "small.png", np.zeros((80, 90, 3))))
    assert small is not None
    assert small.source.startswith("data:image/png")
    noise = np.random.default_rng(0).integers(0, 255, (700, 1200, 3))
    large = thumbnails.thumbnail(save(tmp_path / "large.png", noise))
    assert large is not None
    assert large.source.startswith("data:image/jpeg")
    assert len(large.source) < 100_000
    assert not large.white
    drawing = np.full((700, 1200, 3), 255)
    drawing[::40] = 0
    drawn = thumbnails.thumbnail(save(tmp_path / "drawing.png", drawing))
    assert drawn is not None
    assert drawn.white


def test_pictures_stop_before_the_page_is_large(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("good", "flat"):
        save(folder / "runs" / name / "figures" / "thumbnail.png", np.zeros((80, 90, 3)))
    rows = Rows(board(folder).path)
    assert (rows.of("runs/good")["pictures"], rows.of("runs/flat")["pictures"]) == (1, 1)
    monkeypatch.setattr("idemlab.reports.board.PICTURES", 300)
    rows = Rows(board(folder).path)
    assert sum(row["pictures"] for row in rows.rows) == 1
    assert "1 picture is left out" in rows.page


def test_curves_stay_inside_and_are_thinned() -> None:
    svg = thumbnails.curve_svg([(0, [(step, 1e9 if step % 2 else 0.0) for step in range(1, 1000)]), (1, [(5, 0.1)])])
    (points,) = [found.split() for found in re.findall(r'points="([^"]*)"', svg) if " " in found]
    assert len(points) <= 64
    assert all(0 <= float(x) <= 120 and 0 <= float(y) <= 40 for x, y in (point.split(",") for point in points))
    assert thumbnails.curve_svg([]) == thumbnails.trials_svg([(None, "genuine")]) == ""
    assert thumbnails.trials_svg([(0.1, "genuine")] * 1000).count("<circle") <= 300


# -- size ---------------------------------------------------------------------------------------------------------------

RUNS = 500


def slowness() -> float:
    """How much longer a plain loop takes here and now than on an idle machine of 2020, and at least 1."""
    start = time.process_time()
    sum(i * i for i in range(2_000_000))
    return max(1.0, (time.process_time() - start) / 0.15)


@pytest.mark.long
def test_hundreds_of_runs_take_seconds_and_megabytes(tmp_path: Path) -> None:
    """In a new process, with imports. Certificates of a megabyte, as operators on images have; pictures of both kinds."""
    rng = np.random.default_rng(0)
    first, old = make_run(tmp_path / "runs" / "new-000"), make_run(tmp_path / "runs" / "old-000")
    spectra = [
        {"exact": True, "singular_values": list(rng.random(784)), "eigenvalue_moduli": list(rng.random(784))}
        for _ in range(8)
    ]
    one = inputs(0.05, spectra=spectra)
    for run in (first, old):
        (run / "certificate.json").write_text(json.dumps(certificate(data=one, noise=one, corrupted=one), indent=1))
    save(first / "figures" / "thumbnail.png", rng.integers(0, 255, (88, 178)))
    save(old / "figures" / "hero.png", rng.integers(0, 255, (20, 100, 3)).repeat(12, 0).repeat(12, 1))
    for number in range(1, RUNS - 50):
        shutil.copytree(first, tmp_path / "runs" / f"new-{number:03}", copy_function=os.link)
    for number in range(1, 50):
        shutil.copytree(old, tmp_path / "runs" / f"old-{number:03}", copy_function=os.link)
    code = f"import sys, idemlab; idemlab.board({str(tmp_path)!r}); assert 'torch' not in sys.modules"
    before = os.times()
    subprocess.run([sys.executable, "-c", code], check=True)
    after = os.times()
    taken = after.children_user + after.children_system - before.children_user - before.children_system
    page = tmp_path / "board.html"
    rows = Rows(page).rows
    assert (len(rows), sum(row["pictures"] for row in rows)) == (RUNS, RUNS)
    assert page.stat().st_size < 20e6
    assert taken < 5 * slowness(), f"{taken:.1f} s"


def test_each_is_found_once_in_the_order_of_the_names(folder: Path) -> None:
    paths = [one.path.relative_to(folder).as_posix() for one in inventory(folder)]
    assert paths == sorted(paths)
    assert len(set(paths)) == len(paths)
