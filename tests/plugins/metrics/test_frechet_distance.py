"""The Fréchet distance against closed forms, and the metric against its parts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn

from idemlab import Batch, Dataset, Metric, Orbit, installed
from idemlab_metrics.frechet import FrechetDistance, frechet_distance
from idemlab_metrics.rows import representative


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def with_moments(mean: torch.Tensor, root: torch.Tensor, rows: int = 40, seed: int = 0) -> torch.Tensor:
    """Rows whose mean and (unbiased) covariance root rootᵀ are exactly these."""
    X = normal(rows, len(mean), seed=seed)
    X = torch.linalg.qr(X - X.mean(0)).Q * (rows - 1) ** 0.5
    return X @ root.T + mean


def test_moments_of_the_helper_are_exact():
    root = normal(4, 4, seed=3)
    X = with_moments(normal(4, seed=2), root)
    torch.testing.assert_close(torch.cov(X.T), root @ root.T)
    torch.testing.assert_close(X.mean(0), normal(4, seed=2))


@pytest.mark.parametrize("scales", [(1.0, 1.0), (2.0, 0.5), (3.0, 0.0)], ids=str)
def test_of_commuting_gaussians_is_the_sum_of_squared_differences_of_means_and_deviations(scales):
    s, t = scales
    mu = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64)
    a, b = with_moments(mu, s * eye), with_moments(torch.zeros_like(mu), t * eye, rows=25, seed=1)
    assert frechet_distance(a, b) == pytest.approx(float(mu.square().sum()) + 3 * (s - t) ** 2, rel=1e-12)


def test_of_one_column_is_the_closed_form():
    a, b = 2 + 3 * normal(30, 1), 0.5 * normal(50, 1, seed=1)
    assert frechet_distance(a, b) == pytest.approx(float((a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_of_gaussians_that_do_not_commute_agrees_with_the_root_of_the_product(seed):
    a, b = normal(60, 5, seed=seed) @ normal(5, 5, seed=seed + 10), normal(80, 5, seed=seed + 20) + 1
    C_a, C_b = (np.cov(rows.numpy(), rowvar=False) for rows in (a, b))
    between = float((a.mean(0) - b.mean(0)).square().sum())
    literal = between + np.trace(C_a + C_b - 2 * np.real(scipy.linalg.sqrtm(C_a @ C_b)))
    assert frechet_distance(a, b) == pytest.approx(literal, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(literal, rel=1e-9)


def test_of_a_set_to_itself_is_zero_even_where_its_covariance_is_singular():
    a = normal(10, 64)
    assert frechet_distance(a, a) < 1e-11
    moved = a + 3.0
    assert frechet_distance(a, moved) == pytest.approx(9 * 64, rel=1e-12)


def test_of_a_single_repeated_point_is_the_mean_squared_distance_to_it():
    a, point = normal(30, 4), normal(4, seed=5)
    unbiased = a.var(0).sum() + (a.mean(0) - point).square().sum()
    assert frechet_distance(a, point.expand(20, 4)) == pytest.approx(float(unbiased), rel=1e-12)


def test_of_what_is_not_finite_is_not_a_number():
    a = normal(6, 3)
    assert math.isnan(frechet_distance(a, a.index_fill(0, torch.tensor([2]), math.inf)))


# -- the metric ------------------------------------------------------------------------------------------------------------


class Halve(nn.Module):
    def forward(self, x):
        return x / 2


def dataset() -> Dataset:
    return Dataset.of_tensors(train=normal(90, 5), test=normal(40, 5, seed=1))


def measured(metric: Metric, x: torch.Tensor) -> dict[str, float]:
    for part in x.split(7):
        assert metric(Orbit(Halve(), part), Batch(part, part)) == {}
    return metric.compute()


def test_the_metric_follows_the_orbit_and_gives_the_floor():
    data, x = dataset(), normal(30, 5, seed=2)
    metric = FrechetDistance("pca")
    metric.fit(data)
    # The principal components of five entries are a rotation, which changes no distance.
    train, test = (rows.input for rows in (data.train, data.test))
    some = test[representative(40, 30)]
    expected = {f"frechet_pca_{k}": frechet_distance(x / 2**k, train) for k in (1, 2, 3)}
    expected["frechet_pca_of_test"] = frechet_distance(some, train)
    assert measured(metric, x) == pytest.approx(expected, rel=1e-5)  # the data are read in single precision
    assert metric.extractor.name == "pca-5"


def test_the_metric_forgets_and_is_silent_about_too_few():
    metric = FrechetDistance("pca")
    metric.fit(dataset())
    assert metric.compute() == {}
    assert measured(metric, normal(1, 5)) == {}
    first = measured(metric, normal(20, 5))
    assert measured(metric, normal(20, 5)) == first


@pytest.mark.parametrize("name", ["frechet-distance", "precision-recall", "diversity"])
def test_features_are_chosen_by_name(name):
    catalog = installed()
    metric = catalog.check("metric", {"name": name, "features": "pca"}, "my.toml, [evaluation]").build()
    metric.fit(dataset())
    values = measured(metric, normal(20, 5))
    assert values
    assert any("_pca" in name for name in values)
    assert not any("fid" in name or "cnn" in name for name in values)
