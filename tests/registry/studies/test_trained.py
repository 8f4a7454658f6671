"""Operators that studies apply: under a condition, each image has its own class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import idemlab
from idemlab import Dataset, TensorRows
from idemlab_registry.studies.trained import Trained


class Shifted(nn.Module):
    """f(x, c) = x + c."""

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return x + condition.view(-1, 1, 1, 1)


def test_a_condition_goes_with_its_image_in_every_chunk_and_at_every_depth() -> None:
    images = torch.zeros(600, 1, 8, 8)
    rows = TensorRows(images, label=torch.arange(600) % 10)
    data = Dataset(train=rows, test=rows, shape=(1, 8, 8), range=(-1.0, 1.0))
    trained = Trained(idemlab.resolve("digits-by-class"), data, Shifted())
    batch = trained.test(600)
    condition = trained.condition(batch)
    assert condition is not None
    last = trained.orbit(images, 3, condition)[-1]
    assert torch.equal(last[:, 0, 0, 0], 3.0 * (torch.arange(600) % 10))


def test_without_a_condition_the_classes_are_kept_from_the_operator() -> None:
    rows = TensorRows(torch.zeros(4, 1, 8, 8), label=torch.arange(4))
    data = Dataset(train=rows, test=rows, shape=(1, 8, 8), range=(-1.0, 1.0))
    trained = Trained(idemlab.resolve("digits-projector"), data, nn.Identity())
    assert trained.condition(trained.test(4)) is None
    assert trained.apply(rows.input).shape == (4, 1, 8, 8)
