"""The second round of `generation`: its claims, curves and figures follow from the figures of the trials."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pandas
import pytest
from matplotlib.figure import Figure

from idemlab import Run
from idemlab.runs.writing import append_entry
from idemlab.studies.study import Claim, Findings, Material
from idemlab.sweeps.results import Results, Trial
from idemlab_registry.studies import generation
from idemlab_registry.studies.generation_asked import ASKED

REACHED = {
    "frechet_cnn_1": 11.0, "frechet_cnn_2": 11.0, "frechet_cnn_3": 11.0, "classes": 10.0, "readable": 0.96,
    "smallest_class": 0.07, "drift_3": 0.005, "drift_50": 0.015, "relative": 0.004, "recall_cnn_1": 0.65, "spread": 0.5,
    "nearest_training": 9.5, "nearest_training_of_test": 10.0, "copied_pca": 0.01, "copied_pca_margin": 0.05,
    "copied_hog": -0.02, "copied_hog_margin": 0.04,
}  # fmt: skip


CLOCK = {"seconds": 1.0}


@pytest.fixture(autouse=True)
def drawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims are weighed without drawing."""
    if "drawn" not in request.node.name:
        monkeypatch.setattr(generation, "dots", lambda variants, asked: Figure())
        monkeypatch.setattr(generation, "price_drawn", lambda variants, asked: Figure())


def trial(path: Path, seed: int = 0, flops: float = 6e13, **changes: float) -> Trial:
    figures = {f"noise/{name}": value for name, value in (REACHED | changes).items()}
    return Trial(
        number=seed, values={}, seed=seed, state="complete", error="", verdict="genuine", metrics=dict(figures), steps=60,
        flops=flops, seconds=1.0, path=path,
    )  # fmt: skip


def examined(**sweeps: Trial) -> Findings:
    results = {name.replace("_", "-"): Results((one,), (), Path()) for name, one in sweeps.items()}
    return generation.examine(Material(results, True, lambda line: None))


def claim(findings: Findings, words: str) -> Claim:
    (found,) = [one for one in findings.claims if words in one.claim]
    return found


def test_all_that_was_asked_holds_where_every_figure_reaches_it(tmp_path: Path) -> None:
    findings = examined(
        soft_long=trial(tmp_path),
        soft_free_long=trial(tmp_path, frechet_cnn_1=10.0),
        section_long=trial(tmp_path, relative=4e-7),
    )
    assert [one.holds for one in findings.claims] == [True] * len(findings.claims)
    assert len(findings.claims) == len(ASKED) + 5
    assert "1.10 times, at equal FLOPs" in claim(findings, "unconstrained autoencoder").conclusion
    assert "Reached by 2 of 2" in claim(findings, "together").conclusion
    assert set(findings.tables) == {"quality", "overlap", "idempotence", "judges", "rejection"}
    assert {"figures-later", "price-later", "budgets"} <= set(findings.figures)
    assert findings.figures["budgets"] is None  # the runs are gone
    assert findings.figures["generated-later"] is None
    assert findings.figures["generated-later-section-long"] is None  # a record may have it from a continuation
    assert "generated" not in findings.figures  # of the first round there is nothing
    assert set(findings.captions) == set(findings.figures) | set(findings.tables)


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("ten classes", {"classes": 9.0}),
        ("ten classes", {"smallest_class": 0.059}),
        ("ten classes", {"readable": 0.94}),
        ("at most 12", {"frechet_cnn_1": 12.1}),
        ("recalls", {"recall_cnn_1": 0.59}),
        ("at noise is at most", {"relative": 0.011}),
        ("drifts", {"drift_3": 0.011}),
        ("drifts", {"drift_50": 0.021}),
        ("together", {"drift_50": 0.021}),
        ("together", {"relative": 0.011}),
        ("0.9 times as far", {"nearest_training": 8.9}),
        ("no more often", {"copied_hog": 0.05}),
        ("unconstrained autoencoder", {"frechet_cnn_1": 13.1}),
        ("as well as a trained", {"frechet_cnn_1": 9.0}),
    ],
)
def test_each_falls_with_its_figure(tmp_path: Path, words: str, changes: dict[str, float]) -> None:
    exact = {} if "as well" not in words else {"section_long": trial(tmp_path)}
    free = trial(tmp_path, frechet_cnn_1=10.0)
    found = claim(examined(soft_long=trial(tmp_path, **changes), soft_free_long=free, **exact), words)
    assert found.holds is False
    assert found.conclusion != "Reached."


def test_a_section_is_compared_with_its_own_network(tmp_path: Path) -> None:
    variants = {"section_long": trial(tmp_path), "soft_free_long": trial(tmp_path, frechet_cnn_1=1.0)}
    assert not [one for one in examined(**variants).claims if "unconstrained" in one.claim]
    findings = examined(**variants, section_free_long=trial(tmp_path, frechet_cnn_1=10.0))
    assert claim(findings, "unconstrained autoencoder").holds is True


def test_the_price_of_a_construction_is_told_on_its_own_network_only(tmp_path: Path) -> None:
    linear = examined(linearizer_long=trial(tmp_path), soft_free_long=trial(tmp_path))
    assert not [one for one in linear.claims if "unconstrained" in one.claim]  # that is another network


def test_a_condition_has_its_own_claim_and_is_not_the_best_of_the_unconditional(tmp_path: Path) -> None:
    one = trial(tmp_path, frechet_cnn_1=5.0, asked_class=0.981, asked_class_worst=0.95, asked_class_of_test=0.99)
    findings = examined(soft_long=trial(tmp_path), section_class=one)
    assert claim(findings, "of the class asked for").holds is True
    assert "0.981" in claim(findings, "of the class asked for").ours
    assert "soft coupling, long" in claim(findings, "at most 12").ours
    assert list(findings.tables["classes"]["variant"]) == ["(h) section, of the class asked for"]
    short = trial(tmp_path, asked_class=0.97)
    both = examined(section_class_8=short, section_class=one, section_class_16=trial(tmp_path))
    assert claim(both, "of the class asked for") == claim(findings, "of the class asked for")
    missed = examined(section_class=trial(tmp_path, asked_class=0.979))
    assert claim(missed, "of the class asked for").holds is False
    assert claim(examined(section_class=trial(tmp_path)), "of the class asked for").holds is None


@pytest.mark.parametrize(
    ("flops", "distance", "holds", "said"),
    [
        (6e13, 10.0, True, "0.91 times that of the trained one."),
        (6e13, 12.0, False, "1.09 times that of the trained one."),
        (4e13, 10.0, True, "0.91 times that of the trained one, with fewer FLOPs."),
        (8e13, 12.0, False, "1.09 times that of the trained one, with more FLOPs."),
        (4e13, 12.0, None, "Open"),
        (8e13, 10.0, None, "Open"),
    ],
)
def test_of_unequal_budgets_only_the_smaller_can_win(
    tmp_path: Path, flops: float, distance: float, holds: bool | None, said: str
) -> None:
    exact = trial(tmp_path, flops=flops, frechet_cnn_1=distance)
    found = claim(examined(soft_long=trial(tmp_path), section_long=exact), "as well as a trained projection")
    assert found.holds is holds
    assert said in found.conclusion


def test_what_is_not_measured_or_not_comparable_is_open(tmp_path: Path) -> None:
    nothing = float("nan")
    findings = examined(soft_long=trial(tmp_path, drift_50=nothing), soft_free_long=trial(tmp_path, flops=1e13))
    assert claim(findings, "drifts").holds is None
    assert claim(findings, "unconstrained autoencoder").holds is None
    assert "budgets differ" in claim(findings, "unconstrained autoencoder").conclusion
    assert claim(findings, "together").holds is False


def test_the_best_is_what_reaches_most_and_each_round_is_held_against_its_own_and_drawn_apart(tmp_path: Path) -> None:
    nearer, stiller = trial(tmp_path, frechet_cnn_1=5.0, drift_3=0.1, drift_50=0.3, relative=0.05), trial(tmp_path)
    exact = trial(tmp_path, drift_3=0.0, relative=0.0)
    findings = examined(
        soft=nearer,
        soft_long=stiller,
        quantised_long=exact,
        imle=trial(tmp_path),
        ign=trial(tmp_path, frechet_cnn_1=100.0),
    )
    assert "soft coupling, long" in claim(findings, "at most 12").ours
    assert "IMLE" in claim(findings, "each with 5 %").ours
    assert {"figures", "figures-later"} <= set(findings.figures)
    for name, axes in (("figures-later", 2), ("price-later", 0)):
        figure = findings.figures[name]
        assert figure is not None
        assert figure.axes[axes].get_xscale() == "log"  # although a construction does not move at all


def test_of_equally_good_ones_the_best_needs_no_labels(tmp_path: Path) -> None:
    nearer = trial(tmp_path, frechet_cnn_1=9.0)
    findings = examined(section_union=nearer, section_clusters=trial(tmp_path))
    assert "no labels" in claim(findings, "at most 12").ours
    worse = examined(section_union=nearer, section_clusters=trial(tmp_path, recall_cnn_1=0.5))
    assert "labels in training" in claim(worse, "at most 12").ours


def test_ign_is_told_with_the_budget_from_which_it_covers_all_classes(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for step, classes in [(20, 3.0), (40, 10.0), (60, 10.0)]:
        values = {"classes": classes, "frechet_cnn_1": 70.0 - step, "readable": 0.5, "drift_3": 0.1}
        append_entry(Run(run), step, "evaluation", {f"noise/{name}": value for name, value in values.items()}, CLOCK)
    append_entry(Run(run), 60, "train", {"loss": 1.0}, CLOCK)
    findings = examined(ign_256_longest=trial(run, flops=2.4e14), cubic_both_long=trial(tmp_path, classes=1.0))
    found = claim(findings, "longest generates")
    assert found.holds
    assert "From 1.6e+14 FLOPs on" in found.conclusion
    given = claim(findings, "cubic for both terms, long generates")
    assert given.holds is False
    assert "1 of ten classes, and was given the chance" in given.conclusion
    table = findings.tables["curves"]
    assert table["FLOPs"].tolist() == pytest.approx([8e13, 1.6e14, 2.4e14])
    assert table["classes"].tolist() == [3, 10, 10]
    figure = findings.figures["budgets"]
    assert isinstance(figure, Figure)
    assert [len(axes.lines) for axes in figure.axes] == [1, 1, 1, 1]


def test_curves_of_runs_that_a_record_no_longer_has_are_those_of_its_table(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for step, drift in [(20, 1 / 3), (60, math.nan)]:
        append_entry(Run(run), step, "evaluation", {"noise/classes": 10.0, "noise/drift_3": drift}, CLOCK)
    results = {"ign-256-longest": Results((trial(run, flops=2.4e14),), (), Path())}
    first = generation.examine(Material(results, False, lambda line: None))
    first.tables["curves"].to_csv(tmp_path / "curves.csv", index=False)
    kept = {"curves": pandas.read_csv(tmp_path / "curves.csv", dtype=str, keep_default_na=False)}
    shutil.rmtree(run)
    assert "curves" not in generation.examine(Material(results, False, lambda line: None)).tables
    again = generation.examine(Material(results, False, lambda line: None, kept))
    assert again.tables["curves"].equals(first.tables["curves"])
    assert again.claims == first.claims
    other = {"curves": pandas.DataFrame()}  # emptied, or of another study
    assert "curves" not in generation.examine(Material(results, False, lambda line: None, other)).tables
