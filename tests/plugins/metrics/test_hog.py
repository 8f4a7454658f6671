"""Oriented gradients: ramps in closed form, what they tell apart, and what they refuse."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from idemlab import BadInput, Dataset
from idemlab_metrics.features import extractor
from idemlab_metrics.hog import oriented_gradients


def ramp(angle: float, slope: float = 0.5) -> torch.Tensor:
    """An image 16 x 16 that rises by `slope` a pixel in a direction, measured from "to the right" downwards."""
    down, right = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    return slope * (math.cos(angle) * right + math.sin(angle) * down)[None, None]


@pytest.mark.parametrize(
    ("eighths", "shares"), [(0, {0: 1}), (2, {2: 1}), (5.5, {5: 0.5, 6: 0.5}), (7.25, {7: 0.75, 0: 0.25})]
)
def test_a_ramp_has_its_slope_in_its_direction_and_shares_it_between_two(eighths, shares):
    cells = oriented_gradients(ramp(eighths * math.pi / 4)).view(8, 4, 4)
    inner = cells[:, 1:3, 1:3]  # cells of 8 x 8 that touch no border
    expected = torch.zeros(8)
    for direction, share in shares.items():
        expected[direction] = 0.5 * share
    torch.testing.assert_close(inner, expected.view(8, 1, 1).expand(8, 2, 2), rtol=0, atol=1e-5)


def test_turning_an_image_turns_the_directions_and_channels_stand_side_by_side():
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    cells, turned = (oriented_gradients(x).view(8, 4, 4) for x in (image, image.rot90(-1, (2, 3))))
    torch.testing.assert_close(turned, cells.roll(2, 0).rot90(-1, (1, 2)))
    both = oriented_gradients(torch.cat([image, 2 * image], 1)).view(2, 8, 4, 4)
    torch.testing.assert_close(both, torch.stack([cells, 2 * cells]))
    assert oriented_gradients(torch.ones(2, 3, 16, 16)).abs().max() == 0


def test_faint_and_blurred_images_are_far_and_shifted_ones_near(dataset, images_of):
    data = dataset()
    hog, x = extractor("hog", data), images_of(data)
    seen = hog(x)
    assert (seen.dtype, tuple(seen.shape)) == (torch.float64, (60, 64))
    assert (hog.name, hog.facts) == ("hog-64", {})
    torch.testing.assert_close(hog(x[7:9]), seen[7:9])

    def away(y: torch.Tensor) -> float:
        return (hog(y) - seen).norm(dim=1).mean().item() / (seen - seen.mean(0)).norm(dim=1).mean().item()

    assert away(nn.functional.avg_pool2d(x, 3, 1, 1)) > 0.5
    assert away(0.2 * x) > 0.5


@pytest.mark.parametrize("shape", [(5,), (1, 4, 4)])
def test_other_data_are_refused_with_the_way_out(shape):
    with pytest.raises(BadInput, match="8 x 8 pixels") as caught:
        extractor("hog", Dataset.of_tensors(torch.zeros(3, *shape), torch.zeros(3, *shape)))
    assert "'pca'" in caught.value.next_step
