"""A study runs its sweeps, examines them, and leaves a record that tells everything."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest
import tomli_w
from matplotlib.figure import Figure

from idemlab import BadInput, Catalog, Claim, Findings, Material, Study, StudySpec, Sweep, installed, run_study
from idemlab.catalog import Provided
from idemlab.studying import markdown

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def catalog(tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """The installed plugins, and a study `mine` of two sweeps."""
    file = tmp_path / "tiny.toml"
    file.write_text(tomli_w.dumps(tiny(training__steps=3)))
    plan = Sweep(experiment=str(file), over={"optimizer.lr": [1e-3, 1e-2]}, seeds=2)
    small = Sweep(experiment=str(file), seeds=1)

    def examine(material: Material) -> Findings:
        material.say(f"sweeps: {', '.join(material.results)}")
        figure = Figure()
        figure.add_subplot().plot([0, 1], [len(result.trials) for result in material.results.values()][:1] * 2)
        table = pandas.concat([result.spread(["data/relative"]) for result in material.results.values()])
        claim = Claim(claim="a | b", paper="10x", ours="2x (1 to 3)", conclusion="Smaller.", holds=False)
        return Findings(
            claims=[claim],
            figures={"error-curve": figure},
            tables={"errors": table},
            captions={"error-curve": "The errors."},
            text="What was done.",
        )

    study = Study(examine=examine, sweeps={"rates": plan, "plain": small}, quick={"rates": small})
    found = copy.copy(installed())
    (plugin,) = [plugin for plugin in found.plugins if plugin.name == "registry"]
    offered = [
        Provided(StudySpec(name="mine", factory=lambda: study, summary="A study of a test."), plugin),
        Provided(StudySpec(name="wrong", factory=lambda: file, summary="No study."), plugin),
    ]
    monkeypatch.setattr(found, "_provided", found._provided | {"study": offered})
    return found


def test_a_record_tells_everything(catalog: Catalog, tmp_path: Path) -> None:
    out, said = tmp_path / "record", []
    findings = run_study("mine", out, say=said.append, catalog=catalog)
    assert [claim.claim for claim in findings.claims] == ["a | b"]
    assert "sweeps: rates, plain" in said
    page = (out / "README.md").read_text()
    assert "| a \\| b | 10x | 2x (1 to 3) | — | does not hold | Smaller. |" in page
    for text in (
        "A study of a test.",
        "idemlab study mine",
        "What was done.",
        "The errors.",
        "figures/error-curve.png",
    ):
        assert text in page
    assert "`sweeps/rates`: 4 trials, 0 failed" in page
    assert (out / "figures/error-curve.png").read_bytes()[:4] == b"\x89PNG"
    assert (out / "figures/error-curve.svg").read_text().startswith("<?xml")
    assert len(pandas.read_csv(out / "tables/errors.csv")) == 3
    content = json.loads((out / "claims.json").read_text())
    assert (content["study"], content["quick"], content["claims"][0]["holds"]) == ("mine", False, False)
    assert json.loads((out / "environment.json").read_text())["packages"]["torch"]
    assert len(list((out / "sweeps/rates/trials").iterdir())) == 4


def test_quick_runs_the_small_sweeps_and_says_so(catalog: Catalog, tmp_path: Path) -> None:
    run_study("mine", tmp_path / "record", quick=True, catalog=catalog)
    assert not (tmp_path / "record/sweeps/plain").exists()
    page = (tmp_path / "record/README.md").read_text()
    assert "idemlab study mine --quick" in page
    assert "small version" in page


def test_one_sweep_at_a_time(catalog: Catalog, tmp_path: Path) -> None:
    said: list[str] = []
    run_study("mine", tmp_path / "record", only=("plain",), say=said.append, catalog=catalog)
    assert "sweeps: plain" in said
    assert "Not run: `rates`." in (tmp_path / "record/README.md").read_text()
    with pytest.raises(BadInput, match="is not empty") as caught:
        run_study("mine", tmp_path / "record", only=("rates",), catalog=catalog)
    assert "--resume" in str(caught.value.next_step)
    run_study("mine", tmp_path / "record", only=("rates",), resume=True, say=said.append, catalog=catalog)
    assert "sweeps: rates, plain" in said
    assert "Not run" not in (tmp_path / "record/README.md").read_text()
    with pytest.raises(BadInput, match="has no sweep 'rate'"):
        run_study("mine", tmp_path / "record", only=("rate",), resume=True, catalog=catalog)


def test_a_factory_that_gives_no_study(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="returned PosixPath, not an idemlab"):
        run_study("wrong", tmp_path / "record", catalog=catalog)


def test_tables_in_markdown() -> None:
    table = pandas.DataFrame({"key": ["a", None], "value": [0.123456, float("nan")], "count": [3, 12000]})
    assert markdown(table).splitlines() == [
        "| key | value | count |",
        "|---|---|---|",
        "| a | 0.123 | 3 |",
        "| — | — | 12,000 |",
    ]
