"""Soft couplings under a condition: noise is coupled with the samples of its own class, whatever lies nearer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from idemlab import Batch, Dataset, Step, TensorRows
from idemlab_data.matched import TransportSource
from idemlab_data.noise import GaussianSource


class Shifted(nn.Module):
    """f(x, c) = x + 10 c, or x + 10 (1 - c), with codes of the same kind."""

    def __init__(self, swapped: bool) -> None:
        super().__init__()
        self._swapped = swapped

    def forward(self, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return x + 10 * (1 - c if self._swapped else c)[:, None]

    encode = forward


@pytest.mark.parametrize(
    "settings", [{"temperatures": [0.1]}, {"temperatures": [0.1], "cost": "code"}, {"squared": True}], ids=str
)
def test_targets_of_softly_coupled_noise_lie_in_their_class(settings):
    stream = torch.Generator().manual_seed(0)
    classes = torch.arange(200) % 2
    x = 10 * classes[:, None] + torch.randn(200, 5, generator=stream)
    rows = TensorRows(x, condition=classes, label=classes)
    source = TransportSource(40, GaussianSource(1.0), True, **settings)
    source.fit(Dataset(train=rows, test=rows, shape=(5,), classes=2))
    batch = Batch(x[:40], x[:40], classes[:40])
    # What f makes of a class lies at the samples of the other one, and is to become samples of its own.
    points = source.sample(batch, Step(seed=1), Shifted(swapped=True))
    assert points.condition is not None
    assert points.condition.unique().tolist() == [0, 1]
    away = (points.targets - 10 * points.condition[:, None]).norm(dim=1)
    assert away.max() < 8  # the other class is 22 away
    f = Shifted(swapped=False)  # f(z) has the distribution of the data already
    points = source.sample(batch, Step(seed=2), f)
    assert (points.targets - f(points.points, points.condition)).mean(0).norm() < 1
