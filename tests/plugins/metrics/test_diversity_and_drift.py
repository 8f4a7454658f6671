"""How much outputs differ across inputs, and along the orbit."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from torch import nn

from idemlab import Batch, Dataset, Metric, Orbit, certify
from idemlab_metrics import diversity
from idemlab_metrics.diversity import Diversity, mean_distance
from idemlab_metrics.drift import Drift


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def measured(metric: Metric, operator: nn.Module, x: torch.Tensor) -> dict[str, float]:
    for part in x.split(7):
        assert metric(Orbit(operator, part), Batch(part, part)) == {}
    return metric.compute()


class Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


def test_mean_distance_is_that_of_all_pairs_whatever_the_chunks(monkeypatch):
    monkeypatch.setattr(diversity, "_CHUNK", 4)
    rows = normal(11, 3)
    pairs = [float((a - b).norm()) for a, b in combinations(rows, 2)]
    assert mean_distance(rows) == pytest.approx(sum(pairs) / len(pairs), rel=1e-9)


@pytest.mark.parametrize("factor", [1.0, 0.25, 0.0])
def test_diversity_is_relative_to_the_test_data(factor):
    test = normal(20, 1, 4, 4)
    metric = Diversity("pca")
    metric.fit(Dataset.of_tensors(train=normal(50, 1, 4, 4, seed=1), test=test))
    values = measured(metric, Scale(factor), test + 3)
    assert values == pytest.approx({"diversity_pixels": factor, "diversity_pca": factor}, rel=1e-4, abs=1e-6)
    assert metric.compute() == {}


def test_one_output_says_nothing_about_diversity_and_is_forgotten():
    metric = Diversity("pca")
    metric.fit(Dataset.of_tensors(train=normal(9, 3), test=normal(5, 3)))
    assert measured(metric, Scale(1.0), normal(1, 3)) == {}
    assert measured(metric, Scale(1.0), normal(5, 3))["diversity_pixels"] == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_drift_is_the_change_from_f_to_the_kth_power_over_the_spread(depth):
    x = normal(30, 2, 3)
    y, last = 0.9 * x, 0.9**depth * x
    expected = ((last - y).square().sum() / (y - y.mean(0)).square().sum()).sqrt().item()
    assert measured(Drift(depth), Scale(0.9), x) == {f"drift_{depth}": pytest.approx(expected, rel=1e-12)}


def test_drift_of_the_first_points_applies_f_to_no_batch_after_them():
    x, f = normal(30, 3), nn.Sequential(nn.Linear(3, 3), nn.Tanh()).double()
    expected = measured(Drift(5), f, x[:12])
    calls = []
    f.register_forward_pre_hook(lambda module, arguments: calls.append(len(arguments[0])))
    metric = Drift(5, 12)
    for _ in range(2):
        with torch.no_grad():
            for part in x.split(8):
                metric(Orbit(f, part), Batch(part, part))
        assert metric.compute() == pytest.approx(expected, rel=1e-12)
    assert calls == [8] * 20


def test_drift_to_the_second_power_is_the_certificate_s_relative_error():
    x, operator = normal(40, 6), nn.Sequential(nn.Linear(6, 6), nn.Tanh()).double()
    drift = measured(Drift(2), operator, x)["drift_2"]
    assert drift == pytest.approx(certify(operator, x, depth=2).relative[0], rel=1e-9)


def test_a_constant_does_not_drift_and_what_moves_without_spread_drifts_infinitely():
    x = torch.ones(8, 2, dtype=torch.float64)
    metric = Drift(3)
    assert measured(metric, Scale(1.0), x) == {"drift_3": 0.0}
    assert measured(metric, Scale(0.5), x) == {"drift_3": math.inf}
    assert metric.compute() == {}
