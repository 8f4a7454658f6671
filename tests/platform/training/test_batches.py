"""The samples of every step, from sets of either kind."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from idemlab import Batch, Dataset, TensorRows
from idemlab.experiment.settings import TrainingSettings
from idemlab.training.batches import batches

X = torch.arange(24.0).view(12, 2)


class _Listed(TensorRows):
    """Rows that can be asked for by a list only."""

    def __getitems__(self, indices: Sequence[int] | Tensor) -> Batch:
        assert isinstance(indices, list)
        return super().__getitems__(indices)


class _Plain:
    """The same as a set that is not in memory: a loader fetches it."""

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> Tensor:
        return X[index]

    def __getitems__(self, indices: list[int]) -> Batch:
        assert isinstance(indices, list)
        return TensorRows(X).__getitems__(indices)


def test_every_kind_of_set_gives_the_same_rows_and_a_set_of_ones_own_gets_lists() -> None:
    training = TrainingSettings(steps=5, batch_size=4, micro_batches=2)

    def drawn(rows: object, steps: range, world: int = 1) -> list[Tensor]:
        data = Dataset(train=rows, test=TensorRows(X), shape=(2,))  # type: ignore[arg-type]
        return [batch.input for batch in batches(data, training, steps, rank=0, world=world)]

    expected = drawn(TensorRows(X), range(5))
    assert len(expected) == 10
    assert torch.equal(torch.cat(expected[:6]).sort(0).values, X)  # three steps are an epoch
    for rows in (_Listed(X), _Plain()):
        assert all(map(torch.equal, drawn(rows, range(5)), expected))
    assert all(map(torch.equal, drawn(TensorRows(X), range(2, 5)), expected[4:]))


def test_a_batch_that_is_ready_is_not_made_again() -> None:
    batch = TensorRows(X).__getitems__([0, 1])
    assert batch.to("cpu", torch.float32) is batch
    doubled = batch.to("cpu", torch.float64)
    assert doubled.input.dtype == torch.float64
    assert doubled.target is doubled.input
    pair = TensorRows(X, target=X.double(), label=torch.arange(12)).__getitems__([0, 1]).to("cpu", torch.float32)
    assert pair.target.dtype == torch.float32
    assert pair.label is not None
    assert pair.label.dtype == torch.int64
    pixels = TensorRows(torch.tensor([[0, 255]], dtype=torch.uint8)).__getitems__([0]).to("cpu", torch.float32, (-1, 1))
    assert pixels.input.tolist() == [[-1.0, 1.0]]
