"""What a record claims follows from the tables that it keeps, by the code that is here now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from idemlab import Material, installed, open_sweep
from idemlab.studies.record import tables_in
from idemlab.studies.study import find_study
from idemlab_registry.verdict import RECORDS

WITH_SWEEPS = sorted(path.parent for path in RECORDS.glob("*/sweeps"))
FROM_TABLES = ("learning-rates", "generation", "dominance")
"""Studies whose claims need the tables of their sweeps only, and no run."""


@pytest.mark.parametrize("record", WITH_SWEEPS, ids=lambda path: path.name)
def test_every_trial_of_a_record_is_read(record: Path) -> None:
    content = json.loads((record / "claims.json").read_text(encoding="utf-8"))
    there = {path.name for path in (record / "sweeps").iterdir()}
    assert there.isdisjoint(content["not_run"])
    for name in there:
        results = open_sweep(record / "sweeps" / name)
        assert results.trials
        assert {trial.state for trial in results.trials} <= {"complete", "failed", "pruned"}


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(path, marks=pytest.mark.long if "learning-rates" in path.name else ())
        for path in WITH_SWEEPS
        if path.name.partition("_")[2] in FROM_TABLES
    ],
    ids=lambda path: path.name,
)
def test_the_claims_of_a_record_are_those_of_its_tables(record: Path) -> None:
    content = json.loads((record / "claims.json").read_text(encoding="utf-8"))
    _, study = find_study(content["study"], installed())
    results = {
        name: open_sweep(record / "sweeps" / name)
        for name in study.sweeps
        if (record / "sweeps" / name / "sweep.toml").is_file()
    }
    findings = study.examine(Material(results, content["quick"], lambda text: None, tables_in(record)))
    assert [vars(claim) for claim in findings.claims] == content["claims"]
    assert findings.text == content["text"]
    for name, table in findings.tables.items():
        assert table.to_csv(index=False) == (record / "tables" / f"{name}.csv").read_text(encoding="utf-8")
