"""Data copying: sets of which the answer is known, and smooth ones, which fool a distance."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from idemlab import Batch, Dataset, Orbit
from idemlab_metrics import copying
from idemlab_metrics.copying import DataCopying, copied
from idemlab_metrics.nearest import NearestTraining


def images(count: int, seed: int) -> torch.Tensor:
    """Images 8 x 8 with fine noise on coarse patterns, [N, 1, 8, 8]."""
    white = torch.randn(count, 2, 8, 8, generator=torch.Generator().manual_seed(seed))
    return 20 * blurred(blurred(white[:, :1])) + white[:, 1:]


def blurred(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.avg_pool2d(nn.functional.pad(x, (1, 1, 1, 1), mode="circular"), 3, 1)


TRAIN, TEST, NEW = images(600, 0), images(200, 1), images(400, 2)


@pytest.mark.parametrize(
    ("outputs", "share"),
    [
        (TRAIN[:400], 1.0),
        (NEW, 0.0),
        (torch.cat([TRAIN[:200], NEW[:200]]), 0.5),
        (TRAIN[:400] + 0.1 * NEW, 1.0),
        (TEST, -3.0),
    ],
    ids=["all copied", "none", "half", "copied with noise", "copies of the test samples"],
)
def test_the_share_of_copies_is_estimated_within_its_margin(outputs, share):
    sets = [rows.flatten(1).double() for rows in (outputs, TRAIN, TEST)]
    found, margin = copied(*sets)
    assert found == pytest.approx(share, abs=max(margin, 1e-9))
    assert margin < 0.3


def test_smooth_images_are_no_copies_and_smooth_copies_are():
    """The distance ratio says that new smooth images are nearer than any, and hardly tells them from blurred copies."""
    train, test = TRAIN.flatten(1).double(), TEST.flatten(1).double()

    def near(rows: torch.Tensor) -> float:
        return float(torch.cdist(rows, train).amin(1).mean() / torch.cdist(test, train).amin(1).mean())

    new, copies = (blurred(x).flatten(1).double() for x in (NEW, TRAIN[:400]))
    assert near(copies) < near(new) < 0.9
    assert near(copies) > 0.4
    share, margin = copied(new, train, test)
    assert abs(share) < margin < 0.5
    share, margin = copied(copies, train, test)
    assert share > 0.9
    assert share > 2 * margin
    stream = torch.Generator().manual_seed(0)
    chance = [
        copied(new, *torch.cat([train, test])[torch.randperm(800, generator=stream)].split([600, 200]))
        for _ in range(40)
    ]
    assert sum(abs(share) > margin for share, margin in chance) <= 6  # of 40, where 2 are expected


def test_what_both_sets_hold_tells_nothing_and_chunks_change_nothing(monkeypatch):
    both = TRAIN.flatten(1)[:100].double()
    assert copied(both, both, both)[0] == 0
    sets = [rows.flatten(1).double() for rows in (NEW, TRAIN, TEST)]
    whole = copied(*sets)
    monkeypatch.setattr(copying, "_CHUNK", 7)
    assert copied(*sets) == whole
    assert copied(*sets, known=0.5) == pytest.approx((2 * whole[0], 2 * whole[1]))


def test_the_metric_compares_outputs_with_both_splits_in_named_features():
    data = Dataset.of_tensors(train=TRAIN, test=TEST)
    metrics = [DataCopying("pca"), DataCopying("hog"), NearestTraining()]
    values = {}
    for metric in metrics:
        metric.fit(data)
        for part in TRAIN[:300].split(170):
            metric(Orbit(nn.Identity(), part), Batch(part, part))
        values |= metric.compute()
    assert {"copied_pca", "copied_pca_margin", "copied_hog", "copied_hog_margin"} < set(values)
    assert values["copied_pca"] == values["copied_hog"] == 1
    assert metrics[0].compute() == {}


def test_of_a_set_on_disk_only_a_part_is_known(monkeypatch):
    class OnDisk:
        def __len__(self) -> int:
            return len(TRAIN)

        def __getitems__(self, indices):
            return Batch(TRAIN[indices], TRAIN[indices])

    monkeypatch.setattr(copying, "_FROM_DISK", 300)
    metric = DataCopying("pca")
    metric.fit(Dataset(train=OnDisk(), test=Dataset.of_tensors(TRAIN, TEST).test, shape=(1, 8, 8)))
    metric(Orbit(nn.Identity(), TRAIN), Batch(TRAIN, TRAIN))
    values = metric.compute()
    assert values["copied_pca"] == pytest.approx(1, abs=values["copied_pca_margin"])
