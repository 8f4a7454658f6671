"""Evaluation inputs, the metrics at each, and the verdict of the whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import idemlab
from idemlab.contracts.metric import Metric
from idemlab.objective.evaluation import evaluate, examples, overall
from idemlab.objective.parts import assemble
from idemlab_metrics.errors import TargetError

Make = Callable[..., dict[str, Any]]
CPU = torch.device("cpu")


def _evaluate(table: dict[str, Any], f: Callable[[torch.Tensor], torch.Tensor], **settings: Any) -> Any:
    experiment = idemlab.resolve(table)
    parts = assemble(experiment)
    return evaluate(experiment, parts, f, CPU, **({"rank_points": 1} | settings))


def test_every_input_has_its_certificate_and_metrics(tiny: Make) -> None:
    inputs = {"noise": "gaussian", "corrupted": {"name": "corrupted", "noise": 0.5}}
    metrics = ["reconstruction-error", "restoration-error"]
    evaluation = _evaluate(tiny(evaluation={"inputs": inputs, "metrics": metrics, "points": 20}), lambda x: 0.5 * x)
    assert list(evaluation.certificates) == ["data", "noise", "corrupted"]
    assert {c.points for c in evaluation.certificates.values()} == {20}
    flat = evaluation.flat()
    assert {"data/reconstruction_error", "corrupted/restoration_error", "noise/relative", "noise/rank"} <= set(flat)
    assert "noise/reconstruction_error" not in flat
    data = assemble(idemlab.resolve(tiny())).dataset.test.__getitems__(list(range(20))).input
    assert flat["data/reconstruction_error"] == pytest.approx(float((0.5 * data).abs().mean()), rel=1e-6)
    assert "noise/rank" not in _evaluate(tiny(), lambda x: x, rank_points=0).flat()


def test_inputs_are_the_same_in_every_evaluation(tiny: Make) -> None:
    first, again = (_evaluate(tiny(), lambda x: 0.3 * x, rank_points=0).flat() for _ in range(2))
    assert first == again


def test_the_identity_is_right_at_the_data_unless_its_targets_differ(tiny: Make) -> None:
    evaluation = _evaluate(tiny(), lambda x: x, rank_points=0)
    assert evaluation.certificates["data"].verdict is idemlab.Verdict.GENUINE
    assert evaluation.certificates["noise"].verdict is idemlab.Verdict.IDENTITY
    sorting = tiny(dataset={"name": "sequences", "length": 4, "train": 32, "test": 16}, evaluation={"inputs": {}})
    assert _evaluate(sorting, lambda x: x, rank_points=0).verdict is idemlab.Verdict.IDENTITY


def test_the_verdict_of_the_whole_is_the_most_severe() -> None:
    v = idemlab.Verdict
    assert overall([v.GENUINE, v.CONSTANT, v.NOT_IDEMPOTENT]) is v.CONSTANT
    assert overall([v.GENUINE, v.IDENTITY, v.NOT_IDEMPOTENT]) is v.IDENTITY
    assert overall([v.GENUINE, v.GENUINE]) is v.GENUINE


def test_metrics_share_the_orbit_and_set_level_ones_are_forgotten(tiny: Make) -> None:
    class Counting(Metric):
        seen = 0

        def __call__(self, orbit: idemlab.Orbit, batch: idemlab.Batch) -> dict[str, torch.Tensor]:
            self.seen += len(batch)
            assert torch.equal(orbit.live(2), 0.25 * batch.input)
            return {}

        def compute(self) -> dict[str, float]:
            seen, self.seen = self.seen, 0
            return {"seen": float(seen)}

    experiment = idemlab.resolve(tiny(evaluation={"batch_size": 7}))
    parts = assemble(experiment)
    parts.metrics.append(((), Counting()))
    evaluation = evaluate(experiment, parts, lambda x: 0.5 * x, CPU, rank_points=0)
    assert evaluation.metrics["data"]["seen"] == 32.0
    assert evaluation.metrics["noise"]["seen"] == 32.0


def test_certificate_and_metrics_share_one_orbit(tiny: Make) -> None:
    """Every application of f to the 32 test samples is made once, whoever asks; metrics go on where the certificate ends."""

    class Deep(Metric):
        def __call__(self, orbit: idemlab.Orbit, batch: idemlab.Batch) -> dict[str, torch.Tensor]:
            assert torch.equal(orbit.live(1), orbit.ahead(0))
            return {"deep": orbit.ahead(5).flatten(1).sum(1)}

    def rows(*metrics: Metric) -> int:
        seen = []

        def counted(x: torch.Tensor) -> torch.Tensor:
            seen.append(len(x))
            return 0.5 * x

        experiment = idemlab.resolve(tiny(evaluation={"inputs": {}, "batch_size": 7, "depth": 3}))
        parts = assemble(experiment)
        parts.metrics[:] = [((), metric) for metric in metrics]
        evaluate(experiment, parts, counted, CPU, rank_points=0)
        return sum(seen)

    points, tried = 32 * 4, 2 * 8  # f^1 ... f^4; 8 of them with a small step beside, to see whether f is discrete
    assert rows() == points + tried
    assert rows(TargetError("error"), TargetError("again")) == points + tried
    assert rows(TargetError("error"), Deep()) == points + 2 * 32 + tried


def test_the_sentence_says_what_the_numbers_add_and_at_which_inputs(tiny: Make) -> None:
    evaluation = _evaluate(tiny(), torch.round, rank_points=0)
    notes = "At noise it is discrete: a small change of the input changes nothing."
    assert evaluation.sentence.startswith(idemlab.Verdict.GENUINE.sentence)
    assert notes in evaluation.sentence
    alone = _evaluate(tiny(evaluation={"inputs": {}}), lambda x: 1.0 * x, rank_points=0)
    assert alone.sentence.endswith("Only data were measured, and there a projection and the identity look the same.")
    assert "At noise: no spectrum: f gives no gradient." in _evaluate(tiny(), lambda x: x.detach()).sentence


def test_examples_are_the_first_ones_and_noise_has_no_target(tiny: Make) -> None:
    inputs = {"noise": "gaussian", "corrupted": {"name": "corrupted", "noise": 0.5}}
    experiment = idemlab.resolve(tiny(evaluation={"inputs": inputs, "depth": 2}))
    parts = assemble(experiment)
    shown = {e.name: e for e in examples(experiment, parts, lambda x: 0.5 * x, CPU, count=3)}
    test = parts.dataset.test.__getitems__([0, 1, 2]).input
    assert torch.equal(shown["data"].orbit[0], test)
    assert torch.equal(shown["data"].orbit[2], 0.25 * test)
    assert shown["noise"].target is None
    assert shown["corrupted"].target is not None
    assert torch.equal(shown["corrupted"].target, test)
    assert not torch.equal(shown["corrupted"].orbit[0], test)
