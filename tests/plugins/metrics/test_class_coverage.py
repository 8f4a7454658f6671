"""What a small classifier can read, and which classes that covers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from idemlab import BadInput, Batch, Dataset, Orbit
from idemlab_metrics.coverage import ClassCoverage, covered

CLASSES = 4


class Reader:
    """In the place of the trained classifier: a point's first entry is its class, its second how sure of it."""

    facts = {"classifier_accuracy": 0.5}  # noqa: RUF012
    readable_of_test = 0.25

    def probabilities(self, points: torch.Tensor) -> torch.Tensor:
        answers = torch.zeros(len(points), CLASSES + 1, dtype=torch.float64)
        answers[torch.arange(len(points)), points[:, 0].long()] = points[:, 1].double()
        answers[:, -1] = 1 - points[:, 1]
        return answers


class Doubt(nn.Module):
    """Every application makes the reader less sure."""

    def forward(self, x):
        return torch.stack([x[:, 0], x[:, 1] - 0.02], 1)


def metric() -> ClassCoverage:
    built = ClassCoverage()
    images = torch.zeros(2, 1, 12, 12)
    built.fit(Dataset.of_tensors(images, images, classes=CLASSES))
    built.extractor = Reader()
    return built


def test_a_class_counts_from_half_of_an_equal_share_on():
    # Of 80 samples 40 are of class 0, 10 of class 1 (half of 80 / 4), 9 of class 2; the others cannot be read.
    sure = torch.eye(CLASSES, dtype=torch.float64) * 0.95
    doubtful = torch.full((21, CLASSES), 0.25, dtype=torch.float64)
    found = covered(torch.cat([sure[[0] * 40 + [1] * 10 + [2] * 9], doubtful]))
    shares = [40 / 59, 10 / 59, 9 / 59]
    assert found == pytest.approx(
        {
            "readable": 59 / 80,
            "unreadable": 21,
            "classes": 2,
            "smallest_class": 0,
            "class_entropy": -sum(p * math.log(p) for p in shares) / math.log(4),
            "confidence": (59 * 0.95 + 21 * 0.25) / 80,
        }
    )


@pytest.mark.parametrize(
    ("counts", "entropy"), [([5, 5, 5, 5], 1.0), ([20, 0, 0, 0], 0.0), ([10, 10, 0, 0], 0.5)], ids=str
)
def test_entropy_is_a_share_of_that_of_equal_classes(counts, entropy):
    rows = torch.eye(CLASSES, dtype=torch.float64).repeat_interleave(torch.tensor(counts), 0)
    found = covered(rows)
    assert found["class_entropy"] == pytest.approx(entropy)
    assert found["smallest_class"] == min(counts) / 20
    assert found["classes"] == sum(count > 0 for count in counts)


def test_of_nothing_readable_nothing_is_covered():
    found = covered(torch.full((6, CLASSES), 0.2))
    assert (found["readable"], found["classes"], found["class_entropy"], found["smallest_class"]) == (0, 0, 0, 0)
    assert covered(torch.ones(3, 1))["class_entropy"] == 1


def test_it_reads_the_first_and_the_third_point_of_the_orbit():
    built = metric()
    x = torch.tensor([[k % CLASSES, 0.95] for k in range(40)])  # f(x) at 0.93, f^3(x) at 0.89: not readable any more
    x[0, 1] = 0.99
    for part in x.split(17):
        assert built(Orbit(Doubt(), part), Batch(part, part)) == {}
    found = built.compute()
    assert found["readable"] == 1
    assert found["unreadable"] == 0
    assert found["classes"] == CLASSES
    assert found["confidence"] == pytest.approx((39 * 0.93 + 0.97) / 40)
    assert found["readable_3"] == 1 / 40
    assert found["classes_3"] == 0
    assert found["smallest_class_3"] == 0
    assert found["readable_of_test"] == 0.25
    assert found["classifier_accuracy"] == 0.5
    assert built.compute() == {}


def test_it_needs_images_with_labels():
    with pytest.raises(BadInput, match="images with labels"):
        ClassCoverage().fit(Dataset.of_tensors(torch.zeros(3, 4), torch.zeros(3, 4), classes=2))
