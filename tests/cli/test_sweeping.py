"""`sweep` and `study`: what is printed, where it goes, what is refused."""

from __future__ import annotations

import json
import shutil

import pytest

QUICK = ["--set", "training.steps=3", "--set", "evaluation.rank_points=1"]


def test_a_sweep_prints_a_row_for_each_combination(idemlab, here):
    result = idemlab("sweep", "tiny.toml", "--over", "optimizer.lr=1e-3,1e-2", "--seeds", "2", *QUICK)
    assert result.exit_code == 0
    header, *rows = [line for line in result.stdout.splitlines() if line][:3]
    assert header.split()[:3] == ["optimizer.lr", "done", "verdicts"]
    assert [row.split()[:2] for row in rows] == [["0.001", "2/2"], ["0.01", "2/2"]]
    assert "sweeps/tiny/table.csv" in result.stdout
    assert "4/4  optimizer.lr=0.01, seed 1:" in result.stderr
    again = idemlab("sweep", "tiny.toml", "--over", "optimizer.lr=1e-3,1e-2", "--seeds", "2", *QUICK)
    assert again.exit_code == 2
    assert "holds a sweep already" in again.stderr
    resumed = idemlab(
        "sweep", "tiny.toml", "--over", "optimizer.lr=1e-3,1e-2", "--seeds", "2", *QUICK, "--resume", "--json"
    )
    assert len(json.loads(resumed.stdout)["trials"]) == 4


def test_a_combination_of_which_nothing_was_measured_has_dashes(idemlab, here):
    model = 'model=[{name="mlp", depth=1}, {name="dcgan"}]'
    result = idemlab("sweep", "tiny.toml", "--over", model, *QUICK)
    assert result.exit_code == 0
    row = next(line for line in result.stdout.splitlines() if "dcgan" in line)
    assert "0/1" in row
    assert row.split()[-6:] == ["—"] * 6
    assert "not a number" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is nothing to try"),
        (["--over", "optimizer.lr"], "'optimizer.lr' does not say what to try"),
        (["--over", "optimizer.lr=1,2", "--over", "optimizer.lr=3"], "'optimizer.lr' is given twice"),
        (["--over", "optimiser.lr=1,2"], "there is no key 'optimiser' to set"),
        (["--over", "enforcer.name=cubik,gradient"], "cubic"),
        (["--over", "optimizer.name=adam,adamm"], "there is no optimizer 'adamm'"),
        (["--seeds", "0"], "0 seeds"),
        (["--seeds", "2", "--jobs", "0"], "jobs cannot be 0"),
        (["--seeds", "2", "--set", "training.steps"], "is not an override"),
        (["--over", "optimizer.lr=uniform:0:1"], "a grid tries every value"),
        (["--over", "optimizer.lr=log:1e-3:1", "--sampler", "tpe"], "sampler 'tpe' needs a number of settings"),
        (["--over", "optimizer.lr=log:1:2:3", "--sampler", "tpe", "--trials", "3"], "is a list of values"),
        (["--over", "optimizer.lr=log:1e-3:1", "--sampler", "tep", "--trials", "3"], "did you mean: tpe"),
        (["--over", "optimizer.lr=1,2", "--trials", "3"], "a grid has as many trials as it has combinations"),
        (["--over", "optimizer.lr=1,2", "--metric", "noise/relativ"], "did you mean: noise/relative"),
        (["--over", "optimizer.lr=1,2", "--pruner", "halve"], "did you mean: halving"),
        (["--over", "optimizer.lr=1,2", "--storage", "sqlit:///x"], "did you mean: sqlite"),
    ],
)
def test_mistakes_are_told_before_anything_is_run(idemlab, here, arguments, message):
    result = idemlab("sweep", "tiny.toml", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (here / "sweeps").exists()


def test_a_sampled_sweep_tells_its_best_and_how_far_it_is(idemlab, here):
    arguments = [
        "sweep",
        "tiny.toml",
        "--over",
        "optimizer.lr=log:1e-3:0.1",
        "--sampler",
        "tpe",
        "--trials",
        "3",
        *QUICK,
    ]
    result = idemlab(*arguments, "--metric", "data/spread", "--maximize", "--pruner", "median")
    assert result.exit_code == 0
    assert "3/3  optimizer.lr=" in result.stderr
    status = idemlab("status", "sweeps/tiny")
    assert status.exit_code == 0
    assert status.stdout.splitlines()[0] == "3 trials: 3 complete"
    assert status.stdout.splitlines()[1] == next(
        line for line in result.stdout.splitlines() if line.startswith("Best: ")
    )
    assert "Time left: none" in status.stdout
    content = json.loads(idemlab("status", "sweeps/tiny", "--json").stdout)
    assert (content["total"], content["counts"]["complete"], content["held_by"]) == (3, 3, None)
    nowhere = idemlab("status", "sweeps/tinny")
    assert nowhere.exit_code == 2
    assert "holds no sweep" in nowhere.stderr


def test_the_status_shows_what_runs(idemlab, here):
    from idemlab.sweeps.ledger import Ledger
    from idemlab.sweeps.sweep import Sweep

    assert idemlab("sweep", "tiny.toml", "--over", "optimizer.lr=0.01", *QUICK).exit_code == 0
    ledger = Ledger(here / "sweeps/tiny", make=True)
    plan = Sweep(experiment="tiny.toml", over={"optimizer.lr": [0.01]}, seeds=2)
    ledger.add(plan, plan.settings()[1:], {})
    assert ledger.claim(ledger.trials()[1], 0)
    lines = idemlab("status", "sweeps/tiny").stdout.splitlines()
    assert lines[-2].split() == ["trial", "setting", "state", "worker", "since", "step"]
    assert lines[-1].split()[:5] == ["1", "optimizer.lr=0.01,", "seed", "1", "interrupted"]


@pytest.mark.long
def test_a_study_prints_its_claims_and_where_its_record_is(idemlab, here):
    result = idemlab("study", "iteration", "--quick")
    assert result.exit_code == 0
    assert "Idempotents attract, and nothing else does.  [holds]" in result.stdout
    assert "Record: studies/iteration-quick/README.md" in result.stdout
    assert (here / "studies/iteration-quick/figures/map.svg").is_file()
    shutil.rmtree(here / "studies")
    content = json.loads(idemlab("study", "iteration", "--quick", "--json").stdout)
    assert content["claims"][0]["holds"] is True


def test_a_study_that_is_not_there(idemlab):
    result = idemlab("study", "basins")
    assert result.exit_code == 2
    assert "basin" in result.stderr
    assert "idemlab list studies" in result.stderr
