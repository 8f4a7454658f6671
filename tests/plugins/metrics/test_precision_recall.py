"""Precision, recall, density and coverage: sets made by hand, and the definitions written out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from idemlab import Batch, Dataset, Orbit
from idemlab_metrics import manifolds
from idemlab_metrics.manifolds import PrecisionRecall, precision_recall
from idemlab_metrics.rows import representative


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def written_out(data: torch.Tensor, outputs: torch.Tensor) -> dict[str, float]:
    """The definitions, pair by pair."""

    def reach(rows: torch.Tensor, k: int) -> list[float]:
        return [sorted(float((a - b).norm()) for j, b in enumerate(rows) if j != i)[k - 1] for i, a in enumerate(rows)]

    r3, r5, R3 = reach(data, 3), reach(data, 5), reach(outputs, 3)
    d = [[float((y - x).norm()) for x in data] for y in outputs]
    N, M = range(len(data)), range(len(outputs))
    return {
        "precision": sum(any(d[j][i] <= r3[i] for i in N) for j in M) / len(M),
        "recall": sum(any(d[j][i] <= R3[j] for j in M) for i in N) / len(N),
        "density": sum(d[j][i] <= r5[i] for i in N for j in M) / (5 * len(M)),
        "coverage": sum(any(d[j][i] <= r5[i] for j in M) for i in N) / len(N),
    }


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("sizes", [(30, 30), (25, 12)], ids=str)
def test_they_are_what_the_definitions_say_whatever_the_chunks(shift, sizes, monkeypatch):
    monkeypatch.setattr(manifolds, "_CHUNK", 7)
    data, outputs = normal(sizes[0], 3), 0.7 * normal(sizes[1], 3, seed=1) + shift
    assert precision_recall(data, outputs) == pytest.approx(written_out(data, outputs), abs=1e-12)


def test_one_good_output_repeated_is_precise_and_recalls_nothing():
    data = torch.arange(40, dtype=torch.float64).unsqueeze(1)
    values = precision_recall(data, torch.full((20, 1), 17.4, dtype=torch.float64))
    assert values["precision"] == 1
    assert values["recall"] == 0
    # The balls of the inner integers reach 3 to either side: those of 15, ..., 20 hold 17.4.
    assert values["density"] == 6 / 5
    assert values["coverage"] == 6 / 40


def test_half_of_the_data_is_half_recalled_and_noise_far_away_is_imprecise():
    left, right = normal(50, 2), normal(50, 2, seed=1) + 100
    data = torch.cat([left, right])
    half = precision_recall(data, left + 1e-6)
    assert half == pytest.approx({"precision": 1, "recall": 0.5, "density": half["density"], "coverage": 0.5})
    away = precision_recall(data, normal(100, 2, seed=2) - 1000)
    assert away == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


def test_two_samples_of_one_distribution_have_density_one_and_the_coverage_of_theory():
    values = precision_recall(normal(2000, 8), normal(2000, 8, seed=1))
    assert values["density"] == pytest.approx(1, abs=0.05)
    assert values["coverage"] == pytest.approx(1 - 2**-5, abs=0.02)


class Halve(nn.Module):
    def forward(self, x):
        return x / 2


def test_the_metric_follows_the_orbit_against_as_many_training_samples():
    data = Dataset.of_tensors(train=normal(80, 4), test=normal(30, 4, seed=1))
    metric = PrecisionRecall("pca")
    metric.fit(data)
    x = 2 * normal(20, 4, seed=2)
    for part in x.split(9):
        assert metric(Orbit(Halve(), part), Batch(part, part)) == {}
    train = data.train.input[representative(80, 20)]
    test = data.test.input[representative(30, 20)]
    expected = {
        f"{measure}_pca_{name}": value
        for name, rows in {"1": x / 2, "2": x / 4, "3": x / 8, "of_test": test}.items()
        for measure, value in precision_recall(train, rows).items()
    }
    assert metric.compute() == pytest.approx(expected)
    assert metric.compute() == {}


def test_the_metric_is_silent_where_there_are_too_few_neighbours():
    metric = PrecisionRecall("pca")
    metric.fit(Dataset.of_tensors(train=normal(80, 4), test=normal(30, 4, seed=1)))
    x = normal(5, 4)
    metric(Orbit(Halve(), x), Batch(x, x))
    assert metric.compute() == {}
