"""What a run has reached, read from its folder; and how numbers and times are written for people."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from idemlab import Failure, Run
from idemlab.runs.summary import summarise
from idemlab.wording import clipped, number, shown, time_span


def folder(path: Path, entries: list[dict[str, Any]], **files: Any) -> Run:
    path.mkdir(exist_ok=True)
    (path / "experiment.toml").touch()
    (path / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    for name, content in files.items():
        (path / f"{name}.json").write_text(json.dumps(content))
    return Run(path)


def entry(step: int, seconds: float, split: str = "train", **values: float) -> dict[str, Any]:
    return {"step": step, "split": split} | values | {"time": {"seconds": seconds}}


def test_a_finished_run_shows_its_certificate(tmp_path: Path) -> None:
    one = {
        "relative": [0.05, 0.04],
        "absolute": [0.01, 0.009],
        "rank": 3,
        "trace": 3.1,
        "spread": 0.5,
        "input_spread": 1.0,
        "displacement": 0.5,
        "verdict": "genuine",
        "figures": {"error": 0.2},
        "dimension": 4,
        "thresholds": {},
        "spectra": [],
    }
    certificate = {"verdict": "genuine", "sentence": "It projects.", "steps": 10, "flops": 1e6, "inputs": {"data": one}}
    summary = summarise(folder(tmp_path / "run", [entry(10, 4.5)], certificate=certificate))
    assert summary.finished
    assert (summary.verdict, summary.sentence, summary.step, summary.steps) == ("genuine", "It projects.", 10, 10)
    assert (summary.flops, summary.seconds) == (1e6, 4.5)
    assert summary.values == {
        "data": {
            "relative": 0.05,
            "absolute": 0.01,
            "rank": 3,
            "trace": 3.1,
            "spread": 0.5,
            "input_spread": 1.0,
            "error": 0.2,
        }
    }


def test_an_unfinished_run_shows_its_last_evaluation(tmp_path: Path) -> None:
    entries = [
        entry(2, 1, "evaluation", **{"data/relative": 0.9, "noise/relative": 0.8}),
        entry(4, 2, "evaluation", **{"data/relative": 0.5, "noise/rank": 7}),
        entry(5, 3, loss=0.1),
    ]
    plan = {"plan": {"steps": 20, "flops_per_step": 100}, "packages": {}, "plugins": {}}
    summary = summarise(folder(tmp_path / "run", entries, environment=plan))
    assert not summary.finished
    assert summary.verdict is None
    assert summary.sentence == "Not finished: it reached step 5 of 20 (25 %)."
    assert (summary.step, summary.steps, summary.flops, summary.seconds) == (5, 20, 500, 3)
    assert summary.values == {"data": {"relative": 0.5}, "noise": {"rank": 7}}


def test_a_run_that_has_logged_nothing(tmp_path: Path) -> None:
    summary = summarise(folder(tmp_path / "run", []))
    assert summary.sentence == "Not finished: it reached step 0."
    assert (summary.step, summary.steps, summary.flops, summary.seconds) == (0, None, None, None)
    assert summary.values == {}


def test_time_adds_up_over_resumptions(tmp_path: Path) -> None:
    clock = [3.0, 7.0, 2.0, 5.0, 1.0]  # the clock starts anew twice
    run = folder(tmp_path / "run", [entry(step, seconds) for step, seconds in enumerate(clock)])
    assert summarise(run).seconds == 7 + 5 + 1


@pytest.mark.parametrize("name", ["certificate.json", "environment.json"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    run = folder(tmp_path / "run", [])
    (run.path / name).write_text("{")
    with pytest.raises(Failure, match="damaged") as caught:
        summarise(run)
    assert caught.value.where is not None
    assert caught.value.where.endswith(name)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        ("", "—"),
        ("cpu", "cpu"),
        (0, "0"),
        (12.0, "12"),
        (9999, "9999"),
        (672353, "672,353"),
        (-20000.0, "-20,000"),
        (0.08765, "0.0877"),
        (13.5, "13.5"),
        (1.0625e13, "1.06e13"),
        (1.5e-7, "1.5e-07"),
        (math.inf, "infinite"),
        (math.nan, "not a number"),
    ],
)
def test_numbers_for_people(value: float | str | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "—"),
        (0.1234, "0.123 s"),
        (59.2, "59.2 s"),
        (59.7, "1 min 0 s"),
        (298, "4 min 58 s"),
        (3600, "1 h 0 min"),
        (90061, "25 h 1 min"),
    ],
)
def test_times_for_people(seconds: float | None, text: str) -> None:
    assert time_span(seconds) == text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("größer", "größer"),
        ("a\nb\x1b[31m\udc80", "a\\nb\\x1b[31m\\udc80"),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 57 + "..."),
        ("\0" * 61, "\\x00" * 14 + "\\..."),
    ],
)
def test_text_from_outside_is_one_short_line(text: str, line: str) -> None:
    assert clipped(text) == line
    assert len(line) <= 60


def test_values_from_outside_are_shown_whatever_they_are() -> None:
    circle: list[Any] = []
    circle.append(circle)
    assert shown({"a": [1, 2.5, None]}) == '{"a": [1, 2.5, null]}'
    assert shown(circle) == shown(circle) == "a list"
    assert shown({(1, 2): 3}) == "a dict"
    assert shown(10**5000) == "an int"
