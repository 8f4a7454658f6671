"""Held-out training samples: none is trained on, none is a test sample, and the same ones every time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from idemlab import Batch, Dataset, TensorRows, resolve
from idemlab.errors import BadInput
from idemlab.objective.data import build_dataset, conditioned
from idemlab.objective.parts import assemble, build_inputs

Tiny = Callable[..., dict[str, Any]]


def rows(dataset: Dataset, split: str) -> set[bytes]:
    part = getattr(dataset, split)
    return {row.numpy().tobytes() for row in part.__getitems__(list(range(len(part)))).input}


def test_validation_takes_a_tenth_of_the_training_samples_and_trains_on_the_others(tiny: Tiny) -> None:
    whole = build_dataset(resolve(tiny()))
    held = build_dataset(resolve(tiny(evaluation__split="validation")))
    assert (len(whole.train), len(held.train), len(held.test)) == (64, 58, 6)
    assert rows(held, "train") | rows(held, "test") == rows(whole, "train")
    assert not rows(held, "test") & rows(whole, "test")
    assert held.description[-1] == "every tenth training sample, 6 samples, is held out and replaces the test split"
    experiment = resolve(tiny(evaluation__split="validation"))
    for built in (assemble(experiment).dataset, build_inputs(experiment).dataset):
        assert rows(built, "test") == rows(held, "test")


def test_targets_conditions_and_labels_stay_with_their_samples(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.arange(40.0)[:, None]

    class Stored:
        def __len__(self) -> int:
            return 40

        def __getitems__(self, indices: list[int]) -> Batch:
            return Batch(x[indices], 2 * x[indices], 3 * x[indices], torch.tensor(indices))

    kept = TensorRows(x, 2 * x, 3 * x, torch.arange(40))
    experiment = resolve(tiny(evaluation__split="validation"))
    for train in (kept, Stored()):
        data = Dataset(train=train, test=kept, shape=(1,))
        monkeypatch.setattr("idemlab.catalog.named.Named.build_as", lambda *_, data=data: data)
        held = build_dataset(experiment)
        for part in (held.train, held.test):
            batch = part.__getitems__([1, 0, 2])
            assert torch.equal(batch.target, 2 * batch.input)
            assert batch.condition is not None
            assert torch.equal(batch.condition, 3 * batch.input)
            assert batch.label is not None
            assert torch.equal(batch.label[:, None].float(), batch.input)
        assert len(held.train) == 36


def test_too_few_samples_are_refused(tiny: Tiny) -> None:
    with pytest.raises(BadInput, match="19 training samples, too few to hold out every tenth"):
        build_dataset(resolve(tiny(dataset__train=19, evaluation__split="validation")))


def test_samples_that_are_given_in_a_way_of_ones_own_stay_so(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subclass of the rows in memory may augment: it is asked each time, and not once for all."""
    x = torch.arange(40.0)[:, None]

    class Counting(TensorRows):
        calls = 0

        def __getitems__(self, indices: Sequence[int]) -> Batch:
            Counting.calls += 1
            return super().__getitems__(indices).replace(target=torch.full((len(indices), 1), float(self.calls)))

    label = torch.arange(40) % 2
    data = Dataset(train=Counting(x, label=label), test=TensorRows(x, label=label), shape=(1,), classes=2)
    monkeypatch.setattr("idemlab.catalog.named.Named.build_as", lambda *_: data)
    held = build_dataset(resolve(tiny(evaluation__split="validation"))).train
    for given in (held, conditioned(data, "the data").train):
        first, second = (given.__getitems__([0, 1]).target for _ in range(2))
        assert torch.equal(second, first + 1)
