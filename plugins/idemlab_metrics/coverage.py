"""Which classes the outputs cover, as a small classifier trained on the data sees them."""

from __future__ import annotations

import hashlib
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from idemlab import BadInput, Batch, Dataset, Metric, Orbit
from idemlab.dataset import MapStyle

from .rows import evenly_spaced

__all__ = ["ClassCoverage", "Classifier", "impostors"]

_TRAIN, _TEST = 10_000, 2000
_STEPS, _BATCH, _RATE = 800, 64, 2e-3
_CONFIDENT = 0.9


class ClassCoverage(Metric):
    """How many outputs are readable: a classifier is more than 90 % sure of a class.

    A classifier that knows nothing but digits is sure of noise, too; so this one has a class more, for what is none of
    them, and learns it from `impostors`. What it makes of test samples stands beside its figures.
    Figures, over the set: `readable` (share), `unreadable` (number), `classes` (with at least half of an equal share of the
    set, so 5 % where there are ten, counting the readable only), `readable_of_test` (share), `classifier_accuracy`.
    """

    def __init__(self) -> None:
        self._seen: list[Tensor] = []

    def fit(self, dataset: Dataset) -> None:
        """Take the data; the classifier is trained when it is first asked, once in a process for the same data.

        Raises:
            BadInput: if the data are no images with labels.
        """
        if dataset.classes is None or len(dataset.shape) != 3:
            raise BadInput(
                "metric 'class-coverage' needs images with labels",
                expected="a data set such as 'digits', 'mnist', 'fashion-mnist'",
                next_step="leave the metric out, or choose another data set",
            )
        self._classes = dataset.classes
        self._judge = cache(partial(_trained, dataset))

    def __call__(self, orbit: Orbit, batch: Batch) -> dict[str, Tensor]:
        self._seen.append(_probabilities(self._judge().classifier, orbit.ahead(0)))
        return {}

    def compute(self) -> dict[str, float]:
        if not self._seen:
            return {}
        confidence, classes = torch.cat(self._seen).max(1)
        self._seen = []
        readable = confidence > _CONFIDENT
        counts = torch.bincount(classes[readable], minlength=self._classes)
        return {
            "readable": readable.double().mean().item(),
            "unreadable": float((~readable).sum()),
            "classes": float((counts >= 0.5 * len(classes) / self._classes).sum()),
            "readable_of_test": self._judge().readable,
            "classifier_accuracy": self._judge().accuracy,
        }


class Classifier(nn.Sequential):
    """Two convolutions and two linear maps: [B, C, H, W] -> [B, classes + 1] logits, the last one for "none of them"."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(
            nn.Conv2d(channels, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(7),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(32 * 49, 64),
            nn.ReLU(),
            nn.Linear(64, classes + 1),
        )


def impostors(images: Tensor, labels: Tensor) -> Tensor:
    """Images of no class, [at most B, C, H, W]: blends of two classes, images cut and put together wrongly, some noise."""
    height, width = images.shape[2:]
    third = len(images) // 3
    first, second, others = images.split([third, third, len(images) - 2 * third])  # type: ignore[no-untyped-call]
    share = 0.3 + 0.4 * torch.rand(third, 1, 1, 1)
    blends = (share * first + (1 - share) * second)[labels[:third] != labels[third : 2 * third]]
    shifts = [int(torch.randint(side // 4, side - side // 4, ())) for side in (height, width)]
    return torch.cat([blends, others.roll(shifts, (2, 3)), torch.randn_like(others[:4])])


class _Judge(NamedTuple):
    """A trained classifier, its accuracy on the test split, and the share of the test split that it finds readable."""

    classifier: Classifier
    accuracy: float
    readable: float


_known: dict[str, _Judge] = {}


def _trained(dataset: Dataset) -> _Judge:
    """The classifier for these data, trained once in a process."""
    images, labels = _labelled(dataset, dataset.train, _TRAIN)
    test_images, test_labels = _labelled(dataset, dataset.test, _TEST)
    content = b"".join(rows.numpy().tobytes() for rows in (images, labels, test_images, test_labels))
    digest = hashlib.sha256(content).hexdigest()
    if digest not in _known:
        assert dataset.classes is not None
        classifier = _train(images, labels, dataset.classes)
        confidence, guesses = _probabilities(classifier, test_images).max(1)
        accuracy = (guesses == test_labels).double().mean().item()
        _known[digest] = _Judge(classifier, accuracy, (confidence > _CONFIDENT).double().mean().item())
    return _known[digest]


def _labelled(dataset: Dataset, rows: MapStyle, count: int) -> tuple[Tensor, Tensor]:
    batch = rows.__getitems__(evenly_spaced(len(rows), count)).to("cpu", torch.float32, dataset.range)
    assert batch.label is not None, "a dataset with classes has labels"
    return batch.input, batch.label.long()


def _train(images: Tensor, labels: Tensor, classes: int) -> Classifier:
    """On the CPU and from a fixed seed, whatever the experiment's; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        classifier = Classifier(images.shape[1], classes)
        optimizer = torch.optim.Adam(classifier.parameters(), _RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
        for rows in torch.randint(len(images), (_STEPS, _BATCH)):
            some = rows[: _BATCH // 2]
            strange = impostors(images[some], labels[some])
            inputs = torch.cat([images[rows], strange])
            targets = torch.cat([labels[rows], labels.new_full((len(strange),), classes)])
            optimizer.zero_grad()
            nn.functional.cross_entropy(classifier(inputs), targets).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return classifier.eval().requires_grad_(False)


def _probabilities(classifier: Classifier, images: Tensor) -> Tensor:
    """Of the classes, without that of "none of them", [B, classes]."""
    with torch.no_grad():
        return torch.cat([classifier(part).softmax(1)[:, :-1] for part in torch.split(images.cpu().float(), 256)])
