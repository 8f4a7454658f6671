"""Augmentation: drawn by seed and step alone, the same for any number of processes, and refused where it has no meaning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import idemlab
from idemlab import BadInput, Batch, Dataset, Source, Step
from idemlab.contracts.step import Shard
from idemlab.errors import Interrupted
from idemlab.watching.watcher import Watcher

AFFINE = {"name": "RandomAffine", "degrees": 30, "translate": [0.2, 0.2]}
IMAGES = Dataset.of_tensors(torch.rand(8, 1, 8, 8) * 2 - 1, torch.rand(4, 1, 8, 8) * 2 - 1, range=(-1.0, 1.0))


def build(*transforms: Any, **arguments: Any) -> Any:
    source = idemlab.installed().check(
        "source", {"name": "augmented", "transforms": list(transforms), **arguments}, "here"
    )
    return source.build_as(Source)


def fitted(*transforms: Any, **arguments: Any) -> Any:
    source = build(*transforms, **arguments)
    source.fit(IMAGES)
    return source


BATCH = IMAGES.train.__getitems__(list(range(8)))


def test_each_sample_has_its_own_draw_by_seed_and_step() -> None:
    source = fitted(AFFINE)
    same = BATCH.replace(input=(x := BATCH.input[:1].expand(8, 1, 8, 8).contiguous()), target=x)
    points, targets, _ = source.sample(same, Step(index=3), nn.Identity())
    assert torch.equal(points, targets)
    assert len({row.numpy().tobytes() for row in points}) == 8
    assert torch.equal(source.sample(same, Step(index=3), nn.Identity()).points, points)
    assert not torch.equal(source.sample(same, Step(index=4), nn.Identity()).points, points)
    assert -1 <= float(points.min()) <= float(points.max()) <= 1


def test_two_processes_draw_what_one_does() -> None:
    source = fitted(AFFINE)
    whole = source.sample(BATCH, Step(index=3), nn.Identity()).points
    parts = [
        source.sample(
            BATCH.rows(slice(4 * r, 4 * r + 4)), Step(index=3, shard=Shard(rank=r, world=2)), nn.Identity()
        ).points
        for r in range(2)
    ]
    assert torch.equal(torch.cat(parts), whole)


def test_the_range_is_kept_and_another_source_may_follow() -> None:
    flipped = fitted({"name": "RandomHorizontalFlip", "p": 1.0})
    points = flipped.sample(BATCH, Step(), nn.Identity()).points
    torch.testing.assert_close(points, BATCH.input.flip(-1))
    inverted = fitted({"name": "RandomInvert", "p": 1.0}).sample(BATCH, Step(), nn.Identity()).points
    torch.testing.assert_close(inverted, -BATCH.input)
    noisy = fitted({"name": "RandomHorizontalFlip", "p": 1.0}, then={"name": "corrupted", "noise": 0.5})
    inputs, targets, _ = noisy.sample(BATCH, Step(), nn.Identity())
    torch.testing.assert_close(targets, BATCH.input.flip(-1))
    assert 0.3 < float((inputs - targets).std()) < 0.7


def test_what_another_source_needs_is_told() -> None:
    table = {
        "name": "augmented",
        "transforms": [{"name": "RandomHorizontalFlip"}],
        "then": {"name": "transport", "pool": 64},
    }
    source = idemlab.installed().check("source", table, "here").build()
    assert not source.row_by_row
    assert source.draws_from_data
    assert source.period(16) == 4


def test_transforms_may_hold_others() -> None:
    source = fitted({"name": "RandomApply", "p": 0.5, "transforms": [{"name": "RandomInvert", "p": 1.0}]})
    changed = (source.sample(BATCH, Step(), nn.Identity()).points - BATCH.input).abs().flatten(1).amax(1) > 1e-3
    assert 0 < int(changed.sum()) < 8


@pytest.mark.parametrize(
    ("table", "what", "nearest"),
    [
        ({"name": "RandomAfine"}, "transforms[0] names no transform: 'RandomAfine'", "RandomAffine"),
        ({"degrees": 3}, "transforms[0] names no transform", None),
        ({"name": "RandomAffine", "degree": 3}, "RandomAffine has no argument 'degree'", "degrees"),
        ({"name": "RandomAffine"}, "RandomAffine: ", None),
        ({"name": "RandomAffine", "degrees": -3}, "RandomAffine: ", None),
        (
            {"name": "RandomApply", "transforms": [{"name": "x"}]},
            "transforms[0].transforms[0] names no transform",
            None,
        ),
    ],
)
def test_wrong_transforms_are_refused(table: dict[str, Any], what: str, nearest: str | None) -> None:
    with pytest.raises(BadInput) as caught:
        build(table)
    assert what in caught.value.what
    if nearest:
        assert caught.value.nearest == nearest


def test_data_that_cannot_be_augmented_are_refused() -> None:
    vectors = Dataset.of_tensors(torch.rand(8, 3), torch.rand(4, 3), range=(0.0, 1.0))
    with pytest.raises(BadInput, match="only images with a range"):
        build(AFFINE).fit(vectors)
    with pytest.raises(BadInput, match="the transforms turn"):
        fitted({"name": "Resize", "size": [4, 4]}).sample(BATCH, Step(), nn.Identity())
    paired = Batch(BATCH.input, BATCH.input.clone())
    with pytest.raises(BadInput, match="targets of their own"):
        fitted(AFFINE).sample(paired, Step(), nn.Identity())


class _StopAfter(Watcher):
    def stepped(self, step: int) -> None:
        if step == 3:
            raise Interrupted("enough")


def test_an_augmented_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=(BATCH.input.numpy() * 127 + 128).astype("uint8"))
    table = {
        "dataset": {"name": "npz", "path": str(tmp_path / "a.npz")},
        "model": {"name": "mlp", "width": 8, "depth": 1},
        "reconstruction": {"input": {"name": "augmented", "transforms": [AFFINE]}},
        "training": {"steps": 6, "batch_size": 4},
        "evaluation": {"rank_points": 1},
    }
    run: Callable[..., idemlab.Run] = lambda name, **further: idemlab.train(  # noqa: E731
        table, tmp_path / name, progress=False, **further
    )
    with pytest.raises(Interrupted):
        run("cut", watchers=[_StopAfter()])
    assert run("cut", resume=True).weights_file.read_bytes() == run("whole").weights_file.read_bytes()
