"""Whether outputs have the requested class, judged by a small classifier trained on the data."""

from __future__ import annotations

import torch
from torch import Tensor

from idemlab import BadInput, Batch, Dataset, Metric, Orbit

from .cnn import CONFIDENT, Cnn
from .features import DEPTH

__all__ = ["AskedClass", "as_asked"]


class AskedClass(Metric):
    """Share of the outputs f(z, c) whose likeliest class is the condition c; "none of them" counts as wrong.

    Values, over the set: `asked_class` (share), `asked_class_readable` (share that the classifier is sure of besides),
    `asked_class_worst` (the smallest share of a class), `asked_class_3` (share at f(f(f(z)))); `asked_class_of_test`: the
    share of test samples that the classifier puts into their own class.
    """

    def fit(self, dataset: Dataset) -> None:
        """Take the data.

        Raises:
            BadInput: if the data are no images with labels, or their batches have no class as the condition.
        """
        condition = dataset.test.__getitems__([0]).condition
        if condition is None or condition.ndim != 1 or condition.is_floating_point():
            raise BadInput(
                "metric 'asked-class' needs a requested class, and the data have no condition",
                where="[dataset], key 'condition'",
                expected="labels as the condition",
                next_step='set dataset.condition = "label", or leave the metric out',
            )
        self.extractor = Cnn(dataset)
        self._forget()

    def _forget(self) -> None:
        self._asked: list[Tensor] = []
        self._first: list[Tensor] = []
        self._last: list[Tensor] = []

    def __call__(self, orbit: Orbit, batch: Batch) -> dict[str, Tensor]:
        assert orbit.condition is not None, "the data have a condition"
        self._asked.append(orbit.condition.cpu())
        self._first.append(self.extractor.probabilities(orbit.ahead(0)))
        self._last.append(self.extractor.probabilities(orbit.ahead(DEPTH - 1)))
        return {}

    def compute(self) -> dict[str, float]:
        if not self._first:
            return {}
        asked = torch.cat(self._asked)
        values, later = (as_asked(torch.cat(seen), asked) for seen in (self._first, self._last))
        self._forget()
        values[f"asked_class_{DEPTH}"] = later["asked_class"]
        return values | {"asked_class_of_test": self.extractor.facts["classifier_accuracy"]}


def as_asked(probabilities: Tensor, asked: Tensor) -> dict[str, float]:
    """The values of `AskedClass` for probabilities [N, K + 1], the last of "none of them", and the requested classes [N]."""
    confidence, found = probabilities.max(1)
    right = (found == asked).double()
    shares = [float(right[asked == each].mean()) for each in asked.unique()]  # type: ignore[no-untyped-call]
    return {
        "asked_class": float(right.mean()),
        "asked_class_readable": float((right * (confidence > CONFIDENT)).mean()),
        "asked_class_worst": min(shares),
    }
