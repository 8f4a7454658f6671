"""The study `rank`: what it measures at known maps, and claims that follow from the bounds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import idemlab
from idemlab.studies.study import Material
from idemlab.sweeps.results import Results, Trial
from idemlab_registry.studies import rank


def linear(*values: float) -> nn.Module:
    layer = nn.Linear(len(values), len(values), bias=False)
    layer.weight.data.copy_(torch.diag(torch.tensor(values)))
    return layer


def test_at_a_linear_map_everything_is_known() -> None:
    x = torch.randn(64, 4)
    exact = rank.measured(linear(1, 1, 0, 0), x, 2)
    assert list(exact.values()) == [0, 0, 0, pytest.approx(0, abs=1e-12)]
    off = rank.measured(linear(1, 0.7, 0.7, 0), x, 2)
    assert list(off.values())[:3] == [pytest.approx(0.4), 1.0, 0.5]


def test_claims_follow_from_a_run(tmp_path) -> None:  # type: ignore[no-untyped-def]
    overrides = ["training.steps=2", "evaluation.points=16", "evaluation.rank_points=1", "dataset.test=600"]
    run = idemlab.train("noise-rank", tmp_path / "run", overrides=overrides)
    trials = tuple(
        Trial(
            number=seed, values={}, seed=seed, state="complete", error="", verdict="genuine", metrics={}, steps=2,
            flops=1.0, seconds=1.0, path=run.path,
        )
        for seed in range(2)
    )  # fmt: skip
    findings = rank.examine(Material({"noise": Results(trials, (), run.path)}, True, lambda line: None))
    (claim,) = findings.claims
    assert claim.holds is False
    assert claim.ours.startswith("0 of 2 seeds")
    assert len(findings.tables["ranks"]) == 2
    assert not rank.examine(Material({}, False, lambda line: None)).claims


@pytest.mark.parametrize(
    ("changes", "reached"), [({}, True), ({"relative error": 0.02}, False), ({"verdict": "constant"}, False)]
)
def test_a_rank_is_reached_within_all_bounds(changes: dict[str, object], reached: bool) -> None:
    row = dict.fromkeys(rank.BOUNDS, 0.0) | {"verdict": "genuine"} | changes
    assert rank._reached(row) is reached
    assert rank._claim("noise", 2, [row]).holds is reached


def test_the_sweeps_resolve() -> None:
    study = rank.study()
    assert {setting.values["enforcer.rank"] for setting in study.sweeps["noise"].settings()} == {1, 2, 4, 8}
    for sweep in (*study.sweeps.values(), *study.quick.values()):
        assert sweep.resolve(sweep.settings()[0]).enforcer.name == "rank"
