"""Sources of noise: white, and with the spectrum of the data; and the data themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from idemlab import Batch, Dataset, Operator, Points, Source, Step

__all__ = ["DataSource", "FourierSource", "GaussianSource"]


class DataSource(Source):
    """The batch's own inputs.

    The objective recognises the name "data" and shares the reconstruction's orbit instead of asking this source.
    """

    made_of_data = True

    def sample(self, batch: Batch, step: Step, operator: Operator) -> Points:
        return Points(batch.input)


class GaussianSource(Source):
    """N(0, scale^2 I)."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def sample(self, batch: Batch, step: Step, operator: Operator) -> Points:
        return Points(self.scale * step.normal(batch.input))


class FourierSource(Source):
    """Noise with the data's spectrum: at each frequency an independent Gaussian, whose real and imaginary parts have the
    data's means and deviations (Shocher et al. 2024, arXiv 2311.01462).

    White noise is transformed, brought to those means and deviations, and transformed back: so the spectrum has the
    symmetry of real arrays. Drawn freely instead, the inverse transform would halve the power of frequencies whose
    conjugate is drawn, too. The transform runs over the last two dimensions of a sample, or over the only one.
    Statistics are fitted once: `mean` and `deviation`, [*frequencies, 2].

    Args:
        samples: number of training samples they are taken from, evenly spaced.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.samples = samples

    def fit(self, dataset: Dataset) -> None:
        total = len(dataset.train)
        count = min(self.samples, total)
        rows = dataset.train.__getitems__([i * total // count for i in range(count)])
        spectrum = _spectrum(rows.to("cpu", torch.float32, dataset.range).input)
        self.register_buffer("mean", spectrum.mean(0))
        self.register_buffer("deviation", spectrum.std(0, correction=0))

    def sample(self, batch: Batch, step: Step, operator: Operator) -> Points:
        x = batch.input
        sizes = x.shape[1:][-2:]
        white = _spectrum(step.normal(x.new_empty(x.shape, dtype=self.mean.dtype)))
        spectrum = self.mean + self.deviation * white / _white_deviation(sizes).to(white).unsqueeze(-1)
        points = torch.fft.irfftn(torch.view_as_complex(spectrum), s=sizes, dim=_dims(x), norm="ortho")
        return Points(points.to(x.dtype))


def _dims(x: Tensor) -> list[int]:
    """The dimensions of [B, *shape] that are transformed."""
    return [-1] if x.ndim == 2 else [-2, -1]


def _spectrum(x: Tensor) -> Tensor:
    """[B, *shape] -> [B, *frequencies, 2], real and imaginary parts."""
    return torch.view_as_real(torch.fft.rfftn(x, dim=_dims(x), norm="ortho"))


def _white_deviation(sizes: torch.Size) -> Tensor:
    """Deviation of the real part of white noise, over the frequencies: sqrt(1/2), but 1 where a frequency is its own
    conjugate, k = -k modulo the size, and the imaginary part is 0."""
    own = torch.ones((), dtype=torch.bool)
    for size in sizes:
        own = own.unsqueeze(-1) & (2 * torch.arange(size) % size == 0)
    return torch.where(own[..., : sizes[-1] // 2 + 1], 1.0, 0.5**0.5)
