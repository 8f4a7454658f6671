"""Data copying: are outputs nearer to the training samples than to held-out ones, beyond what chance and blur give?"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from idemlab import Dataset, TensorRows

from .features import FeatureMetric, Features

__all__ = ["DataCopying", "copied"]

_FROM_DISK = 10_000
_HELD_OUT = 10_000
_CHUNK = 500


class DataCopying(FeatureMetric):
    """The share of outputs that copy training samples, estimated from nearest neighbours.

    As in the test of Meehan et al. (2020) three sets are compared: outputs, training samples, held-out samples. Theirs and
    the distance ratio compare *lengths*, and a smooth image is nearer to everything: it looks copied, and a blurred copy
    looks new. Here every output is asked one thing only: is its nearest neighbour a training sample? Training and held-out
    samples are draws of one distribution. So for an output that owes nothing to either, smooth or not, that has the
    probability p = N / (N + M), and for a copy, blurred or not, nearly 1. A share of s makes the copied share (s - p) / (1
    - p).

    On 2400 training, 800 held-out and 800 other MNIST digits, in `pca` and in `hog`: new digits -0.10 and -0.02, blurred
    new ones -0.08 and 0.09, each within a margin of 0.14 to 0.19; blurred training digits 1.00 and 0.80, half of them
    copies 0.37 and 0.45.

    Where not all of the training set is compared, copies of what is left out count as new, and the result is divided by the
    share that is compared. In features that were fitted to the training samples these may lie where no held-out ones do:
    prefer `pca` and `hog` to `cnn`, whose classifier has seen the training split.

    Values, over the set: `copied_pca`, 0 for no copies up to `copied_pca_margin` (half of the 95 % interval), 1 for nothing
    but copies; it may be negative.
    """

    def __init__(self, features: Features) -> None:
        super().__init__(features, depth=1)

    def fit(self, dataset: Dataset) -> None:
        super().fit(dataset)
        rows = len(dataset.train)
        # Reading from a disk, and Inception on images of 299 x 299, take hours for all of a large set.
        all_of_it = isinstance(dataset.train, TensorRows) and self._features != "inception"
        self._known = rows if all_of_it else min(rows, _FROM_DISK)
        self._share = self._known / rows
        self._sets = cache(lambda: (self.of_data("train", self._known), self.of_data("test", _HELD_OUT)))

    def compute(self) -> dict[str, float]:
        outputs = self.collected()
        if not outputs:
            return {}
        share, margin = copied(outputs[0], *self._sets(), known=self._share)
        return {f"copied_{self._features}": share, f"copied_{self._features}_margin": margin} | self.extractor.facts


def copied(outputs: Tensor, training: Tensor, held_out: Tensor, *, known: float = 1.0) -> tuple[float, float]:
    """Estimated share of copies among rows [n, d], and half of the 95 % interval around 0 where there are none.

    A row that is as near to both sets counts half: a copy of what is in both tells nothing.

    The interval is that of chance, which deals the N + M samples out to the two sets: if n_j outputs are nearest to sample
    j, their share s has the variance p (1 - p) Σ n_j² / n². Smooth outputs meet in a few samples near the middle, which are
    nearest to many; their interval is accordingly wide.

    Args:
        known: share of the training set that `training` is.
    """
    centre = training.mean(0)  # large offsets cost digits
    training, held_out = training - centre, held_out - centre
    yes = torch.zeros((), dtype=torch.float64)
    met = torch.zeros(len(training) + len(held_out), dtype=torch.float64)
    for rows in (outputs - centre).split(_CHUNK):  # type: ignore[no-untyped-call]
        (to_training, first), (to_held_out, second) = (_nearest(rows, there) for there in (training, held_out))
        nearer = to_training < to_held_out
        yes = yes + nearer.sum() + 0.5 * (to_training == to_held_out).sum()
        met += torch.bincount(torch.where(nearer, first, len(training) + second), minlength=len(met))
    n, p = len(outputs), len(training) / len(met)
    deviation = float(p * (1 - p) * met.square().sum()) ** 0.5 / n
    return (float(yes) / n - p) / ((1 - p) * known), 1.96 * deviation / ((1 - p) * known)


def _nearest(rows: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """Distance of each row to the nearest row there, and its number, [n] each; a few thousand at a time."""
    best, number = torch.full((len(rows),), torch.inf, dtype=rows.dtype), torch.zeros(len(rows), dtype=torch.long)
    for start in range(0, len(there), 16 * _CHUNK):
        distance, place = torch.cdist(rows, there[start : start + 16 * _CHUNK]).min(1)
        number = torch.where(distance < best, start + place, number)
        best = torch.minimum(best, distance)
    return best, number
