"""A trained operator of images, with the data and the inputs of its experiment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from idemlab import BadInput, Batch, Dataset, Experiment, Run, Source, Step, installed, load

__all__ = ["Trained", "relative_change"]

_CHUNK = 250
"""Images a forward."""
_FROM_DISK = 10_000
"""Training images that stand for a set that is not held in memory."""


@dataclass(frozen=True)
class Trained:
    """The operator and data of a run, ready to be applied.

    Args:
        experiment: resolved.
        dataset: of the experiment.
        operator: in evaluation mode, on the CPU.
    """

    experiment: Experiment
    dataset: Dataset
    operator: torch.nn.Module

    @classmethod
    def of(cls, run: Run) -> Trained:
        """The operator of a run with its data.

        Raises:
            BadInput: if the run is not there or not finished, or the data are not there.
        """
        if not run.weights_file.is_file():
            raise BadInput(
                f"the run '{run.path}' is not there, and a record's tables alone do not tell this",
                next_step="run the study in a new `out`",
            )
        return cls(run.experiment, _dataset(json.dumps(run.experiment.dataset.table())), load(run))

    @torch.no_grad()
    def apply(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """f(x), or f(x, c) with c [N], [N, *shape]."""
        given = [x] if condition is None else [x, condition]
        parts = zip(*(each.split(_CHUNK) for each in given), strict=True)  # type: ignore[no-untyped-call]
        return torch.cat([self.operator(*part) for part in parts])

    def orbit(self, x: Tensor, depth: int, condition: Tensor | None = None) -> list[Tensor]:
        """x, f(x), ..., f^depth(x), all under the same condition."""
        points = [x]
        for _ in range(depth):
            points.append(self.apply(points[-1], condition))
        return points

    def condition(self, batch: Batch) -> Tensor | None:
        """The classes of the images of a batch, [N], if the operator takes them as a condition."""
        return batch.label if self.experiment.condition == "label" else None

    def test(self, count: int) -> Batch:
        """At most `count` test images, at even distances in the set: neighbours may be alike."""
        total = len(self.dataset.test)
        count = min(count, total)
        return self._rows(self.dataset.test, [i * total // count for i in range(count)])

    def noise(self, batch: Batch) -> Tensor:
        """The noise that the run was evaluated at, one for each image of the batch."""
        return self._fresh("noise", batch)

    def corrupted(self, batch: Batch) -> Tensor:
        """The images of the batch, corrupted as the run was evaluated."""
        return self._fresh("corrupted", batch)

    def points(self, name: str, batch: Batch, **arguments: Any) -> Tensor:
        """Fresh points of any source at the images of a batch, for instance ``"corrupted"`` with ``blur=1.5``."""
        named = installed().check("source", {"name": name} | arguments, "study")
        return self._drawn(named.build(), batch, name)

    def nearest_training(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Euclidean distance of each point to the nearest training image, [N], and that image, [N, *shape]."""
        total = len(self.dataset.train)
        count = total if hasattr(self.dataset.train, "input") else min(total, _FROM_DISK)
        flat = points.flatten(1)
        best, nearest = flat.new_full((len(flat),), torch.inf), torch.zeros_like(points)
        rows = [i * total // count for i in range(count)]
        for start in range(0, count, 4096):
            images = self._rows(self.dataset.train, rows[start : start + 4096]).target
            distance, index = torch.cdist(flat, images.flatten(1)).min(1)
            nearer = distance < best
            best = torch.where(nearer, distance, best)
            nearest[nearer] = images[index[nearer]]
        return best, nearest

    def _fresh(self, inputs: str, batch: Batch) -> Tensor:
        named = self.experiment.inputs.get(inputs)
        if named is None:
            raise BadInput(
                f"experiment '{self.experiment.name}' has no evaluation inputs '{inputs}'",
                choices=list(self.experiment.inputs),
                next_step=f"name a source in [evaluation.inputs], key '{inputs}'",
            )
        return self._drawn(named.build(), batch, f"evaluation {inputs}")

    def _drawn(self, source: Source, batch: Batch, purpose: str) -> Tensor:
        source.fit(self.dataset)
        return source.fresh(batch, Step(seed=self.experiment.training.seed, purpose=purpose))

    def _rows(self, rows: Any, indices: Any) -> Batch:
        batch: Batch = rows.__getitems__(list(indices))
        return batch.to("cpu", getattr(torch, self.experiment.training.dtype), self.dataset.range)


@lru_cache(maxsize=2)
def _dataset(table: str) -> Dataset:
    """Built once for all runs of a study; `table` is JSON."""
    dataset: Dataset = installed().check("dataset", json.loads(table), "study").build()
    return dataset


def relative_change(before: Tensor, after: Tensor, spread_of: Tensor | None = None) -> float:
    """sqrt(sum |after - before|^2 / sum |s - mean s|^2), s = `before` unless given: as in the certificate."""
    points = before if spread_of is None else spread_of
    moved = (after - before).double().square().sum()
    spread = (points - points.mean(0)).double().square().sum()
    return float((moved / spread).sqrt())
