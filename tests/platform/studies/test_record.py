"""A study runs its sweeps, examines them, and leaves a record that tells everything."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest
import tomli_w
from matplotlib.figure import Figure

from idemlab import (
    BadInput,
    Catalog,
    Claim,
    Failure,
    Findings,
    Interrupted,
    Material,
    Study,
    StudySpec,
    Sweep,
    installed,
    open_sweep,
    run_study,
    run_sweep,
    sweep_status,
)
from idemlab.catalog.named import Named
from idemlab.catalog.provided import Provided
from idemlab.studies.environments import environments_of, note_environment
from idemlab.studies.record import _check_folder, markdown, tables_in
from idemlab.sweeps.results import Results, Trial, read_table, write_table
from idemlab.system.lock import exclusive

Make = Callable[..., dict[str, Any]]
pytestmark = pytest.mark.long


@pytest.fixture
def catalog(tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """The installed plugins, and a study `mine` of two sweeps."""
    file = tmp_path / "tiny.toml"
    file.write_text(tomli_w.dumps(tiny(training__steps=3)))
    plan = Sweep(experiment=str(file), over={"optimizer.lr": [1e-3, 1e-2]}, seeds=2)
    small = Sweep(experiment=str(file), seeds=1)

    def examine(material: Material) -> Findings:
        material.say(f"sweeps: {', '.join(material.results)}")
        material.say(f"kept: {material.kept}")
        figure = Figure()
        figure.add_subplot().plot([0, 1], [len(result.trials) for result in material.results.values()][:1] * 2)
        table = pandas.concat([result.ranges(["data/relative"]) for result in material.results.values()])
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


def test_a_record_that_was_written_in_part_is_continued(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    pandas.DataFrame().to_csv(tmp_path / "tables/empty.csv", index=False)
    pandas.DataFrame([{"a": 0.1}]).to_csv(tmp_path / "tables/one.csv", index=False)
    _check_folder(tmp_path, "rank", resume=True)
    tables = tables_in(tmp_path)
    assert tables["empty"].empty
    assert tables["one"].to_dict("list") == {"a": ["0.1"]}


def test_quick_runs_the_small_sweeps_and_says_so(catalog: Catalog, tmp_path: Path) -> None:
    run_study("mine", tmp_path / "record", quick=True, catalog=catalog)
    assert not (tmp_path / "record/sweeps/plain").exists()
    page = (tmp_path / "record/README.md").read_text()
    assert "idemlab study mine --quick" in page
    assert "small version" in page


def test_one_sweep_at_a_time(catalog: Catalog, tmp_path: Path) -> None:
    said: list[str] = []
    run_study("mine", tmp_path / "record", only=("plain",), resume=True, say=said.append, catalog=catalog)
    assert "nothing to resume" in said[0]
    assert "sweeps: plain" in said
    assert "Not run: `rates`." in (tmp_path / "record/README.md").read_text()
    with pytest.raises(BadInput, match="is not empty") as caught:
        run_study("mine", tmp_path / "record", only=("rates",), catalog=catalog)
    assert "`resume`" in str(caught.value.next_step)
    with pytest.raises(BadInput, match="holds the record of study 'mine', not of 'rank'"):
        _check_folder(tmp_path / "record", "rank", resume=True)
    with pytest.raises(BadInput, match="holds no study"):
        run_study("mine", tmp_path / "record/tables", resume=True, catalog=catalog)
    with pytest.raises(BadInput, match="is a file"):
        run_study("mine", tmp_path / "record/README.md", catalog=catalog)
    run_study("mine", tmp_path / "record", only=("rates",), resume=True, say=said.append, catalog=catalog)
    assert "sweeps: rates, plain" in said
    assert said[-1].startswith("kept: {'errors':")
    assert "Not run" not in (tmp_path / "record/README.md").read_text()
    (tmp_path / "record/tables/errors.csv").write_bytes(b"a\n1,2\n1,2,3\n")
    with pytest.raises(BadInput, match=r"errors\.csv") as caught:
        run_study("mine", tmp_path / "record", only=("rates",), resume=True, catalog=catalog)
    assert "restore it, or remove it" in str(caught.value.next_step)
    with pytest.raises(BadInput, match="has no sweep 'rate'") as unknown:
        run_study("mine", tmp_path / "record", only=("rate",), resume=True, catalog=catalog)
    assert unknown.value.nearest == "rates"


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


# -- a record, which keeps tables but neither storage nor runs --------------------------------------------------------------


def strip(record: Path) -> None:
    """Leave of its sweeps what a record keeps."""
    for folder in (record / "sweeps").iterdir():
        for path in folder.iterdir():
            if path.name not in ("sweep.toml", "table.csv", "ranges.csv"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_a_record_is_read_as_its_runs_were(catalog: Catalog, tmp_path: Path) -> None:
    run_study("mine", tmp_path / "record", catalog=catalog)
    folder = tmp_path / "record" / "sweeps" / "rates"
    whole = open_sweep(folder)
    strip(tmp_path / "record")
    assert open_sweep(folder) == whole
    assert {path.name for path in folder.iterdir()} == {"sweep.toml", "table.csv", "ranges.csv"}  # and nothing is made


def test_all_kinds_of_values_and_failed_trials_are_read_from_a_table(tiny: Make, tmp_path: Path) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(tomli_w.dumps(tiny(training__steps=2)))
    over = {
        "enforcer.name": ["gradient", "relative"],
        "optimizer": [{"name": "sgd", "lr": 1e30}, {"name": "adamw", "lr": 1e-3, "betas": [0.5, 0.9], "amsgrad": True}],
        "model.residual": [True, False],
    }
    whole = run_sweep(Sweep(experiment=str(file), over=over), tmp_path / "record" / "sweeps" / "mine")
    assert {trial.state for trial in whole.trials} == {"complete", "failed"}
    strip(tmp_path / "record")
    assert open_sweep(whole.path) == whole


def test_a_record_is_examined_again_with_the_sweeps_it_lacks(catalog: Catalog, tmp_path: Path) -> None:
    out = tmp_path / "record"
    run_study("mine", out, only=("rates",), catalog=catalog)
    assert "Not run: `plain`" in (out / "README.md").read_text()
    strip(out)
    kept = (out / "sweeps/rates/table.csv").read_bytes()
    said: list[str] = []
    run_study("mine", out, resume=True, say=said.append, catalog=catalog)
    assert said[:2] == ["sweep rates: kept from the record", "sweep plain"]
    assert "Not run" not in (out / "README.md").read_text()
    assert (out / "sweeps/rates/table.csv").read_bytes() == kept
    assert len(pandas.read_csv(out / "tables/errors.csv")) == 3


def test_what_was_measured_and_is_no_number_is_told_from_what_was_not_measured(tmp_path: Path) -> None:
    figures = [{"a/x": 0.5, "b/x": None}, {"a/x": 0.1}, {"a/x": 2.0, "b/x": 1.0}]
    trials = tuple(
        Trial(
            number=i, values={"k": i + 1, "optimizer.lr": 10.0**-i}, seed=0, state="complete", error="", verdict="genuine",
            metrics=dict(own), steps=5 if i else None, flops=7, seconds=0.5, path=tmp_path / "trials" / f"{i:04}",
        )
        for i, own in enumerate(figures)
    )  # fmt: skip
    whole = Results(trials, ("k", "optimizer.lr"), tmp_path)
    write_table(whole)
    assert tuple(read_table(tmp_path, {"k": [1, 2, 3], "optimizer.lr": []})) == trials
    assert pandas.read_csv(tmp_path / "table.csv")["b/x"].isna().tolist() == [True, True, False]


def test_the_status_of_a_record_tells_its_trials_and_leaves_it_as_it_is(catalog: Catalog, tmp_path: Path) -> None:
    run_study("mine", tmp_path / "record", catalog=catalog)
    strip(tmp_path / "record")
    folder = tmp_path / "record/sweeps/rates"
    before = sorted(path.name for path in folder.iterdir())
    assert sweep_status(folder).counts == {"complete": 4, "failed": 0, "pruned": 0, "running": 0, "waiting": 0}
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_record_of_another_sweep_or_size_is_not_gone_on_with(catalog: Catalog, tmp_path: Path) -> None:
    out = tmp_path / "record"
    run_study("mine", out, catalog=catalog)
    strip(out)
    with pytest.raises(BadInput, match="holds the whole version"):
        run_study("mine", out, quick=True, resume=True, catalog=catalog)
    made = Named("mine", catalog.find("study", "mine")).build()
    rates = made.sweeps["rates"]
    made.sweeps["rates"] = replace(rates, seeds=3)
    said: list[str] = []
    run_study("mine", out, resume=True, say=said.append, catalog=catalog)
    assert "Not run: `rates (2 of 6 trials)`" in (out / "README.md").read_text()
    made.sweeps["rates"] = replace(rates, over={"optimizer.lr": [1e-3, 1e-1]})
    with pytest.raises(BadInput, match=r"the sweep differs from the one in .*: over"):
        run_study("mine", out, resume=True, catalog=catalog)
    made.sweeps["rates"] = replace(rates, set={"enforcer.weight": 2.0})
    with pytest.raises(BadInput, match=r"the sweep differs from the one in .*: enforcer\.weight"):
        run_study("mine", out, resume=True, catalog=catalog)


def test_a_record_says_in_which_environment_each_sweep_ran(catalog: Catalog, tmp_path: Path) -> None:
    out = tmp_path / "record"
    run_study("mine", out, only=("rates",), catalog=catalog)
    file, further = out / "environment.json", out / "environment-further.json"

    def somewhere_else() -> None:
        file.write_text(file.read_text().replace('"cpu"', '"an abacus"'))

    def told() -> str:
        return (out / "README.md").read_text().partition("## Environment")[2]

    somewhere_else()
    run_study("mine", out, only=("rates",), resume=True, catalog=catalog)
    assert "an abacus" in told(), "nothing has run since"
    strip(out)
    run_study("mine", out, resume=True, catalog=catalog)
    first, second = (text for text in told().split("\n\n") if text.strip())
    assert "an abacus" in first
    assert first.endswith("Sweep that ran here: `rates`.")
    assert " cpu, " in second
    assert second.strip().endswith("Sweep that ran here: `plain`.")
    assert '"cpu"' in further.read_text()
    further.write_text(further.read_text().replace('"cpu"', '"a slide rule"'))
    strip(out)
    page = told().replace(" cpu, ", " a slide rule, ")
    run_study("mine", out, resume=True, catalog=catalog)  # a finished record: all is kept, and nothing runs
    assert told() == page
    assert sorted(path.name for path in out.glob("environment*")) == [further.name, file.name]


def test_an_older_record_lists_the_sweeps_of_its_first_environment(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "sweeps" / name).mkdir(parents=True)
        (tmp_path / "sweeps" / name / "sweep.toml").touch()
    assert environments_of(tmp_path) == {}
    (tmp_path / "claims.json").write_text(json.dumps({"kept": []}))
    assert environments_of(tmp_path) == {"environment.json": ["a", "b"]}
    (tmp_path / "claims.json").write_text(json.dumps({"kept": ["a"]}))
    (tmp_path / "environment-further.json").write_text("{}")
    before = environments_of(tmp_path)
    assert before == {"environment.json": ["a"], "environment-further.json": ["b"]}
    assert note_environment(tmp_path, before, [], {"python": "4"}) == before
    after = note_environment(tmp_path, before, ["b", "c"], {"python": "4"})
    assert after == before | {"environment-further-2.json": ["b", "c"]}
    (tmp_path / "claims.json").write_text(json.dumps({"environments": after | {"../environment.json": ["a"]}}))
    assert environments_of(tmp_path) == after, "no file outside of the record is read"
    assert note_environment(tmp_path, after, ["d"], {"python": "4"})["environment-further-2.json"] == ["b", "c", "d"]


def test_claims_that_are_damaged_are_told(tmp_path: Path) -> None:
    for text in ("[", "3"):
        (tmp_path / "claims.json").write_text(text)
        with pytest.raises(Failure, match="claims of the record cannot be read"):
            environments_of(tmp_path)


def test_the_trials_of_a_record_cannot_be_gone_on_with(catalog: Catalog, tmp_path: Path) -> None:
    out = tmp_path / "record"
    run_study("mine", out, catalog=catalog)
    strip(out)
    with pytest.raises(BadInput, match="is part of a record: its table can be read"):
        run_study("mine", out, resume=True, only=("rates",), catalog=catalog)


def test_a_figure_that_needs_runs_which_are_not_there_stays_as_it_is(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "record"
    run_study("mine", out, catalog=catalog)
    drawn = (out / "figures/error-curve.png").read_bytes()
    made = Named("mine", catalog.find("study", "mine")).build()
    lacking = Findings(figures={"error-curve": None, "never-drawn": None}, captions={"error-curve": "The errors."})
    monkeypatch.setitem(vars(made), "examine", lambda material: lacking)
    run_study("mine", out, resume=True, catalog=catalog)
    page = (out / "README.md").read_text()
    assert "![Error curve](figures/error-curve.png)" in page
    assert "never-drawn" not in page
    assert (out / "figures/error-curve.png").read_bytes() == drawn


def test_trials_of_several_sweeps_run_side_by_side_and_give_the_same(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    run_study("mine", tmp_path / "beside", jobs=2, say=said.append, catalog=catalog)
    run_study("mine", tmp_path / "alone", catalog=catalog)
    assert any(line.startswith("2 workers with") for line in said)
    assert sum(line.startswith("rates: ") and "/4  " in line for line in said) == 4
    assert sum(line.startswith("plain: 1/1  ") for line in said) == 1
    together = [line for line in said if "as one program" in line]
    assert together
    assert all(line.startswith("rates: ") for line in together)
    for name in ("rates", "plain"):
        beside, alone = (
            pandas.read_csv(tmp_path / record / f"sweeps/{name}/table.csv") for record in ("beside", "alone")
        )
        keys = ["seed", "optimizer.lr"] if name == "rates" else ["seed"]
        both = [table.sort_values(keys)["noise/relative"].to_list() for table in (beside, alone)]
        assert both[0] == pytest.approx(both[1], rel=1e-4)
    assert not list((tmp_path / "beside/sweeps").glob("*/.lock.json")), "a folder is still locked"
    monkeypatch.delattr("idemlab.sweeps.turns.Workers")  # where nothing is left to do, none is started
    run_study("mine", tmp_path / "beside", jobs=2, resume=True, catalog=catalog)


def test_every_sweep_is_checked_before_the_first_is_run(catalog: Catalog, tmp_path: Path) -> None:
    (entry,) = [entry for entry in catalog._provided["study"] if entry.spec.name == "mine"]
    study = entry.spec.factory()
    study.sweeps["plain"] = replace(study.sweeps["plain"], over={"model.depth": [-1]})
    with pytest.raises(BadInput, match="depth"):
        run_study("mine", tmp_path / "record", catalog=catalog)
    assert not (tmp_path / "record/sweeps").exists()


def test_a_sweep_whose_turn_has_not_come_leaves_no_folder(catalog: Catalog, tmp_path: Path) -> None:
    """A stopped study must not take it for one that ran without results."""

    def stop(line: str) -> None:
        if line.startswith("1/4"):
            raise Interrupted("here")

    with pytest.raises(Interrupted):
        run_study("mine", tmp_path / "record", say=stop, catalog=catalog)
    assert [folder.name for folder in (tmp_path / "record/sweeps").iterdir()] == ["rates"]
    run_study("mine", tmp_path / "record", resume=True, catalog=catalog)
    assert len(open_sweep(tmp_path / "record/sweeps/rates").trials) == 4


def test_a_sweep_that_somebody_else_writes_is_refused_before_the_first_is_run(catalog: Catalog, tmp_path: Path) -> None:
    with exclusive(tmp_path / "record/sweeps/plain"), pytest.raises(BadInput, match="is being written to by process"):
        run_study("mine", tmp_path / "record", resume=True, catalog=catalog)
    assert not (tmp_path / "record/sweeps/rates").exists()
