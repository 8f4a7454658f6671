"""How alike two images are: the peak signal-to-noise ratio and the structural similarity of f(x) and its target."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from idemlab import BadInput, Batch, Dataset, Metric, Orbit

__all__ = ["Psnr", "Ssim", "psnr", "ssim"]

_MOST = 100.0
"""Decibels of images that are equal, or nearly so: the logarithm has no end."""
_WINDOW, _SIGMA, _K1, _K2 = 11, 1.5, 0.01, 0.03
"""The constants of Wang et al. 2004."""


class Psnr(Metric):
    """PSNR of f(x) against the target, in decibels, [B]."""

    def fit(self, dataset: Dataset) -> None:
        """Take the range of the data.

        Raises:
            BadInput: if they have none.
        """
        self._width = _width("psnr", dataset)

    def __call__(self, orbit: Orbit, batch: Batch) -> dict[str, Tensor]:
        return {"psnr": psnr(orbit.ahead(0), batch.target, self._width)}


class Ssim(Metric):
    """Structural similarity of f(x) and the target, the mean over the image, [B]."""

    def fit(self, dataset: Dataset) -> None:
        """Take the range of the data.

        Raises:
            BadInput: if they have none, or are no images of at least 11 x 11 pixels.
        """
        self._width = _width("ssim", dataset)
        if len(dataset.shape) != 3 or min(dataset.shape[1:]) < _WINDOW:
            raise BadInput(
                f"metric 'ssim' looks at windows of {_WINDOW} x {_WINDOW} pixels, the data have the shape {dataset.shape}",
                expected=f"images (channels, height, width) of at least {_WINDOW} x {_WINDOW} pixels",
                next_step="leave the metric out",
            )

    def __call__(self, orbit: Orbit, batch: Batch) -> dict[str, Tensor]:
        return {"ssim": ssim(orbit.ahead(0), batch.target, self._width)}


def _width(metric: str, dataset: Dataset) -> float:
    if dataset.range is None:
        raise BadInput(
            f"metric '{metric}' needs data with a smallest and a largest value",
            expected="a data set with a `range`, such as images",
            next_step="leave the metric out",
        )
    return dataset.range[1] - dataset.range[0]


def psnr(images: Tensor, targets: Tensor, width: float) -> Tensor:
    """10 log10(width^2 / mean (a - b)^2) of each pair, [B], at most 100; `width` is that of the range of values."""
    error = (images - targets).flatten(1).square().mean(1)
    return (10 * torch.log10(width**2 / error)).clamp_max(_MOST)


def ssim(images: Tensor, targets: Tensor, width: float) -> Tensor:
    """Mean over the windows of (2 μa μb + c1)(2 σab + c2) / ((μa^2 + μb^2 + c1)(σa^2 + σb^2 + c2)), [B].

    μ and σ are means and (co)variances under a Gaussian window of 11 x 11 pixels and 1.5 pixels deviation, taken where the
    whole window lies in the image; c1 = (0.01 width)^2 and c2 = (0.03 width)^2.

    Source: Z. Wang, A. C. Bovik, H. R. Sheikh and E. P. Simoncelli, IEEE Trans. Image Process. 13 (2004) 600.
    """
    a, b = images, targets
    offsets = torch.arange(_WINDOW, dtype=a.dtype, device=a.device) - _WINDOW // 2
    kernel = torch.exp(-0.5 * (offsets / _SIGMA).square())
    kernel = kernel / kernel.sum()

    def mean(t: Tensor) -> Tensor:
        channels = t.shape[1]
        across = nn.functional.conv2d(t, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
        return nn.functional.conv2d(across, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)

    c1, c2 = (_K1 * width) ** 2, (_K2 * width) ** 2
    μa, μb = mean(a), mean(b)
    σaa, σbb, σab = mean(a * a) - μa * μa, mean(b * b) - μb * μb, mean(a * b) - μa * μb
    likeness = (2 * μa * μb + c1) * (2 * σab + c2) / ((μa * μa + μb * μb + c1) * (σaa + σbb + c2))
    return likeness.flatten(1).mean(1)
