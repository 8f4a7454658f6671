"""Corruption: noise, masking, blur; the target stays clean."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from idemlab import BadInput, Batch, Dataset, Points, Step
from idemlab.contracts.step import Shard
from idemlab_data.corruption import CorruptedSource, gaussian_blur


def clean(count: int = 400, shape: tuple[int, ...] = (3, 14, 14)) -> Batch:
    x = 2 * torch.rand(count, *shape, generator=torch.Generator().manual_seed(0)) - 1
    return Batch(x, x)


def corrupted(source: CorruptedSource, batch: Batch, step: Step | None = None) -> Points:
    data = Dataset.of_tensors(train=batch.input, test=batch.input, range=(-1.0, 1.0))
    source.fit(data)
    return source.sample(batch, step or Step(seed=3), nn.Identity())


def make(**changed: object) -> CorruptedSource:
    plain = {"noise": 0.0, "random_strength": False, "fraction": 1.0, "mask": 0.0, "blur": 0.0}
    return CorruptedSource(**(plain | changed))


def test_nothing_asked_for_changes_nothing():
    batch = clean(4)
    points, targets, _ = corrupted(make(), batch)
    assert points is batch.input
    assert targets is batch.target


def test_targets_are_the_batch_s_own_and_inputs_are_not_mutated():
    x = clean(8)
    batch = Batch(x.input.clone(), x.input.flip(-1))
    _, targets, _ = corrupted(make(noise=0.5, mask=0.3, blur=1.0, fraction=0.5), batch)
    assert targets is batch.target
    assert torch.equal(batch.input, x.input)


def test_noise_has_the_standard_deviation_asked_for():
    batch = clean()
    added = corrupted(make(noise=0.7), batch).points - batch.input
    assert abs(added.std().item() - 0.7) < 0.005
    assert abs(added.mean().item()) < 0.005


def test_random_strength_is_uniform_for_each_sample():
    batch = clean(2000)
    strength = (corrupted(make(noise=0.8, random_strength=True), batch).points - batch.input).flatten(1).std(1)
    quartiles = torch.quantile(strength, torch.tensor([0.25, 0.5, 0.75]))
    torch.testing.assert_close(quartiles, torch.tensor([0.2, 0.4, 0.6]), atol=0.03, rtol=0)
    assert strength.max() < 0.9


def test_a_fraction_of_the_samples_is_corrupted_and_the_rest_untouched():
    batch = clean(2000)
    touched = (corrupted(make(noise=0.5, fraction=0.7), batch).points != batch.input).flatten(1).any(1)
    assert abs(touched.float().mean().item() - 0.7) < 0.04


def test_masked_images_lose_cells_in_all_channels_to_the_lowest_value():
    batch = clean(500)
    points = corrupted(make(mask=0.4), batch).points
    missing = points == -1
    assert torch.equal(points[~missing], batch.input[~missing])
    assert (missing == missing[:, :1]).all()
    cells = missing[:, 0].unflatten(2, (7, 2)).unflatten(1, (7, 2)).float().mean((2, 4))
    assert set(cells.unique().tolist()) == {0.0, 1.0}
    assert abs(cells.mean().item() - 0.4) < 0.02


@pytest.mark.parametrize("side", [5, 7, 28, 64])
def test_masks_cover_the_share_asked_for_at_any_size(side):
    points = corrupted(make(mask=0.25), clean(600, (1, side, side))).points
    assert abs((points == -1).float().mean().item() - 0.25) < 0.03


def test_masked_vectors_lose_entries_and_without_a_range_they_become_zero():
    batch = clean(1000, (8,))
    source = make(mask=0.5)
    source.fit(Dataset.of_tensors(train=batch.input, test=batch.input))
    points = source.sample(batch, Step(), nn.Identity()).points
    missing = points == 0
    assert torch.equal(points[~missing], batch.input[~missing])
    assert abs(missing.float().mean().item() - 0.5) < 0.03


def test_masked_pixels_carry_no_noise():
    points = corrupted(make(mask=0.5, noise=0.3), clean(50)).points
    assert (points == -1).float().mean() > 0.4


def test_blur_of_a_point_is_the_gaussian():
    """Against the density itself, normalised on the cut square."""
    x = torch.zeros(1, 2, 21, 21, dtype=torch.float64)
    x[0, :, 10, 10] = 1
    r = torch.arange(-10, 11, dtype=torch.float64)
    density = torch.exp(-(r[:, None] ** 2 + r[None] ** 2) / (2 * 1.5**2))
    density[(r.abs() > 5)[:, None] | (r.abs() > 5)[None]] = 0
    torch.testing.assert_close(gaussian_blur(x, 1.5)[0, 1], density / density.sum())


def test_blur_keeps_constants_up_to_the_border_and_channels_apart():
    x = torch.stack([torch.full((5, 4), 0.3), torch.full((5, 4), -2.0)]).unsqueeze(0)
    torch.testing.assert_close(gaussian_blur(x, 3.0), x)


def test_blur_goes_before_noise():
    batch = clean(4)
    points = corrupted(make(blur=2.0, noise=0.5), batch, Step(seed=9)).points
    expected = gaussian_blur(batch.input, 2.0) + 0.5 * Step(seed=9).normal(batch.input)
    torch.testing.assert_close(points, expected)


def test_blur_needs_images():
    with pytest.raises(BadInput, match=r"only images can be blurred, .* \(8,\)"):
        corrupted(make(blur=1.0), clean(4, (8,)))


def test_corruption_does_not_depend_on_the_number_of_processes():
    batch, source = clean(8), make(noise=0.7, random_strength=True, fraction=0.6, mask=0.3)
    whole = corrupted(source, batch, Step(seed=1)).points
    half = Batch(batch.input[4:], batch.target[4:])
    part = source.sample(half, Step(seed=1, shard=Shard(rank=1, world=2)), nn.Identity()).points
    assert torch.equal(part, whole[4:])


def test_fresh_gives_corrupted_points_for_evaluation():
    batch = clean(8)
    assert torch.equal(make(noise=0.7).fresh(batch, Step()), corrupted(make(noise=0.7), batch, Step()).points)
