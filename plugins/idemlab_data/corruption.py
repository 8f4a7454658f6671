"""Corrupted data: blurred, noisy, with missing pixels; the target is the clean sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from idemlab import BadInput, Batch, Dataset, Operator, Points, Source, Step

__all__ = ["CorruptedSource", "gaussian_blur"]

_GRID = 7
"""Images lose cells of a 7 x 7 grid: 4 x 4 pixels of a digit, about 9 x 9 of a face."""


class CorruptedSource(Source):
    """x -> m (blur(x) + s ε) + (1 - m) lowest, ε ~ N(0, I); the target is the batch's own.

    Args:
        noise: standard deviation s.
        random_strength: s is drawn for each sample, uniform in [0, noise].
        fraction: probability that a sample is corrupted at all.
        mask: probability that a cell of an image (an entry of a vector) is missing: set to the smallest value of the
            data's range, or 0 if they have none.
        blur: standard deviation of a Gaussian filter, in pixels.
    """

    made_of_data = True
    lowest: Tensor

    def __init__(self, noise: float, random_strength: bool, fraction: float, mask: float, blur: float) -> None:
        super().__init__()
        self.noise, self.random_strength, self.fraction, self.mask, self.blur = (
            noise,
            random_strength,
            fraction,
            mask,
            blur,
        )
        self.register_buffer("lowest", torch.zeros(()))

    def fit(self, dataset: Dataset) -> None:
        """Learn the smallest value of the data.

        Raises:
            BadInput: if something that is no image is to be blurred.
        """
        if self.blur > 0 and len(dataset.shape) != 3:
            raise BadInput(
                f"source 'corrupted': only images can be blurred, the data have the shape {dataset.shape}",
                expected="images (channels, height, width), or blur = 0",
                next_step="leave 'blur' out, or use 'noise' or 'mask'",
            )
        if dataset.range is not None:
            self.lowest.fill_(dataset.range[0])

    def sample(self, batch: Batch, step: Step, operator: Operator) -> Points:
        x = batch.input
        each = x.new_empty(len(x))
        per_sample = (-1, *[1] * (x.ndim - 1))
        points = gaussian_blur(x, self.blur) if self.blur > 0 else x
        if self.noise > 0:
            strength = step.uniform(each) if self.random_strength else torch.ones_like(each)
            points = points + self.noise * strength.view(per_sample) * step.normal(x)
        if self.mask > 0:
            points = torch.where(self._missing(x, step), self.lowest.to(x.dtype), points)
        if self.fraction < 1:
            points = torch.where((step.uniform(each) < self.fraction).view(per_sample), points, x)
        return Points(points, batch.target)

    def _missing(self, x: Tensor, step: Step) -> Tensor:
        """Which entries are missing, [B, *shape] or broadcast over channels."""
        if x.ndim != 4:
            return step.uniform(x) < self.mask
        cells = (step.uniform(x.new_empty(len(x), 1, _GRID, _GRID)) < self.mask).to(x.dtype)
        return nn.functional.interpolate(cells, size=x.shape[2:], mode="nearest") > 0


def gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    """Images [B, C, H, W] under a Gaussian filter of `sigma` pixels, cut at 3 sigma; the border is continued."""
    radius = math.ceil(3 * sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-0.5 * (offsets / sigma).square())
    kernel = kernel / kernel.sum()
    channels = x.shape[1]
    padded = nn.functional.pad(x, [radius] * 4, mode="replicate")
    across = nn.functional.conv2d(padded, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return nn.functional.conv2d(across, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
