"""Small images of four classes, for the extractors of features."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from idemlab import Dataset, TensorRows
from idemlab_metrics import cnn
from idemlab_metrics.cnn import Cnn

CLASSES = 4


def _quarters(count: int, seed: int) -> TensorRows:
    stream = torch.Generator().manual_seed(seed)
    label = torch.arange(count) % CLASSES
    images = torch.randint(0, 60, (count, 1, 12, 12), generator=stream)
    for image, k in zip(images, label.tolist(), strict=True):
        image[0, 6 * (k // 2) : 6 * (k // 2) + 6, 6 * (k % 2) : 6 * (k % 2) + 6] += 150
    return TensorRows(images.to(torch.uint8), label=label)


@pytest.fixture
def quarters() -> Callable[..., TensorRows]:
    """(count, seed) -> images 12 x 12 of four classes: a bright quarter, with noise."""
    return _quarters


@pytest.fixture
def dataset() -> Callable[..., Dataset]:
    """A function that makes a data set of these images."""

    def make(seed: int = 0, classes: int | None = CLASSES) -> Dataset:
        train, test = _quarters(200, seed), _quarters(60, seed + 1)
        return Dataset(train=train, test=test, shape=(1, 12, 12), range=(-1.0, 1.0), classes=classes)

    return make


@pytest.fixture
def images_of() -> Callable[..., torch.Tensor]:
    """The first test images of a data set, in its range."""

    def read(data: Dataset, count: int = 60) -> torch.Tensor:
        return data.test.__getitems__(list(range(count))).to("cpu", torch.float32, data.range).input

    return read


@pytest.fixture
def weights() -> Callable[[Cnn], torch.Tensor]:
    """All numbers of a classifier in a row."""
    return lambda judge: torch.cat([p.flatten().double() for p in judge.classifier.state_dict().values()])


@pytest.fixture
def few_steps(monkeypatch, tmp_path):
    """Classifiers are trained for a second, kept in the test's folder, and not known from before."""
    monkeypatch.setenv("IDEMLAB_CACHE", str(tmp_path))
    monkeypatch.setattr(cnn, "_STEPS", 50)
    monkeypatch.setattr(cnn, "_BATCH", 48)
    monkeypatch.setattr(cnn, "_known", {})
