"""Reconstruction and restoration error, distance to a known manifold and to an exact projection."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from idemlab import BadInput, Batch, Dataset, Orbit
from idemlab_metrics.errors import ManifoldDistance, ProjectionDistance, TargetError


class Shift(nn.Module):
    def forward(self, x):
        return x + 0.5


def test_target_error_is_the_mean_absolute_difference_of_each_sample():
    x = torch.tensor([[[1.0, -2.0]], [[0.0, 4.0]]], dtype=torch.float64)
    target = torch.tensor([[[1.5, -1.5]], [[0.0, 0.0]]], dtype=torch.float64)
    values = TargetError("restoration_error")(Orbit(Shift(), x), Batch(x, target))
    assert list(values) == ["restoration_error"]
    assert values["restoration_error"].tolist() == [0.0, (0.5 + 4.5) / 2]


def test_target_error_shares_the_orbit():
    class Counting(Shift):
        calls = 0

        def forward(self, x):
            Counting.calls += 1
            return super().forward(x)

    x = torch.zeros(3, 2)
    orbit = Orbit(Counting(), x)
    for name in ("a", "b"):
        TargetError(name)(orbit, Batch(x, x))
    assert Counting.calls == 1


def test_manifold_distance_is_measured_at_the_output():
    data = Dataset.of_tensors(
        train=torch.zeros(2, 3), test=torch.zeros(2, 3), distance=lambda y: (y.norm(dim=1) - 1).abs()
    )
    metric = ManifoldDistance()
    metric.fit(data)
    x = torch.tensor([[-0.5, -0.5, 1.5], [-0.5, -0.5, -0.5]])
    values = metric(Orbit(Shift(), x), Batch(x, x))
    assert values["manifold_distance"].tolist() == [1.0, 1.0]  # f(x) is (0, 0, 2) and 0


def test_manifold_distance_needs_a_known_manifold():
    data = Dataset.of_tensors(train=torch.zeros(2, 3), test=torch.zeros(2, 3))
    with pytest.raises(BadInput, match="manifold is known") as caught:
        ManifoldDistance().fit(data)
    assert "torus" in caught.value.next_step


def test_projection_distance_is_that_to_the_exact_operator_at_the_input():
    data = Dataset.of_tensors(
        train=torch.zeros(2, 2), test=torch.zeros(2, 2), projection=lambda x: x * torch.tensor([1.0, 0.0])
    )
    metric = ProjectionDistance()
    metric.fit(data)
    x = torch.tensor([[3.0, 5.0], [-3.0, -4.5]])
    values = [metric(Orbit(Shift(), part), Batch(part, part)) for part in x.split(1)]
    off = [(0.5**2 + 5.5**2) ** 0.5, (0.5**2 + 4.0**2) ** 0.5]  # f(x) - P(x) = (0.5, 5.5) and (0.5, -4)
    assert torch.cat([value["projection_distance"] for value in values]).tolist() == pytest.approx(off)
    error = ((off[0] ** 2 + off[1] ** 2) / 2 / 9) ** 0.5  # P(x) is (3, 0) and (-3, 0)
    assert metric.compute() == {"projection_error": pytest.approx(error)}
    assert metric.compute() == {}
    same = torch.ones(2, 2)
    metric(Orbit(Shift(), same), Batch(same, same))
    assert metric.compute() == {}, "one point has no spread to compare with"
    with pytest.raises(BadInput, match="exact projection is known"):
        ProjectionDistance().fit(Dataset.of_tensors(train=x, test=x))
