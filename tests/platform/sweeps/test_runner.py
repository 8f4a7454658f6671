"""Sweeps: every trial is there once, whatever happens; the same table in one process and in several."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest
import tomli_w
from PIL import Image

from idemlab import BadInput, Sweep, installed, open_sweep, resolve, run_sweep, train
from idemlab.errors import Interrupted
from idemlab.sweeps import workers as workers_module
from idemlab.sweeps.jobs import Job, Outcome, Task, work
from idemlab.sweeps.pictures import sweep_figure
from idemlab.sweeps.workers import Workers
from idemlab.system.lock import exclusive

Make = Callable[..., dict[str, Any]]
pytestmark = pytest.mark.long


@pytest.fixture
def plan(tiny: Make, tmp_path: Path) -> Sweep:
    """Four trials that can be trained as one program, and four that cannot."""
    file = tmp_path / "tiny.toml"
    file.write_text(tomli_w.dumps(tiny()))
    over = {"enforcer.name": ["gradient", "relative"], "optimizer.lr": [1e-3, 1e-2]}
    return Sweep(experiment=str(file), over=over, seeds=2)


def figures(table: pandas.DataFrame) -> list[dict[str, Any]]:
    kept = table.drop(columns=["trial", "seconds"]).sort_values(["enforcer.name", "optimizer.lr", "seed"])
    return list(kept.to_dict("records"))


def test_a_sweep_leaves_runs_tables_and_a_figure(plan: Sweep, tmp_path: Path) -> None:
    said: list[str] = []
    results = run_sweep(plan, tmp_path / "sweep", say=said.append)
    assert len(results.trials) == 8
    assert {trial.state for trial in results.trials} == {"complete"}
    for trial in results.trials:
        alone = train(trial.run.experiment, tmp_path / f"alone{trial.number}")
        assert alone.certificate is not None
        expected = alone.certificate["inputs"]["noise"]["relative"][0]
        assert trial.metrics["noise/relative"] == pytest.approx(expected, rel=1e-4)
        assert trial.verdict == alone.certificate["verdict"]
    assert any("4 trials as one program" in line for line in said)
    table = pandas.read_csv(tmp_path / "sweep/table.csv")
    assert len(table) == len(pandas.read_parquet(tmp_path / "sweep/table.parquet")) == 8
    assert {"enforcer.name", "optimizer.lr", "seed", "state", "verdict", "error", "data/rank"} <= set(table.columns)
    ranges = pandas.read_csv(tmp_path / "sweep/ranges.csv")
    assert len(ranges) == 4
    group = table[(table["enforcer.name"] == "relative") & (table["optimizer.lr"] == 1e-2)]["data/relative"]
    row = ranges[(ranges["enforcer.name"] == "relative") & (ranges["optimizer.lr"] == 1e-2)].iloc[0]
    assert (row["data/relative min"], row["data/relative max"]) == (group.min(), group.max())
    assert row["data/relative"] == pytest.approx(group.median())
    assert (tmp_path / "sweep/sweep.png").read_bytes()[:4] == b"\x89PNG"
    assert not list((tmp_path / "sweep").rglob("checkpoints"))


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_what_was_understood_of_the_data_is_said_once(jobs: int, tiny: Make, tmp_path: Path) -> None:
    """It holds for trials that train as one program, alone, under a pruner, or in another process."""
    (tmp_path / "set").mkdir()
    for number in range(20):
        Image.new("L", (4, 4), number).save(tmp_path / "set" / f"{number}.png")
    table = tiny(dataset={"name": "hub", "path": str(tmp_path / "set"), "channels": 1}, training__steps=2)
    (tmp_path / "tiny.toml").write_text(tomli_w.dumps(table))
    for pruner in ("none", "median"):
        said: list[str] = []
        plan = Sweep(experiment=str(tmp_path / "tiny.toml"), over={"model.width": [4, 8]}, seeds=2, pruner=pruner)
        run_sweep(plan, tmp_path / f"sweep-{pruner}", say=said.append, jobs=jobs)
        assert said.count("18 images to train on, 2 (every tenth, at least two) to test on") == 1


def test_a_sweep_goes_on_where_it_was_stopped(plan: Sweep, tmp_path: Path) -> None:
    def stop_at_the_second(text: str) -> None:
        if text.startswith("5/8"):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        run_sweep(plan, tmp_path / "sweep", say=stop_at_the_second)
    before = open_sweep(tmp_path / "sweep")
    assert 4 <= len(before.trials) < 8
    with pytest.raises(BadInput, match="holds a sweep already") as caught:
        run_sweep(plan, tmp_path / "sweep")
    assert "`resume`" in str(caught.value.next_step)
    said: list[str] = []
    after = run_sweep(plan, tmp_path / "sweep", resume=True, say=said.append)
    assert said[0] == f"trials: 8, {len(before.trials)} of them done before"
    assert len(after.trials) == 8
    whole = run_sweep(plan, tmp_path / "whole")
    assert figures(after.table) == figures(whole.table)


def test_fewer_seeds_or_trials_than_there_are_cannot_be_gone_on_with(plan: Sweep, tmp_path: Path) -> None:
    table: dict[str, Any] = {
        "experiment": plan.experiment,
        "over": {"optimizer.lr": "log:1e-4:1e-2"},
        "sampler": "random",
    }
    run_sweep(Sweep(**table, trials=2, seeds=2), tmp_path / "sweep")
    with pytest.raises(BadInput, match=r"has 2 seeds, not 1") as caught:
        run_sweep(Sweep(**table, trials=2, seeds=1), tmp_path / "sweep", resume=True)
    assert "`seeds = 2`, or more" in str(caught.value)
    with pytest.raises(BadInput, match=r"has 2 trials, not 1"):
        run_sweep(Sweep(**table, trials=1, seeds=2), tmp_path / "sweep", resume=True)


def test_more_seeds_are_added_but_nothing_else(plan: Sweep, tmp_path: Path) -> None:
    few = Sweep(experiment=plan.experiment, over={"optimizer.lr": [1e-3]}, seeds=1)
    run_sweep(few, tmp_path / "sweep")
    more = Sweep(experiment=plan.experiment, over={"optimizer.lr": [1e-3]}, seeds=3)
    results = run_sweep(more, tmp_path / "sweep", resume=True)
    assert [trial.seed for trial in results.trials] == [0, 1, 2]
    for other, changed in (
        (Sweep(experiment=plan.experiment, over={"optimizer.lr": [1e-2]}), "optimizer.lr, over"),
        (Sweep(experiment=plan.experiment, set={"training.steps": 3}, over=few.over), "training.steps"),
    ):
        with pytest.raises(BadInput, match=f"differs from the one in .*: {changed}"):
            run_sweep(other, tmp_path / "sweep", resume=True)


def test_a_trial_that_fails_is_kept_with_its_error(plan: Sweep, tmp_path: Path) -> None:
    wild = Sweep(
        experiment=plan.experiment,
        set={"optimizer.name": "sgd", "training.steps": 60},
        over={"optimizer.lr": [0.01, 1e30], "enforcer.name": ["gradient", "relative"]},
    )
    said: list[str] = []
    results = run_sweep(wild, tmp_path / "sweep", say=said.append)
    states = {(t.values["optimizer.lr"], t.values["enforcer.name"]): t for t in results.trials}
    for enforcer in ("gradient", "relative"):
        assert states[0.01, enforcer].state == "complete"
        failed = states[1e30, enforcer]
        assert failed.state == "failed"
        assert "the loss is not finite at step" in failed.error
    assert sum("failed: the loss is not finite" in line for line in said) == 2
    assert results.ranges()["failed"].tolist() == [0, 0, 1, 1]
    again: list[str] = []
    run_sweep(wild, tmp_path / "sweep", resume=True, say=again.append)
    assert again == ["trials: 4, 4 of them done before"]
    run_sweep(wild, tmp_path / "sweep", resume=True, retry=True, say=again.append)
    assert again[1] == "trials: 4, 2 of them done before"
    assert len(open_sweep(tmp_path / "sweep").trials) == 4
    figure = sweep_figure(results)
    assert figure is not None
    assert figure.axes


def test_every_trial_is_checked_before_the_first_is_run(plan: Sweep, tmp_path: Path) -> None:
    wrong = Sweep(experiment=plan.experiment, over={"model.depth": [1, -1]})
    with pytest.raises(BadInput, match="depth"):
        run_sweep(wrong, tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


def test_no_worker_is_started_without_a_trial(plan: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def started(count: int, *_: Any) -> Any:
        raise Interrupted(f"{count} workers")

    monkeypatch.setattr("idemlab.sweeps.turns.Workers", started)
    with pytest.raises(Interrupted, match=r"^8 workers"):
        run_sweep(plan, tmp_path / "jobs", jobs=10**6)
    for jobs in (0, True, 1.5):
        with pytest.raises(BadInput, match="jobs cannot be"):
            run_sweep(plan, tmp_path / "other", jobs=jobs)  # type: ignore[arg-type]


def test_workers_give_the_same(plan: Sweep, tmp_path: Path) -> None:
    results = run_sweep(plan, tmp_path / "jobs", jobs=2)
    assert len({(json.dumps(trial.values), trial.seed) for trial in results.trials}) == 8
    alone = run_sweep(plan, tmp_path / "alone")
    for a, b in zip(figures(results.table), figures(alone.table), strict=True):
        for key, value in b.items():
            assert a[key] == (pytest.approx(value, rel=1e-4, nan_ok=True) if isinstance(value, float) else value)


def test_a_trial_over_which_all_workers_die_is_given_up(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not more than a few times, and the others go on."""
    monkeypatch.setattr(workers_module, "_PATIENCE", 2)
    good = resolve(tiny())
    said: list[str] = []
    with Workers(1, lambda: False, said.append, installed()) as workers:
        deadly = _Deadly(1, str(tmp_path / "a"), good)
        jobs = [Job([deadly]), Job([Task(2, str(tmp_path / "b"), good)])]
        errors = {o.number: o.error for o in workers.run(lambda place: jobs.pop() if jobs else None)}
    assert errors[2] == ""
    assert "worker processes died on this trial" in errors[1]


class _Deadly(Task):
    """A task that kills the process that takes it out of its parcel."""

    def __reduce__(self) -> Any:
        return os._exit, (3,)


def test_a_folder_without_a_sweep(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no sweep"):
        open_sweep(tmp_path)


def test_a_folder_that_holds_something_else_is_left_alone(plan: Sweep, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/experiment.toml").write_text("")
    for resume in (False, True):
        with pytest.raises(BadInput, match="is not empty and holds no sweep"):
            run_sweep(plan, tmp_path / "run", resume=resume)
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["experiment.toml"]
    with pytest.raises(BadInput, match="is a file"):
        run_sweep(plan, tmp_path / "run/experiment.toml")


def test_resuming_what_never_began_is_told(plan: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.delattr("idemlab.sweeps.plan._check_optimizers")  # stop before any training
    with pytest.raises(NameError):
        run_sweep(plan, tmp_path / "misspelt", resume=True, say=said.append)
    assert said == [f"there is nothing to resume in '{tmp_path / 'misspelt'}': starting from the beginning"]


def test_a_sweep_that_is_being_run_is_not_run_twice(plan: Sweep, tmp_path: Path) -> None:
    small = Sweep(experiment=plan.experiment, seeds=1)
    run_sweep(small, tmp_path / "sweep")
    with exclusive(tmp_path / "sweep"), pytest.raises(BadInput, match="is being written to by process"):
        run_sweep(small, tmp_path / "sweep", resume=True)


def test_an_entry_that_was_cut_short_does_not_lose_the_others(plan: Sweep, tmp_path: Path) -> None:
    """A kill or a full disk cuts the journal. The trials before the cut can be read, and the sweep resumes after them."""
    few = Sweep(experiment=plan.experiment, over={"optimizer.lr": [1e-3]}, seeds=2)
    run_sweep(few, tmp_path / "sweep")
    journal = tmp_path / "sweep/journal.log"
    os.truncate(journal, journal.stat().st_size - 7)
    for _ in range(2):  # reading writes nothing
        assert [trial.seed for trial in open_sweep(tmp_path / "sweep").trials] == [0, 1]
    more = Sweep(experiment=plan.experiment, over={"optimizer.lr": [1e-3]}, seeds=3)
    for known in (2, 3):
        said: list[str] = []
        results = run_sweep(more, tmp_path / "sweep", resume=True, say=said.append)
        assert f"trials: 3, {known} of them done before" in said
        assert ("cut short" in said[0]) == (known == 2)
        assert [trial.seed for trial in results.trials] == [0, 1, 2]


def test_tables_are_values_like_any_other(plan: Sweep, tmp_path: Path) -> None:
    enforcers = [{"name": "gradient"}, {"name": "cubic", "weight": 0.5}]
    over = {"enforcer": enforcers, "optimizer.lr": [1e-3, 1e-2]}
    results = run_sweep(Sweep(experiment=plan.experiment, over=over, seeds=2), tmp_path / "sweep")
    ranges = results.ranges(["data/relative"])
    assert ranges["enforcer"].tolist() == [enforcers[0]] * 2 + [enforcers[1]] * 2
    assert ranges["optimizer.lr"].tolist() == [1e-3, 1e-2] * 2
    assert ranges["trials"].tolist() == [2] * 4
    figure = sweep_figure(results)
    assert figure is not None
    legend = figure.legends[0].get_texts()
    assert sum("cubic" in text.get_text() for text in legend) == 1


@pytest.mark.parametrize("wrong", [{"optimizer.name": ["adam", "adamm"]}, {"optimizer.momentun": [0.5, 0.9]}])
def test_optimisers_are_checked_before_the_first_trial(plan: Sweep, tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"adamm|momentun"):
        run_sweep(Sweep(experiment=plan.experiment, over=wrong), tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


def test_what_cannot_be_built_fails_and_the_others_go_on(plan: Sweep, tmp_path: Path) -> None:
    images = Sweep(experiment=plan.experiment, over={"model": [{"name": "dcgan"}, {"name": "mlp"}]}, seeds=2)
    results = run_sweep(images, tmp_path / "sweep")
    states = {(trial.values["model"]["name"], trial.seed): trial.state for trial in results.trials}
    assert states == {("dcgan", 0): "failed", ("dcgan", 1): "failed", ("mlp", 0): "complete", ("mlp", 1): "complete"}


def test_an_evaluation_that_fails_is_that_of_one_trial(plan: Sweep, tmp_path: Path) -> None:
    """The last step leaves weights that are not finite: the loss never told."""
    over = {"optimizer.lr": [1e-2, 1e38]}
    wild = Sweep(experiment=plan.experiment, set={"optimizer.name": "sgd", "training.steps": 1}, over=over)
    said: list[str] = []
    results = run_sweep(wild, tmp_path / "sweep", say=said.append)
    assert any("2 trials as one program" in line for line in said)
    assert [trial.state for trial in results.trials] == ["complete", "failed"]
    assert "f(x) is not finite at" in results.trials[1].error


def test_who_is_asked_to_stop_while_evaluating_keeps_what_was_trained(tiny: Make, tmp_path: Path) -> None:
    experiment = resolve(tiny())
    steps = experiment.training.steps
    assert steps is not None
    asked: list[None] = []

    def stopped() -> bool:
        asked.append(None)
        return len(asked) > steps  # after the last step

    job = Job([Task(i, str(tmp_path / str(i)), experiment) for i in range(2)])
    assert list(work(job, installed(), stopped)) == [Outcome(0, ""), Outcome(1, "")]
    assert len(asked) == steps
    with pytest.raises(Interrupted):
        list(work(job, installed(), lambda: True))


def test_a_script_that_starts_workers_at_its_top_is_told_how(plan: Sweep, tmp_path: Path) -> None:
    """Each worker imports the script, and would start workers in its turn."""
    script = tmp_path / "script.py"
    script.write_text(
        "from idemlab import Sweep, run_sweep\n"
        f"run_sweep(Sweep(experiment={plan.experiment!r}, seeds=2), {str(tmp_path / 'sweep')!r}, jobs=1 + 1)\n"
    )
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert "Failure: a worker process could not start (exit code 1)" in result.stderr
    assert "if __name__ == '__main__':" in result.stderr
