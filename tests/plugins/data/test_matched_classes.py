"""Noise matched to data under a condition: inside each class alone, and each point is trained under its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn

from idemlab import BadInput, Batch, Dataset, Enforcer, Step, TensorRows, l2
from idemlab.contracts.step import Shard
from idemlab.objective.objective import Objective
from idemlab_data.matched import ImleSource, TransportSource
from idemlab_data.noise import GaussianSource


class Moved(nn.Module):
    """f(x, c): each class is moved by its own number."""

    def forward(self, z: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return z + 3 * condition[:, None]


def by_class(count: int = 60) -> Dataset:
    """Samples in R^5 of three classes, in turn, with these as the condition."""
    x = torch.randn(count, 5, generator=torch.Generator().manual_seed(3))
    label = torch.arange(count) % 3
    rows = TensorRows(x, condition=label, label=label)
    return Dataset(train=rows, test=rows, shape=(5,), classes=3)


def test_imle_takes_the_nearest_of_the_own_class():
    source, data = ImleSource(30, GaussianSource(1.0)), by_class()
    source.fit(data)
    b = data.train.__getitems__(list(range(7)))
    points, targets, condition = source.sample(b, Step(seed=2), Moved())
    assert targets is b.target
    assert condition is None  # that of the batch
    pool = GaussianSource(1.0).fresh(Batch(x := torch.zeros(30, 5), x), Step(seed=2, purpose="train, imle"))
    for z, t, c in zip(points, b.target, b.condition, strict=True):
        own = pool[c::3]
        assert torch.equal(z, own[(own + 3 * c - t).norm(dim=1).argmin()])


@pytest.mark.parametrize("debiased", [False, True])
def test_transport_pairs_inside_each_class_alone_and_says_which(debiased):
    data = by_class()
    source = TransportSource(24, GaussianSource(1.0), debiased)
    source.fit(data)
    b = data.train.__getitems__(list(range(24)))
    points, targets, condition = source.sample(b, Step(seed=2), Moved())
    assert len(points.unique(dim=0)) == 24
    drawn = [data.train.__getitems__([i]) for i in range(60)]
    for each in range(3):
        z, x = points[condition == each], targets[condition == each]
        assert len(z) > 1
        if not debiased:
            assert all(any(torch.equal(t, one.input[0]) and one.condition == each for one in drawn) for t in x)
            order = linear_sum_assignment(torch.cdist(x, z + 3 * each).numpy())[1]
            assert order.tolist() == list(range(len(z)))  # no other pairs of the class are nearer
    for micro in range(2):
        rows = slice(12 * micro, 12 * micro + 12)
        part = source.sample(b.rows(rows), Step(seed=2, shard=Shard(micro=micro, micros=2)), Moved())
        assert torch.equal(part.condition, condition[rows])
        assert torch.equal(part.points, points[rows])


def test_a_pool_has_noise_for_every_class_or_is_refused():
    source, data = ImleSource(2, GaussianSource(1.0)), by_class()
    source.fit(data)
    with pytest.raises(BadInput, match="a pool of 2 has no noise for some of 3 classes") as caught:
        source.sample(data.train.__getitems__([0, 1]), Step(), Moved())
    assert "'pool' of the source to 96" in caught.value.next_step


def test_imle_refuses_a_condition_that_its_pool_has_no_noise_for():
    source, data = ImleSource(30, GaussianSource(1.0)), by_class()
    source.fit(data)
    b = data.train.__getitems__(list(range(7)))
    with pytest.raises(BadInput, match="'imle' met a condition that it does not know"):
        source.sample(b.replace(condition=b.condition + 1), Step(seed=2), Moved())
    source.fit(replace(data, conditions=4))
    source.sample(b.replace(condition=b.condition + 1), Step(seed=2), Moved())


def test_the_objective_trains_each_point_under_its_own_class():
    class Seen(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(()))
            self.seen = []

        def forward(self, z, condition):
            self.seen.append((z.detach(), condition))
            return Moved()(z, condition) + self.shift

    data, f = by_class(), Seen()
    source = TransportSource(12, GaussianSource(1.0))
    source.fit(data)
    b = data.train.__getitems__(list(range(12)))
    objective = Objective(f, Enforcer(), [source], weight=1.0, distance=l2)
    objective(b, Step(seed=2))
    points, _, condition = source.sample(b, Step(seed=2), f)
    at_points = [c for z, c in f.seen if torch.equal(z, points)]
    assert at_points
    assert all(torch.equal(c, condition) for c in at_points)
    assert not torch.equal(condition, b.condition)
