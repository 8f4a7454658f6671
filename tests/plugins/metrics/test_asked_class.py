"""Whether the outputs are of the class that was asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from idemlab import BadInput, Batch, Dataset, Orbit, TensorRows
from idemlab_metrics.asked import AskedClass, as_asked

CLASSES = 3


class Reader:
    """In the place of the trained classifier: a point's first entry is its class, its second how sure of it."""

    facts = {"classifier_accuracy": 0.5}  # noqa: RUF012

    def probabilities(self, points: torch.Tensor) -> torch.Tensor:
        answers = torch.zeros(len(points), CLASSES + 1, dtype=torch.float64)
        answers[torch.arange(len(points)), points[:, 0].long()] = points[:, 1].double()
        answers[:, -1] += 1 - points[:, 1]
        return answers


class Moves(nn.Module):
    """The first point is of the class asked for; another application makes the reader unsure."""

    def forward(self, x, condition):
        return torch.stack([condition.to(x.dtype), x[:, 1] - 0.3], 1)


def images(count: int = 6) -> Dataset:
    label = torch.arange(count) % CLASSES
    rows = TensorRows(torch.zeros(count, 1, 12, 12), condition=label, label=label)
    return Dataset(train=rows, test=rows, shape=(1, 12, 12), classes=CLASSES)


def test_shares_are_counted_over_all_and_by_class_and_none_of_them_is_wrong():
    sure = torch.tensor([[0.95, 0.05, 0, 0], [0.6, 0.4, 0, 0], [0, 0.97, 0, 0.03], [0, 0.3, 0, 0.7], [0, 0, 1.0, 0]])
    found = as_asked(sure.double(), torch.tensor([0, 0, 1, 1, 2]))
    assert found == {"asked_class": 0.8, "asked_class_readable": pytest.approx(0.6), "asked_class_worst": 0.5}
    assert as_asked(sure.double(), torch.tensor([1, 1, 0, 0, 0]))["asked_class"] == 0


def test_it_reads_the_first_and_the_third_point_under_the_condition():
    metric = AskedClass()
    metric.fit(images())
    metric.extractor = Reader()
    x, c = torch.tensor([[0.0, 1.25]] * 9), torch.arange(9) % CLASSES
    for rows in (slice(0, 5), slice(5, 9)):
        assert metric(Orbit(Moves(), x[rows], c[rows]), Batch(x[rows], x[rows], c[rows])) == {}
    assert metric.compute() == {
        "asked_class": 1.0,
        "asked_class_readable": 1.0,
        "asked_class_worst": 1.0,
        "asked_class_3": 0.0,
        "asked_class_of_test": 0.5,
    }
    assert metric.compute() == {}


def test_without_a_class_that_is_asked_for_it_is_refused():
    data = images()
    for condition in (None, torch.zeros(6), torch.zeros(6, 2)):
        rows = TensorRows(data.test.input, condition=condition, label=data.test.label)
        with pytest.raises(BadInput, match="the data have no condition") as caught:
            AskedClass().fit(replace(data, test=rows))
        assert 'dataset.condition = "label"' in caught.value.next_step
