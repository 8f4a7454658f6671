"""The sources `data`, `gaussian` and `fourier`."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from idemlab import Batch, Dataset, Step, TensorRows
from idemlab.contracts.step import Shard
from idemlab_data.noise import DataSource, FourierSource, GaussianSource


def batch(*shape: int, dtype: torch.dtype = torch.float32) -> Batch:
    x = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    return Batch(x, x)


def images(count: int = 300, shape: tuple[int, ...] = (2, 6, 5)) -> Dataset:
    """Smooth images with a bright left side: their spectrum is far from white."""
    stream = torch.Generator().manual_seed(0)
    rows = torch.randn(count, *shape, generator=stream).cumsum(-1)
    return Dataset.of_tensors(train=rows, test=rows[:1])


def test_data_gives_the_inputs_and_no_target():
    b = batch(3, 4)
    points, targets, _ = DataSource().sample(b, Step(), nn.Identity())
    assert points is b.input
    assert targets is None


def test_gaussian_is_scaled_white_noise_from_the_step_alone():
    b = batch(2000, 3)
    points, targets, _ = GaussianSource(2.0).sample(b, Step(seed=5, index=7), nn.Identity())
    assert targets is None
    assert torch.equal(points, 2 * Step(seed=5, index=7).normal(b.input))
    assert abs(points.std().item() - 2) < 0.1


@pytest.mark.parametrize("source", [GaussianSource(1.0), FourierSource(50)], ids=["gaussian", "fourier"])
@pytest.mark.parametrize("shard", [{"world": 2, "rank": 1}, {"micros": 2, "micro": 1}])
def test_noise_does_not_depend_on_the_number_of_processes(source, shard):
    source.fit(images())
    whole = source.fresh(batch(8, 2, 6, 5), Step(seed=1))
    half = source.fresh(batch(4, 2, 6, 5), Step(seed=1, shard=Shard(**shard)))
    assert torch.equal(half, whole[4:])


@pytest.mark.parametrize("shape", [(2, 6, 5), (1, 4, 4), (7,), (8,)], ids=str)
def test_fourier_noise_has_the_fitted_mean_and_spectrum(shape):
    data = images(400, shape)
    source = FourierSource(400)
    source.fit(data)
    points = source.fresh(batch(20_000, *shape, dtype=torch.float64), Step(seed=2)).float()
    assert points.shape == (20_000, *shape)
    dims = [-1] if len(shape) == 1 else [-2, -1]
    rows = data.train.input
    torch.testing.assert_close(points.mean(0), rows.mean(0), atol=0.12, rtol=0)
    power = [torch.fft.rfftn(x - x.mean(0), dim=dims).abs().square().mean(0).sqrt() for x in (points, rows)]
    torch.testing.assert_close(power[0], power[1], atol=1e-3, rtol=0.03)


def test_fourier_statistics_are_those_of_scaled_images_evenly_spaced():
    rows = torch.arange(10, dtype=torch.uint8).repeat_interleave(4).view(10, 1, 2, 2) * 25
    data = Dataset(train=TensorRows(rows), test=TensorRows(rows[:1]), shape=(1, 2, 2), range=(-1.0, 1.0))
    source = FourierSource(5)
    source.fit(data)
    values = rows[::2].float() / 255 * 2 - 1
    constant = values.sum((2, 3)).squeeze(1)  # frequency 0 of each
    real, imaginary = source.mean[..., 0], source.mean[..., 1]
    torch.testing.assert_close(real[0, 0, 0], constant.mean() / 2)  # unitary transform of 2 x 2
    torch.testing.assert_close(source.deviation[0, 0, 0, 0], constant.std(correction=0) / 2)
    assert imaginary.abs().max() == 0


def test_fourier_statistics_are_checkpointed():
    fitted, fresh = FourierSource(50), FourierSource(50)
    fitted.fit(images())
    fresh.fit(images(count=20))
    fresh.load_state_dict(fitted.state_dict())
    assert torch.equal(fresh.fresh(batch(3, 2, 6, 5), Step()), fitted.fresh(batch(3, 2, 6, 5), Step()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_fourier_noise_has_the_dtype_of_the_batch(dtype):
    source = FourierSource(50)
    source.fit(images())
    assert source.fresh(batch(3, 2, 6, 5, dtype=dtype), Step()).dtype == dtype
