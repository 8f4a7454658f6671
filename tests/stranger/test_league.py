"""A stranger's enforcer joins the league by being installed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Idemlab = Callable[..., Result]
Install = Callable[..., None]

GOOD = "loss = (orbit.live(2) - y).square().flatten(1).mean(1)\nreturn Enforcement(loss=loss)"

SUITE = """\
summary = "One tiny task."
trials = 2
seeds = 2

[task.plain]
title = "Vectors"
experiment = "tiny.toml"
flops = 3e6
quick_flops = 3e5
over = { "optimizer.lr" = "log:1e-3:1e-2" }
relative = ["data/relative", "noise/relative"]
deviation = { "data/reconstruction_error" = 0.8 }

[arm.none]
enforcer = "none"

[arm.gradient]
enforcer = "gradient"
over = { "enforcer.weight" = "log:0.1:10" }

[quick]
tasks = ["plain"]
arms = ["none", "gradient"]
trials = 1
seeds = 1
"""


@pytest.mark.long
def test_it_competes_beside_fixed_arms(
    install: Install, call: Idemlab, experiment: Callable[..., str], faulty: Callable[..., str]
) -> None:
    install("faulty-one", faulty(GOOD))
    file = Path(experiment('name = "none"'))
    file.write_text(file.read_text().replace("metrics = []", 'metrics = ["reconstruction-error"]'))
    Path("suite.toml").write_text(SUITE)
    league = ["league", "faulty", "--suite", "suite.toml", "--storage", "sqlite:///trials.db"]
    result = call(*league)
    assert result.exit_code == 2
    assert "'faulty' alone is not a league" in result.stderr
    assert "idemlab league faulty none gradient" in result.stderr
    assert not Path("leagues").exists()
    result = call(*league, "--quick")
    assert result.exit_code == 0, result.output
    assert "Vectors" in result.stdout
    assert "leagues/suite-quick/league.html" in result.stdout
    result = call(*league, "--quick")
    assert result.exit_code == 2
    assert "--resume" in result.stderr
    found = json.loads(call(*league, "--quick", "--resume", "--json").stdout)
    assert set(found["origins"].items()) >= {("faulty", "faulty-one 0.3")}
    assert {row["arm"] for row in found["tasks"][0]["rows"]} == {"faulty", "none"}
