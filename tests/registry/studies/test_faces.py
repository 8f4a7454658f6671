"""The study `faces`: its claims follow from figures, a collapse is no proof of not memorising."""

from __future__ import annotations

from pathlib import Path

import pytest

import idemlab
from idemlab.studies.study import Findings, Material
from idemlab.sweeps.results import Results, Trial
from idemlab_registry.studies import faces

FIGURES = {"noise/relative": 0.02, "noise/nearest_training": 9.5, "noise/nearest_training_of_test": 10.0}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run, of two steps."""
    folder = tmp_path_factory.mktemp("faces") / "run"
    overrides = [
        "dataset.size=16", "model.channels=4", "model.latent=8", "source.0.pool=8", "training.steps=2",
        "training.batch_size=8", "evaluation.points=20", "evaluation.rank_points=0", "evaluation.metrics=[]",
    ]  # fmt: skip
    idemlab.train("faces-projector", folder, overrides=overrides)
    return folder


def examined(run: Path, verdict: str = "genuine", seeds: int = 1, quick: bool = False, **changes: float) -> Findings:
    figures = FIGURES | {f"noise/{name}": value for name, value in changes.items()}
    trials = tuple(
        Trial(
            number=seed, values={}, seed=seed, state="complete", error="", verdict=verdict, metrics=dict(figures), steps=2,
            flops=1.0, seconds=1.0, path=run,
        )
        for seed in range(seeds)
    )  # fmt: skip
    return faces.examine(Material({"projector": Results(trials, (), run)}, quick, lambda line: None))


def test_figures_table_and_claims(run: Path) -> None:
    findings = examined(run, seeds=2, quick=True)
    assert set(findings.figures) == {"orbits-projector", "nearest-projector"}
    assert len(findings.tables["faces"]) == 2
    assert set(findings.captions) == {*findings.figures, "faces"}
    assert [claim.holds for claim in findings.claims] == [True, True]
    assert "0.02 (0.02 to 0.02, 2 seeds)" in findings.claims[0].ours
    assert "not measured" in findings.claims[0].ours
    assert "small version" in findings.text
    assert "celeba-ign" in findings.text


def test_nearer_than_unseen_people_is_memorised(run: Path) -> None:
    assert examined(run, nearest_training=8.9).claims[1].holds is False


@pytest.mark.parametrize("distance", [1.0, 20.0])
def test_a_collapse_says_nothing_of_memory(run: Path, distance: float) -> None:
    projects, memory = examined(run, verdict="constant", nearest_training=distance).claims
    assert projects.holds is False
    assert memory.holds is None


def test_nothing_completed_is_said() -> None:
    findings = faces.examine(Material({}, False, lambda line: None))
    assert "No trial" in findings.text
    assert not findings.figures


def test_the_sweeps_resolve_to_one_budget_and_one_network_but_for_the_construction() -> None:
    study = faces.study()
    experiments = {name: sweep.resolve(sweep.settings()[0]) for name, sweep in study.sweeps.items()}
    networks = {name: str(experiment.model.table()) for name, experiment in experiments.items()}
    assert len({networks[name] for name in networks if not name.startswith("section")}) == 1
    assert networks["section"] == networks["section-64"] == str(idemlab.resolve("generation-section").model.table())
    assert len({str(experiment.training) for experiment in experiments.values()}) == 1
    assert set(study.sweeps) == set(study.quick) == set(faces.VARIANTS)
