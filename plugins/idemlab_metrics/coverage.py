"""Which classes the outputs cover, judged by a small classifier trained on the data."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from idemlab import Batch, Dataset, Metric, Orbit

from .cnn import CONFIDENT, Cnn
from .features import DEPTH

__all__ = ["ClassCoverage", "covered"]


class ClassCoverage(Metric):
    """How many outputs are readable, and of which classes. Readable: a classifier is more than 90 % sure of a class.

    `readable_of_test` is the readable share of test samples, for comparison.
    Values, over the set: `readable` (share), `unreadable` (number), `classes` (with at least half of an equal share of the
    set, so 5 % where there are ten, counting the readable only), `smallest_class` (share of the set, readable),
    `class_entropy` (of the readable, over log K: 1 is all classes alike), `confidence` (mean probability of the likeliest
    class); `readable_3`, `classes_3`, `smallest_class_3`: at f(f(f(x))); `readable_of_test`, `classifier_accuracy`.
    """

    def fit(self, dataset: Dataset) -> None:
        """Take the data.

        Raises:
            BadInput: if the data are no images with labels.
        """
        self.extractor = Cnn(dataset)
        self._forget()

    def _forget(self) -> None:
        self._first: list[Tensor] = []
        self._last: list[Tensor] = []

    def __call__(self, orbit: Orbit, batch: Batch) -> dict[str, Tensor]:
        self._first.append(self.extractor.probabilities(orbit.ahead(0)))
        self._last.append(self.extractor.probabilities(orbit.ahead(DEPTH - 1)))
        return {}

    def compute(self) -> dict[str, float]:
        if not self._first:
            return {}
        values, later = (covered(torch.cat(seen)[:, :-1]) for seen in (self._first, self._last))
        self._forget()
        values |= {f"{name}_{DEPTH}": later[name] for name in ("readable", "classes", "smallest_class")}
        return values | {"readable_of_test": self.extractor.readable_of_test} | self.extractor.facts


def covered(probabilities: Tensor) -> dict[str, float]:
    """The values of `ClassCoverage` at probabilities of the classes, [N, K]; rows need not add up to 1."""
    N, K = probabilities.shape
    confidence, classes = probabilities.max(1)
    readable = confidence > CONFIDENT
    counts = torch.bincount(classes[readable], minlength=K)
    shares = counts.double() / counts.sum().clamp_min(1)
    return {
        "readable": readable.double().mean().item(),
        "unreadable": float((~readable).sum()),
        "classes": float((counts >= 0.5 * N / K).sum()),
        "smallest_class": float(counts.min()) / N,
        "class_entropy": float(torch.special.entr(shares).sum()) / math.log(K) if K > 1 else 1.0,
        "confidence": confidence.double().mean().item(),
    }
