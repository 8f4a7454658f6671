"""The curve of error against restoration at digits: what the claim concludes from given trials."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from idemlab.sweeps.results import Results, Trial
from idemlab_registry.studies import dominance, dominance_curve


def trial(weight: float, error: float, restoration: float, verdict: str = "genuine", rank: float = 20.0) -> Trial:
    metrics: dict[str, float | None] = {"data/relative": error, "corrupted/relative": error, "data/rank": rank}
    metrics |= {"data/reconstruction_error": restoration, "corrupted/restoration_error": restoration}
    return Trial(
        number=0, values={"enforcer.weight": weight}, seed=0, state="complete", error="", verdict=verdict,
        metrics=metrics, steps=1, flops=1.0, seconds=1.0, path=Path("run"),
    )  # fmt: skip


def results(gradient: list[Trial], log: list[Trial]) -> dict[str, Results]:
    arms = {"gradient": gradient, "log": log}
    return {f"repair-curve-{arm}": Results(tuple(trials), (), Path("sweep")) for arm, trials in arms.items()}


CANONICAL = [trial(1.0, 0.12, 0.05), trial(10.0, 0.08, 0.06), trial(100.0, 0.02, 0.2, "constant")]


def test_every_weight_that_did_not_collapse_has_to_be_beaten_in_all_columns() -> None:
    ours = [trial(0.01, 0.11, 0.05), trial(0.1, 0.07, 0.059)]
    (claim,) = dominance_curve.curve_claim(results(CANONICAL, ours))
    assert claim.holds is True
    assert claim.ours == "weight 1 by 0.01; weight 10 by 0.1"
    (claim,) = dominance_curve.curve_claim(results(CANONICAL, [ours[0], trial(0.1, 0.07, 0.061)]))
    assert claim.holds is False
    assert claim.ours == "weight 1 by 0.01; weight 10 by none"
    for useless in (replace(ours[1], verdict="constant"), trial(0.1, 0.07, 0.059, rank=0.0)):
        (claim,) = dominance_curve.curve_claim(results(CANONICAL, [ours[0], useless]))
        assert claim.holds is False


def test_it_is_open_where_trials_failed_and_needs_both_arms() -> None:
    failed = [replace(trial(0.01, 0.1, 0.05), state="failed")]
    assert dominance_curve.curve_claim(results(CANONICAL, failed))[0].holds is None
    (claim,) = dominance_curve.curve_claim(results(CANONICAL[2:], CANONICAL))
    assert (claim.holds, claim.conclusion) == (None, "Open: the canonical loss is constant at all weights.")
    assert dominance_curve.curve_claim(results(CANONICAL, [])) == []


def test_rows_are_medians_over_the_seeds_and_both_curves_have_equal_budgets() -> None:
    rows = dominance_curve.curve_rows(results([trial(1.0, e, 0.05) for e in (0.1, 0.3, 0.2)], []))
    assert [(row["seeds"], row["error at digits"]) for row in rows] == [(3, 0.2)]
    sweeps = [s for name, s in dominance.study().sweeps.items() if name.startswith(dominance_curve.PREFIX)]
    experiments = [sweep.resolve(sweep.settings()[0]) for sweep in sweeps]
    assert len({len(sweep.settings()) for sweep in sweeps}) == 1
    assert len({(str(e.optimizer), str(e.training), str(e.evaluation)) for e in experiments}) == 1
