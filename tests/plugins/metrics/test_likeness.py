"""PSNR and SSIM against their closed forms, and SSIM against a loop over windows."""

from __future__ import annotations

import math

import pytest
import torch

from idemlab import BadInput, Batch, Dataset, Orbit, generator
from idemlab_metrics.likeness import Psnr, Ssim, psnr, ssim

C1, C2 = 0.02**2, 0.06**2
"""For values from -1 to 1."""


def images(count: int, *key: object) -> torch.Tensor:
    return 2 * torch.rand(count, 2, 14, 15, dtype=torch.float64, generator=generator("likeness", *key)) - 1


def test_closed_forms():
    x = images(3, "x")
    assert ssim(x, x, 2.0).tolist() == pytest.approx([1, 1, 1])
    assert psnr(x, x, 2.0).tolist() == [100, 100, 100]
    assert psnr(x, x + 0.02, 2.0).tolist() == pytest.approx([40, 40, 40])  # 20 log10(2 / 0.02)
    a, b = torch.full((1, 1, 11, 11), 0.5, dtype=torch.float64), torch.full((1, 1, 11, 11), -0.25, dtype=torch.float64)
    luminance = (2 * 0.5 * -0.25 + C1) / (0.5**2 + 0.25**2 + C1)
    assert float(ssim(a, b, 2.0)) == pytest.approx(luminance)


def test_ssim_equals_a_loop_over_the_windows():
    a, b = images(1, "a"), images(1, "b")
    b = 0.6 * a + 0.4 * b
    g = [math.exp(-((i - 5) ** 2) / (2 * 1.5**2)) for i in range(11)]
    w = torch.tensor([[p * q for q in g] for p in g], dtype=torch.float64)
    w = w / w.sum()
    found = []
    for channel in range(2):
        for i in range(4):
            for j in range(5):
                p, q = (t[0, channel, i : i + 11, j : j + 11] for t in (a, b))
                mp, mq = (w * p).sum(), (w * q).sum()
                vp, vq, c = (w * (p - mp) ** 2).sum(), (w * (q - mq) ** 2).sum(), (w * (p - mp) * (q - mq)).sum()
                found.append((2 * mp * mq + C1) * (2 * c + C2) / ((mp**2 + mq**2 + C1) * (vp + vq + C2)))
    assert float(ssim(a, b, 2.0)) == pytest.approx(float(torch.stack(found).mean()), rel=1e-9)


def test_the_metrics_take_the_range_of_the_data_and_the_target():
    x = images(4, "m").float()
    data = Dataset.of_tensors(train=x, test=x, range=(-1.0, 1.0))
    for metric, value in ((Psnr(), 40.0), (Ssim(), None)):
        metric.fit(data)
        ((name, values),) = metric(Orbit(lambda x: x + 0.02, x), Batch(x, x)).items()
        assert name == type(metric).__name__.lower()
        assert values.shape == (4,)
        assert value is None or values.tolist() == pytest.approx([value] * 4, rel=1e-4)


@pytest.mark.parametrize(
    ("metric", "shape", "range", "problem"),
    [
        (Psnr(), (2, 1, 14, 14), None, "smallest and a largest value"),
        (Ssim(), (2, 1, 14, 14), None, "smallest and a largest value"),
        (Ssim(), (2, 1, 14, 10), (0.0, 1.0), "windows of 11 x 11 pixels"),
        (Ssim(), (2, 14), (0.0, 1.0), "windows of 11 x 11 pixels"),
    ],
)
def test_data_that_do_not_fit_are_refused(metric, shape, range, problem):
    rows = torch.zeros(shape)
    with pytest.raises(BadInput, match=problem):
        metric.fit(Dataset.of_tensors(train=rows, test=rows, range=range))
