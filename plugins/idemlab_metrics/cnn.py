"""A small classifier of a labelled image set, with an extra class for all other images: it reads outputs and supplies
features."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from idemlab import BadInput, Batch, Dataset, MapStyle

from .cache import keep, kept
from .rows import representative

__all__ = ["CONFIDENT", "Classifier", "Cnn", "impostors"]

CONFIDENT = 0.9
"""An output is readable where the probability of a class is above this."""

_TRAIN, _TEST = 60_000, 10_000
_STEPS, _EPOCHS, _BATCH, _RATE = 3500, 40, 128, 4e-3
_SOFT = 0.5
_CHUNK = 500
_RECIPE = 1
"""Raise it whenever training or the network changes: the stored networks are then trained again."""


class Classifier(nn.Module):
    """Two convolutions and two linear maps: [B, C, H, W] -> [B, classes + 1] logits, the last one for "none of them"."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 16, 5, stride=2, padding=2),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 5, stride=2, padding=2),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(7),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(32 * 49, 64),
            nn.ReLU(),
        )
        self.head = nn.Linear(64, classes + 1)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(images))
        return logits


class Cnn:
    """Images [B, C, H, W] -> the last hidden layer of a `Classifier` trained on the data's own training split, [B, 64].

    Those of 'digits' and 'mnist' are shipped (`shipped`). Others are trained when first used, from a fixed seed, and kept on
    disk by the hash of what they were trained on. The network learns the classes, slightly blurred and faint ones too, and
    to tell them from `impostors`: one that knows nothing but digits is sure of noise as well.

    Raises:
        BadInput: if the data are no images with labels.
    """

    def __init__(self, dataset: Dataset) -> None:
        if dataset.classes is None or len(dataset.shape) != 3:
            raise BadInput(
                "this measure needs images with labels, to train a classifier on",
                expected="a data set such as 'digits', 'mnist', 'fashion-mnist'",
                next_step="choose another data set, leave the metric out, or set features = 'pca' where it has these",
            )
        self.classes = dataset.classes
        self._dataset = dataset

    @cached_property
    def name(self) -> str:
        """For instance ``cnn-3fa9c1d2``: the digits hash the training split and the way of training."""
        content = hashlib.sha256(repr((_RECIPE, _STEPS, _EPOCHS, _BATCH, _RATE, _SOFT, self.classes)).encode())
        for part in self._parts(self._dataset.train, _TRAIN, raw=True):
            content.update(part.target.contiguous().numpy().tobytes() + self._labels(part).numpy().tobytes())
        return f"cnn-{content.hexdigest()[:8]}"

    @property
    def facts(self) -> dict[str, float]:
        """`classifier_accuracy`: share of the test split put into its class, where "none of them" counts as wrong."""
        return {"classifier_accuracy": self._of_test[0]}

    @property
    def readable_of_test(self) -> float:
        """Share of the test split that it finds readable."""
        return self._of_test[1]

    def __call__(self, points: Tensor) -> Tensor:
        return self._apply(self.classifier.body, points)

    def probabilities(self, points: Tensor) -> Tensor:
        """Probabilities of the classes and, last, of "none of them", [B, classes + 1]."""
        return self._apply(self.classifier, points).softmax(1)

    def _apply(self, part: nn.Module, points: Tensor) -> Tensor:
        network = part.to(points.device)
        with torch.no_grad():
            return torch.cat([network(images.float()).cpu().double() for images in points.split(_CHUNK)])  # type: ignore[no-untyped-call]

    @property
    def classifier(self) -> Classifier:
        """The trained network, in evaluation mode: from this process, from disk, or trained now."""
        if self.name not in _known:
            weights = kept(self.name)
            if weights is None:
                classifier = self.trained()
                keep(self.name, classifier, self.card)
            else:
                with torch.random.fork_rng(devices=[]):
                    classifier = Classifier(self._dataset.shape[0], self.classes)
                classifier.load_state_dict(weights)
            _known[self.name] = classifier.eval().requires_grad_(False)
        return _known[self.name]

    @property
    def card(self) -> dict[str, Any]:
        """The description stored with the weights."""
        return {"trained_on": list(self._dataset.shape), "recipe": _RECIPE}

    @cached_property
    def _of_test(self) -> tuple[float, float]:
        right = readable = total = 0
        for part in self._parts(self._dataset.test, _TEST):
            probabilities = self.probabilities(part.target)
            right += int((probabilities.argmax(1) == self._labels(part)).sum())
            readable += int((probabilities[:, :-1].amax(1) > CONFIDENT).sum())
            total += len(part)
        return right / total, readable / total

    def trained(self) -> Classifier:
        """The network, trained now."""
        rows = torch.tensor(representative(len(self._dataset.train), _TRAIN))
        steps = max(1, min(_STEPS, _EPOCHS * len(rows) // _BATCH))
        with _apart(), torch.enable_grad():
            classifier = Classifier(self._dataset.shape[0], self.classes)
            optimizer = torch.optim.Adam(classifier.parameters(), _RATE)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, steps, pct_start=0.1)
            for chosen in torch.randint(len(rows), (steps, _BATCH)):
                batch = self._scaled(self._dataset.train, rows[chosen].tolist())
                images, labels = batch.target, self._labels(batch)
                strange = impostors(images[: _BATCH // 3], labels[: _BATCH // 3])
                inputs = _softened(torch.cat([_shifted(images), strange]))
                targets = torch.cat([labels, labels.new_full((len(strange),), self.classes)])
                optimizer.zero_grad()
                nn.functional.cross_entropy(classifier(inputs), targets).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
        return classifier

    def _parts(self, rows: MapStyle, count: int, *, raw: bool = False) -> Iterator[Batch]:
        """At most `count` samples of a split, some at a time; `raw`: unscaled."""
        indices = representative(len(rows), count)
        for start in range(0, len(indices), _CHUNK):
            some = indices[start : start + _CHUNK]
            yield rows.__getitems__(some) if raw else self._scaled(rows, some)

    def _scaled(self, rows: MapStyle, indices: list[int]) -> Batch:
        return rows.__getitems__(indices).to("cpu", torch.float32, self._dataset.range)

    @staticmethod
    def _labels(batch: Batch) -> Tensor:
        assert batch.label is not None, "a dataset with classes has labels"
        return batch.label.long().cpu()


_known: dict[str, Classifier] = {}


@contextmanager
def _apart() -> Iterator[None]:
    """From a fixed seed and on one thread, so that the weights depend on neither experiment nor number of cores."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _shifted(images: Tensor) -> Tensor:
    """Each image of [B, C, H, W] moved by one pixel at most in either direction; its border is repeated."""
    B, _, H, W = images.shape
    wide = nn.functional.pad(images, (1, 1, 1, 1), mode="replicate")
    down, right = torch.randint(3, (2, B, 1))
    rows, columns = down + torch.arange(H), right + torch.arange(W)
    return wide.permute(0, 2, 3, 1)[torch.arange(B)[:, None, None], rows[:, :, None], columns[:, None, :]].permute(
        0, 3, 1, 2
    )


def _softened(images: Tensor) -> Tensor:
    """Half of the images blurred a little, half with less contrast, each by a strength of its own, [B, C, H, W].

    Without it the low contrast alone gives a blend away, and a digit slightly out of focus counts as none.
    """

    def strength() -> Tensor:
        return torch.rand(len(images), 1, 1, 1) * (torch.rand(len(images), 1, 1, 1) < 0.5)

    blurred = nn.functional.avg_pool2d(nn.functional.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    images = torch.lerp(images, blurred, strength())
    low = images.amin((1, 2, 3), keepdim=True)
    return torch.lerp(images, low, _SOFT * strength())


def impostors(images: Tensor, labels: Tensor) -> Tensor:
    """Images of no class, [at most B, C, H, W]: blends of two classes, images cut and put together wrongly, some noise."""
    height, width = images.shape[2:]
    third = len(images) // 3
    first, second, others = images.split([third, third, len(images) - 2 * third])  # type: ignore[no-untyped-call]
    share = 0.3 + 0.4 * torch.rand(third, 1, 1, 1)
    blends = (share * first + (1 - share) * second)[labels[:third] != labels[third : 2 * third]]
    shifts = [int(torch.randint(side // 4, side - side // 4, ())) for side in (height, width)]
    return torch.cat([blends, others.roll(shifts, (2, 3)), torch.randn_like(others[:4])])
