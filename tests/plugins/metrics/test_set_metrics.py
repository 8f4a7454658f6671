"""Nearest training sample."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from idemlab import Batch, Dataset, Orbit, TensorRows
from idemlab_metrics import nearest
from idemlab_metrics.nearest import NearestTraining
from idemlab_metrics.rows import representative


def measure(metric, y: torch.Tensor) -> dict[str, torch.Tensor]:
    return metric(Orbit(nn.Identity(), y), Batch(y, y))


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def dataset(train: torch.Tensor, test: torch.Tensor, **settings) -> Dataset:
    return Dataset.of_tensors(train=train, test=test, **settings)


def test_nearest_training_is_the_smallest_distance_whatever_the_chunks(monkeypatch):
    monkeypatch.setattr(nearest, "_CHUNK", 7)
    train, test, y = normal(50, 2, 3), normal(9, 2, 3, seed=1), normal(11, 2, 3, seed=2)
    metric = NearestTraining()
    metric.fit(dataset(train, test))
    exact = lambda rows: torch.stack([(train - row).flatten(1).norm(dim=1).amin() for row in rows])  # noqa: E731
    torch.testing.assert_close(measure(metric, y)["nearest_training"].double(), exact(y), atol=1e-5, rtol=1e-5)
    assert metric.compute()["nearest_training_of_test"] == pytest.approx(exact(test).mean().item(), rel=1e-5)


def test_a_copy_of_a_training_image_is_at_distance_zero_in_the_data_s_own_scale():
    train = (torch.arange(5 * 16).view(5, 1, 4, 4) % 256).to(torch.uint8)
    metric = NearestTraining()
    metric.fit(dataset(train, train[:1], range=(-1.0, 1.0)))
    copy = train[3:4].double() / 255 * 2 - 1
    assert measure(metric, copy)["nearest_training"].item() < 1e-3
    assert metric.compute() == {"nearest_training_of_test": pytest.approx(0, abs=1e-3)}


def test_nearest_training_compares_with_targets():
    rows = TensorRows(torch.zeros(2, 3), target=torch.full((2, 3), 2.0))
    metric = NearestTraining()
    metric.fit(Dataset(train=rows, test=rows, shape=(3,)))
    assert measure(metric, torch.zeros(1, 3))["nearest_training"].item() == pytest.approx(12**0.5)


def test_sets_on_disk_are_represented_by_samples_of_every_part(monkeypatch):
    class OnDisk:
        def __init__(self) -> None:
            self.asked: list[int] = []

        def __len__(self) -> int:
            return 1000

        def __getitems__(self, indices):
            self.asked += indices
            rows = torch.tensor(indices, dtype=torch.float32).unsqueeze(1)
            return Batch(rows, rows)

    monkeypatch.setattr(nearest, "_FROM_DISK", 10)
    on_disk = OnDisk()
    metric = NearestTraining()
    metric.fit(Dataset(train=on_disk, test=TensorRows(torch.zeros(1, 1)), shape=(1,)))
    chosen = representative(1000, 10)
    nearest_one = min(abs(index - 130.0) for index in chosen)
    assert measure(metric, torch.tensor([[130.0]]))["nearest_training"].item() == pytest.approx(nearest_one)
    assert on_disk.asked == chosen


def test_the_test_split_is_measured_once(monkeypatch):
    rows = normal(20, 3)
    metric = NearestTraining()
    metric.fit(dataset(rows, rows[:5] + 1))
    first = metric.compute()
    monkeypatch.setattr(metric, "_nearest", None)  # a second measurement would call it
    assert metric.compute() == first


@pytest.mark.parametrize(("total", "count"), [(10, 10), (10, 3), (3, 10), (60_000, 1000), (7, 4)])
def test_representative_rows_are_one_of_each_of_equal_stretches(total, count):
    indices = representative(total, count)
    count = min(total, count)
    assert [sum(i * total // count <= index < (i + 1) * total // count for index in indices) for i in range(count)] == [
        *[1] * count
    ]
    assert indices == representative(total, count)


@pytest.mark.parametrize("period", [2, 3, 10])
def test_representative_rows_do_not_fall_in_with_a_hidden_order(period):
    shares = [sum(i % period == k for i in representative(60_000, 6000)) / 6000 for k in range(period)]
    assert shares == pytest.approx([1 / period] * period, abs=0.03)
