"""A league from its first trial to its pages; what fails, what is resumed, what is refused."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from idemlab import BadInput, Failure, League, Standing, Stat, TaskTable, installed, run_league
from idemlab.standings.league import _check_folder, _resumed, _Runner
from idemlab.standings.pictures import pareto_figure
from idemlab.standings.record import write_league
from idemlab.system import strict_json
from idemlab.system.files import write_text

Write = Callable[..., str]


def made_up(path: Path) -> League:
    """A league that nobody ran, with a row of each state."""
    good = Standing(
        arm="a|b", state="complete", model="mlp", chosen={"optimizer.lr": 0.00123}, score=0.3, tried=2, seeds=2,
        verdicts={"genuine": 1}, reason="not finite", seeds_failed=1, steps=5, flops=1e6, seconds=2.0,
        step_cost=6.0, call_cost=1.0,
        relative=Stat(0.1, 0.05, math.inf), deviation=Stat(0.2, 0.2, 0.2),
        metrics={"data/relative": Stat(0.1, 0.05, 0.2), "data/rank": Stat(3.0, 3.0, 3.0)}, pareto=True,
    )  # fmt: skip
    rows = (
        good,
        Standing(arm="<i>", state="failed", reason="boom"),
        Standing(arm="c", state="refused", reason="no *rank*"),
    )
    task = TaskTable(
        name="plain", title="Vectors", experiment="tiny", flops=3e5, relative=("data/relative",), deviation={"data/x": 1.0},
        columns={"data/relative": "at data"}, true_rank=4.0, rows=rows,
    )  # fmt: skip
    arms = {name: {"enforcer": name, "over": {}} for name in ("a|b", "<i>", "c")}
    arms["c (weight 0.5)"] = {"enforcer": {"name": "c", "weight": 0.5}, "over": {}}
    environment = {"packages": {"idemlab": "1", "torch": "2"}, "system": "Linux"}
    return League(
        path=path, suite="league", summary="Tasks.", quick=True, trials=2, seeds=2, arms=arms,
        origins=dict.fromkeys(arms, "mine 1.0"), tasks=(task,), environment=environment,
    )  # fmt: skip


def test_a_picture_counts_the_arms_without_a_result_but_not_those_that_do_not_take_part(tmp_path: Path) -> None:
    rows = made_up(tmp_path).tasks[0].rows
    arms = [row.arm for row in rows]
    assert "1 arm without a finite result" in pareto_figure("", rows, arms).axes[0].get_xlabel()
    assert "arm" not in pareto_figure("", [row for row in rows if row.state != "failed"], arms).axes[0].get_xlabel()


def test_a_picture_has_the_best_arms_on_top() -> None:
    one = Stat(0.1, 0.1, 0.1)
    rows = [Standing(arm=arm, state="complete", relative=one, deviation=one) for arm in ("best", "second", "third")]
    lines = pareto_figure("", rows, ["third", "second", "best"]).axes[0].lines
    depth = {line.get_label(): line.get_zorder() for line in lines}
    assert depth["best"] > depth["second"] > depth["third"]


def test_the_record_is_read_back_and_its_pages_tell_every_row(tmp_path: Path, undrawn: None) -> None:
    league = made_up(tmp_path)
    write_league(league)
    assert League.open(tmp_path) == league
    page = (tmp_path / "README.md").read_text()
    assert """idemlab league 'a|b' '<i>' c '{ "name" = "c", "weight" = 0.5 }' --quick""" in page
    assert "| a\\|b \\* | 0.1 (0.05 to infinite) | 0.2 | 0.1 (0.05 to 0.2) | 3 | 6.0 F | 1.0 F |" in page
    assert "| 1 genuine, 1 failed: not finite |" in page
    assert "| &lt;i> | — | — | — | — | — | — | failed: boom |" in page
    assert "does not take part: no \\*rank\\*" in page
    assert "rank at data (true: 4)" in page
    assert "optimizer.lr 0.00123" in page
    assert "quick version" in page
    assert (tmp_path / "pictures" / "plain.png").is_file()
    html = (tmp_path / "league.html").read_text()
    assert "<i>" not in html
    assert "&lt;i&gt;" in html
    assert 'src="http' not in html
    assert "<svg></svg>" in html
    (tmp_path / "league.json").write_text("{}")
    with pytest.raises(Failure, match="damaged"):
        League.open(tmp_path)
    with pytest.raises(BadInput, match="holds no league"):
        League.open(tmp_path / "pictures")


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path, undrawn: None) -> None:
    for name in ("there", "other"):
        (tmp_path / name).mkdir()
    write_league(made_up(tmp_path / "there"))
    (tmp_path / "other" / "x").touch()
    for out, options, problem in (
        ("there", {"quick": True}, "is not empty"),
        ("there", {"resume": True}, "holds the quick version of suite 'league'"),
        ("other", {"resume": True}, "holds no league"),
        ("new", {"jobs": 0}, "jobs cannot be 0"),
        ("other/x", {}, "is a file"),
    ):
        with pytest.raises(BadInput, match=problem):
            run_league(["none", "gradient"], tmp_path / out, **options)  # type: ignore[arg-type]
    for arms, problem in (
        ("gradiant", "'gradiant'"),
        ({"name": "gradiant"}, "'gradiant'"),
        ([3], "an arm cannot be 3"),
    ):
        with pytest.raises(BadInput, match=problem):
            run_league(arms, tmp_path / "new")  # type: ignore[arg-type]


def test_what_a_resumed_league_leaves_out_is_told(tmp_path: Path) -> None:
    league = made_up(tmp_path)
    write_league(league)
    gone, *others = league.arms
    assert list(_resumed(tmp_path, league.arms)) == []
    (told,) = _resumed(tmp_path, others)
    assert told.startswith(f"the table will lack arm {gone}, ")
    (told,) = _resumed(tmp_path / "new", others)
    assert "nothing to resume" in told


def test_a_league_is_resumed_however_its_suite_is_called_and_arms_have_folders_of_their_own(tmp_path: Path) -> None:
    league = replace(made_up(tmp_path), suite=str(tmp_path / "s.toml"), quick=False)
    write_text(tmp_path / "league.json", strict_json.dumps(league.as_dict()))
    _check_folder(tmp_path, str(tmp_path / "other" / ".." / "s.toml"), quick=False, resume=True)
    with pytest.raises(BadInput, match="holds the whole version"):
        _check_folder(tmp_path, str(tmp_path / "t.toml"), quick=False, resume=True)

    runner = _Runner(tmp_path, 1, None, print, installed())
    names = ["a", f"a ({300 * 'x'} 1)", f"a ({300 * 'x'} 2)", "a (x [1])", "a (x -1-)"]
    folders = [runner._folder("t", name, "final") for name in names]
    assert len(set(folders)) == len(names)
    assert all(len(folder.name) < 255 and folder.parent == tmp_path / "sweeps" for folder in folders)


FAILING = """
from idemlab import EnforcerKind, EnforcerSpec, Traits, hookimpl

def failing(weight: float = 1.0):
    import torch
    from idemlab import Enforcement, Enforcer

    class Failing(Enforcer):
        def forward(self, orbit, step):
            y = orbit.output
            if step.purpose == "train" and (orbit.input >= -1).all() and (orbit.input < 1).all():
                raise KeyError("lists in [-1, 1)")
            return Enforcement(loss=(orbit.live(2) - y).square().flatten(1).mean(1))

    return Failing()

@hookimpl
def provide_enforcers():
    yield EnforcerSpec(
        name="failing", factory=failing, summary="Fails.", traits=Traits(kinds=frozenset({EnforcerKind.LOSS}))
    )
"""


@pytest.mark.long
def test_a_league_from_start_to_end(
    write_suite: Write, tmp_path: Path, undrawn: None, install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger's enforcer fails in one task, the others go on; a league that was stopped is resumed."""
    import idemlab

    install("failing-one", FAILING)
    idemlab.installed.cache_clear()
    catalog = idemlab.installed()
    suite, out, said = write_suite(trials=1, seeds=1), tmp_path / "out", []

    def stop(text: str) -> None:
        said.append(text)
        if text.startswith("plain, failing: final"):
            raise KeyboardInterrupt

    arms = ["none", "failing", "linearizer"]
    with pytest.raises(KeyboardInterrupt):
        run_league(arms, out, suite=suite, say=stop, catalog=catalog)
    assert "Lists: linearizer does not take part: it needs a rank, and the task names none" in said
    with pytest.raises(BadInput, match="is not empty"):
        run_league(arms, out, suite=suite, catalog=catalog)
    before = {path: path.stat().st_mtime_ns for path in out.glob("sweeps/*/trials/*/certificate.json")}
    assert len(before) == 1 + 1 + 1
    said.clear()
    league = run_league(arms, out, suite=suite, resume=True, say=said.append, catalog=catalog)
    assert all(path.stat().st_mtime_ns == when for path, when in before.items()), "what was done is not done again"
    plain, lists = league.tasks
    assert {row.arm: row.state for row in plain.rows} == dict.fromkeys(arms, "complete")
    assert {row.arm: row.state for row in lists.rows} == {
        "none": "complete",
        "failing": "failed",
        "linearizer": "refused",
    }
    assert "lists in [-1, 1)" in next(row.reason for row in lists.rows if row.arm == "failing")
    for row in (*plain.rows, *lists.rows):
        if row.state == "complete":
            assert row.flops == pytest.approx(3e5, rel=0.3), "equal to within a step"
            assert (row.tried, row.seeds, sum(row.verdicts.values())) == (1, 1, 1)
            assert "optimizer.lr" in row.chosen
    assert League.open(out) == league
    assert json.loads((out / "league.json").read_text())["origins"]["failing"] == "failing-one 1.0"
    again = tmp_path / "again" / "out"  # a record, which keeps the runs of one task
    shutil.copytree(out, again, ignore=lambda folder, names: [n for n in names if "-sorting-" in n])
    said.clear()
    continued = run_league(arms, again, suite=suite, resume=True, say=said.append, catalog=catalog)
    assert [text for text in said if text.startswith("task ")][1:] == [
        "task sorting: kept from the record; its runs are gone"
    ]
    assert continued.tasks == League.open(again).tasks == league.tasks
    assert League.open(again) == continued
    with pytest.raises(BadInput, match="the runs of task sorting are gone, and the tables are of other arms"):
        run_league(arms[:2], again, suite=suite, resume=True, catalog=catalog)
    assert League.open(again) == continued, "a refusal loses nothing"
    other = tuple(replace(table, rules="x") for table in continued.tasks)  # the rules of its tasks have changed
    write_text(again / "league.json", strict_json.dumps(replace(continued, tasks=other).as_dict()))
    with pytest.raises(BadInput, match="the runs of task sorting are gone"):
        run_league(arms, again, suite=suite, resume=True, catalog=catalog)
    others = run_league(["none", "gradient"], out, suite=suite, resume=True, catalog=catalog)
    assert list(others.arms) == ["none", "gradient"], "other arms, where the runs are there"
    shutil.rmtree(again / "sweeps")
    elsewhere = {**league.environment, "system": "another"}
    write_text(again / "league.json", strict_json.dumps(replace(continued, environment=elsewhere).as_dict()))
    kept = run_league(arms, again, suite=suite, resume=True, catalog=catalog)
    assert (kept.tasks, kept.environment) == (league.tasks, elsewhere), "nothing was run"
    assert League.open(again) == kept
    assert "Earlier calls: idemlab" in replace(kept, earlier=(league.environment,)).made_with
    for path in (out / "sweeps").iterdir():  # tuning never sees the test data
        (first, *_) = path.glob("trials/*/experiment.toml")
        assert ('split = "validation"' in first.read_text()) == path.name.endswith("-tuning")
