"""The study `generation`: fair sweeps, claims that follow from figures, pictures of every variant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure

import idemlab
from idemlab.certificate.verdict import THRESHOLDS
from idemlab.studies.study import Claim, Findings, Material
from idemlab.sweeps.results import Results, Trial
from idemlab_registry.studies import generation, generation_variants

GOOD = {
    "noise/frechet_cnn_1": 1.0, "noise/frechet_cnn_2": 1.1, "noise/frechet_cnn_3": 1.2, "noise/classes": 10.0,
    "noise/readable": 0.9, "noise/smallest_class": 0.06, "noise/drift_3": 0.02, "noise/relative": 0.015,
    "noise/spread": 0.5, "noise/rank": 30.0, "noise/nearest_training": 9.5, "noise/nearest_training_of_test": 10.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run, of two steps."""
    folder = tmp_path_factory.mktemp("generation") / "run"
    overrides = [
        "dataset.name=digits", "model.channels=4", "model.latent=8", "source.pool=8", "training.steps=2",
        "training.batch_size=8", "evaluation.points=20", "evaluation.rank_points=0", "evaluation.metrics=[]",
    ]  # fmt: skip
    idemlab.train("generation-imle", folder, overrides=overrides)
    return folder


@pytest.fixture(autouse=True)
def pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims are weighed without drawing images, but where a test is about what is drawn."""
    if "drawn" not in request.node.name:
        monkeypatch.setattr(generation, "orbit_panel", lambda trained: Figure())
        monkeypatch.setattr(generation, "generated", lambda variants: Figure())


def trial(path: Path, seed: int = 0, state: str = "complete", **changes: float) -> Trial:
    figures = GOOD | {f"noise/{name}": value for name, value in changes.items()}
    return Trial(
        number=seed, values={}, seed=seed, state=state, error="" if state == "complete" else "NaN at step 7",
        verdict="genuine" if state == "complete" else "", metrics=dict(figures), steps=10, flops=1e9, seconds=1.0, path=path,
    )  # fmt: skip


def examined(**sweeps: list[Trial]) -> Findings:
    results = {name.replace("_", "-"): Results(tuple(trials), (), Path()) for name, trials in sweeps.items()}
    return generation.examine(Material(results, True, lambda line: None))


def claim(findings: Findings, words: str) -> Claim:
    (found,) = [one for one in findings.claims if words in one.claim]
    return found


def test_the_variants_of_a_round_have_one_network_one_data_set_and_budgets_on_both_sides() -> None:
    sweeps = generation.study().sweeps
    assert set(sweeps) == set(generation_variants.VARIANTS)
    assert set(generation_variants.ADVERSARIAL) | set(generation_variants.PUBLISHED) <= set(sweeps)
    later = set(generation_variants.LATER)
    assert later <= set(sweeps)
    tables = {name: sweep.resolve(sweep.settings()[0]).table() for name, sweep in sweeps.items()}
    budgets = {name: table["training"].pop("flops") for name, table in tables.items()}
    long = {name for name in sweeps if name.endswith("-long")}
    assert budgets.pop("section-class") == 2e13
    assert [budgets.pop(name) for name in generation_variants.UNIONS] == [4e13, 4e13]
    assert {name: budgets[name] for name in budgets if name not in long} == {
        name: 2e14 if name.endswith("-longest") else 1e13 for name in budgets if name not in long
    }
    assert all(budgets[name] == (4e13 if name.startswith("section") else 6e13) for name in long)
    assert (long - later) & set(generation_variants.PUBLISHED)
    assert (long - later) - set(generation_variants.ADVERSARIAL)
    for name, table in tables.items():
        base = tables["soft"] if name in later else tables["control"]
        conditional = name in generation_variants.CONDITIONAL
        given = {"section-union": "training", "section-clusters": "clusters"}.get(
            name, "label" if conditional else None
        )
        assert table["dataset"] == base["dataset"] | ({} if given is None else {"condition": given})
        metrics = [metric for metric in table["evaluation"]["metrics"] if metric["name"] != "asked-class"]
        assert metrics == base["evaluation"]["metrics"]
        assert conditional is (len(metrics) < len(table["evaluation"]["metrics"]))
        assert table["reconstruction"]["weight"] == base["reconstruction"]["weight"]
        batch = table["training"].pop("batch_size")
        assert batch == (256 if name in generation_variants.AT_ITS_BUDGET else 64)
        assert table["training"] == {k: v for k, v in base["training"].items() if k != "batch_size"}
        if not name.startswith(("section", "linearizer", "biorthogonal", "quantised")):
            assert table["model"] | {"norm": "group"} == tables["control"]["model"]
    for name, twin in generation_variants.TWINS.items():
        free, trained = tables[twin], tables[name]
        for table in (free, trained):
            del table["evaluation"]["every"]  # in steps, which cost less with nothing enforced
        assert {key for key in free if free[key] != trained[key]} == {"enforcer"}


@pytest.mark.parametrize("name", ["ign-fourier", "transport-fourier", "ign-256-fourier"])
def test_it_is_evaluated_at_the_noise_that_it_is_trained_on(name: str) -> None:
    sweep = generation.study().sweeps[name]
    experiment = sweep.resolve(sweep.settings()[0])
    source = experiment.sources[0].table()  # what draws noise stands first
    assert experiment.inputs["noise"].name == "fourier"
    assert "fourier" in (source["name"], source.get("noise", {}).get("name"))


def test_the_small_version_is_small_and_needs_no_files() -> None:
    quick = generation.study().quick
    assert quick
    for sweep in quick.values():
        (experiment,) = (sweep.resolve(setting) for setting in sweep.settings())
        assert experiment.dataset.name == "digits"
        assert experiment.training.flops is not None
        assert experiment.training.flops <= 1e12


def test_the_best_is_the_one_with_the_smallest_distance_and_reaches_what_was_asked_for(run: Path) -> None:
    findings = examined(ign=[trial(run, frechet_cnn_1=4.01)], imle=[trial(run)], cubic=[trial(run, frechet_cnn_1=9.0)])
    for words in ("ten classes", "Fréchet", "twice more", "nearer"):
        assert claim(findings, words).holds, words
        assert "(e) IMLE + relative" in claim(findings, words).ours
    assert "ratio 0.249" in claim(findings, "Fréchet").ours


def test_a_longer_budget_counts_only_beside_an_equal_one_of_the_published_method(run: Path) -> None:
    long = replace(trial(run, frechet_cnn_1=0.5), flops=2e9)
    alone = examined(ign=[trial(run, frechet_cnn_1=4.01)], imle=[trial(run)], transport_long=[long])
    assert "(e) IMLE + relative" in claim(alone, "Fréchet").ours
    beside = replace(trial(run, frechet_cnn_1=3.0), flops=2e9 * 1.001)
    both = examined(ign=[trial(run, frechet_cnn_1=4.01)], transport_long=[long], ign_long=[beside])
    assert "debiased, long: 0.5; IGN: 3;" in claim(both, "Fréchet").ours


def test_the_study_and_the_verdict_draw_the_line_at_the_same_error() -> None:
    assert THRESHOLDS["not idempotent: relative error above"] == generation_variants.MOVES


@pytest.mark.parametrize(
    ("verdict", "figures"),
    [("not idempotent", {"relative": 0.2}), ("not idempotent", {"data/relative": 0.2}), ("constant", {})],
)
def test_what_does_not_project_at_noise_and_digits_is_not_the_best(
    run: Path, verdict: str, figures: dict[str, float]
) -> None:
    better = trial(run, frechet_cnn_1=0.5)
    named = {name if "/" in name else f"noise/{name}": value for name, value in figures.items()}
    moving = replace(better, verdict=verdict, metrics=better.metrics | named)
    findings = examined(ign=[trial(run, frechet_cnn_1=4.01)], imle=[trial(run)], control=[moving])
    assert "(e) IMLE + relative" in claim(findings, "ten classes").ours


def test_the_best_need_not_repair_and_the_claim_says_so(run: Path) -> None:
    better = trial(run, frechet_cnn_1=0.5)
    generates = replace(better, verdict="not idempotent", metrics=better.metrics | {"corrupted/relative": 0.22})
    findings = examined(ign=[trial(run, frechet_cnn_1=4.01)], imle=[trial(run)], transport=[generates])
    still = claim(findings, "twice more").ours
    assert "(e) one to one" in still
    assert "at corrupted digits 0.220" in still
    assert "worst inputs, not idempotent" in still


def test_the_price_of_stillness_has_a_figure_for_noise_matched_to_data_where_there_is_more_than_one(run: Path) -> None:
    figure = examined(imle=[trial(run), trial(run, 1)], cubic=[trial(run)], transport=[trial(run)]).figures["price"]
    assert figure is not None
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        generation_variants.VARIANTS[name] for name in ("imle", "transport")
    ]
    assert [len(axes.lines[0].get_xdata()) for axes in figure.axes] == [2, 2, 2]
    assert "price" not in examined(imle=[trial(run)], cubic=[trial(run)]).figures


@pytest.mark.long
def test_the_price_of_the_penalty_is_told_with_the_errors_beside_it(run: Path) -> None:
    free = trial(run, frechet_cnn_1=0.5, relative=0.2)
    found = claim(examined(transport_debiased=[trial(run)], transport_free=[free]), "costs nothing")
    assert found.holds is False
    assert "relative error at f 0.015, 0.200" in found.ours
    assert "2.00 times" in found.conclusion
    found = claim(
        examined(transport_debiased=[trial(run)], transport_free=[trial(run, frechet_cnn_1=1.5)]), "costs nothing"
    )
    assert found.holds
    with pytest.raises(ValueError, match="not enough values"):
        claim(examined(transport_debiased=[trial(run)]), "costs nothing")


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("ten classes", {"classes": 9.0}),
        ("ten classes", {"readable": 0.84}),
        ("Fréchet", {"frechet_cnn_1": 1.01}),
        ("twice more", {"drift_3": 0.031}),
        ("nearer", {"nearest_training": 8.9}),
    ],
)
def test_a_claim_falls_with_its_figure(run: Path, words: str, changes: dict[str, float]) -> None:
    findings = examined(ign=[trial(run, frechet_cnn_1=4.0)], imle=[trial(run, **changes)])
    assert claim(findings, words).holds is False


def test_the_best_is_compared_with_ign_at_its_best_rate(run: Path) -> None:
    faster = [trial(run, frechet_cnn_1=2.0)]
    findings = examined(ign=[trial(run, frechet_cnn_1=100.0)], ign_faster=faster, imle=[trial(run)])
    assert claim(findings, "Fréchet").holds is False
    assert "IGN: 2;" in claim(findings, "Fréchet").ours


def test_all_seeds_are_reported(run: Path) -> None:
    findings = examined(imle=[trial(run, drift_3=0.01), trial(run, 1, drift_3=0.05), trial(run, 2, drift_3=0.02)])
    assert "0.020 (0.010 to 0.050, 3 seeds)" in claim(findings, "twice more").ours
    assert [len(table) for table in findings.tables.values()] == [3, 3, 3]
    assert "3 genuine" in claim(findings, "twice more").ours


@pytest.mark.parametrize(("cubic", "holds", "who"), [(0.01, True, "cubic iteration"), (0.03, False, "penalty")])
def test_the_cubic_and_the_penalty_are_compared_on_one_source(run: Path, cubic: float, holds: bool, who: str) -> None:
    findings = examined(imle=[trial(run)], imle_cubic=[trial(run, relative=cubic)])
    found = claim(findings, "With noise matched to data")
    assert found.holds is holds
    assert who in found.conclusion


def test_what_was_not_measured_is_not_claimed(run: Path) -> None:
    findings = examined(imle=[trial(run, frechet_cnn_1=float("nan"), drift_3=float("inf"))], ign=[trial(run)])
    assert "(b) IGN" in claim(findings, "Fréchet").ours
    only = examined(imle=[trial(run, drift_3=float("inf"))])
    assert claim(only, "twice more").holds is None
    assert not [one for one in only.claims if "Fréchet" in one.claim]


def test_failed_trials_are_told_and_the_rest_is_drawn(run: Path) -> None:
    findings = examined(imle=[trial(run), trial(run, 1, "failed")], cubic=[trial(run, 0, "failed")])
    assert "2 of 3 trials were not completed: NaN at step 7" in findings.text
    assert set(findings.figures) == {"orbits-imle", "generated", "figures"}
    assert set(findings.captions) == set(findings.figures) | set(findings.tables)


def test_nothing_completed_is_said() -> None:
    findings = examined(imle=[])
    assert "No trial" in findings.text
    assert not findings.claims
