"""Gaussian vectors, the torus, gratings, the sphere, the ball, lists to sort."""

from __future__ import annotations

import math

import pytest
import torch

from idemlab import generator
from idemlab_data.synthetic import Ball, Sphere, Torus, ball, gaussian, gratings, sequences, sphere, torus, whitened


def test_gaussian_has_the_shapes_sizes_and_moments_of_white_noise():
    data = gaussian((2, 3), train=4000, test=10, seed=0, whiten=False)
    assert (len(data.train), len(data.test), data.shape) == (4000, 10, (2, 3))
    rows = data.train.input
    assert rows.dtype == torch.float32
    assert rows.mean(0).abs().max() < 0.08  # five standard errors of 1/sqrt(4000)
    assert (rows.var(0) - 1).abs().max() < 0.12


def test_gaussian_is_fixed_by_its_seed_and_keeps_train_and_test_apart():
    first, again, other = (gaussian((4,), 50, 50, seed, False) for seed in (3, 3, 4))
    assert torch.equal(first.train.input, again.train.input)
    assert not torch.equal(first.train.input, other.train.input)
    assert torch.cdist(first.train.input, first.test.input).min() > 0


def test_whitened_rows_have_second_moment_one_exactly():
    rows = gaussian((2, 4), train=40, test=5, seed=1, whiten=True).train.input
    X = rows.flatten(1)
    torch.testing.assert_close(X.T @ X / len(X), torch.eye(8, dtype=torch.float64), atol=1e-13, rtol=0)


def test_whitening_leaves_white_rows_alone_and_is_idempotent():
    white = whitened(torch.randn(30, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(whitened(white), white, atol=1e-13, rtol=0)


def test_too_few_rows_to_whiten_are_refused():
    with pytest.raises(ValueError, match="at least 16"):
        gaussian((16,), train=15, test=4, seed=0, whiten=True)


@pytest.mark.parametrize(("circles", "ambient"), [(1, 2), (2, 16), (3, 7)])
def test_torus_points_lie_on_it_and_fill_the_space(circles, ambient):
    data = torus(circles, ambient, train=200, test=20, seed=0)
    rows = data.train.input.double()
    assert data.distance(rows).max() < 1e-6
    torch.testing.assert_close(rows.norm(dim=1), torch.full((200,), math.sqrt(circles), dtype=torch.float64))
    assert torch.linalg.matrix_rank(rows - rows.mean(0), rtol=1e-3) == 2 * circles


def test_torus_distance_equals_a_search_over_the_manifold():
    """Independent oracle: the nearest of a fine net of points of the torus."""
    stream = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=stream)).Q
    manifold = Torus(basis[:, :4], radius=1.5)
    grid = torch.linspace(0, 2 * math.pi, 721, dtype=torch.float64)
    net = manifold.points(torch.cartesian_prod(grid, grid))
    points = 2 * torch.randn(20, 5, dtype=torch.float64, generator=stream)
    searched = torch.cdist(points, net, compute_mode="donot_use_mm_for_euclid_dist").amin(1)
    torch.testing.assert_close(manifold.distance(points), searched, atol=1e-4, rtol=1e-4)


def test_torus_is_isometric_to_the_flat_one():
    """|dp| = |dθ|: the embedding stretches nothing."""
    manifold = Torus(torch.linalg.qr(torch.eye(6, dtype=torch.float64).flip(0) + 0.1).Q)
    angles = torch.tensor([[0.3, -1.0, 2.0]], dtype=torch.float64)
    J = torch.autograd.functional.jacobian(manifold.points, angles)[0, :, 0]
    torch.testing.assert_close(J.T @ J, torch.eye(3, dtype=torch.float64))


def test_gratings_are_images_on_a_torus_with_the_frequencies_of_the_seed():
    """Independent oracle: the spectrum of each image has the gratings' frequencies alone, with equal amplitudes."""
    data = gratings(2, 16, train=50, test=5, seed=0)
    images = data.train.input.double()
    assert data.shape == (1, 16, 16)
    assert data.distance(images).max() < 1e-5
    torch.testing.assert_close(data.projection(images), images, atol=1e-6, rtol=0)
    spectrum = torch.fft.rfft2(images[:, 0]).abs() / 16**2
    strong = spectrum > 0.01
    assert (strong == strong[0]).all()
    full = torch.fft.fft2(images[:, 0]).abs() / 16**2
    amplitudes = full[full > 0.01]
    assert len(amplitudes) == 4 * 50  # each frequency f and -f
    torch.testing.assert_close(amplitudes, torch.full_like(amplitudes, 0.25), atol=1e-5, rtol=0)


def test_a_moved_grating_image_stays_on_the_manifold():
    data = gratings(3, 12, train=4, test=4, seed=1)
    assert data.distance(data.train.input.roll((2, 5), dims=(2, 3)).double()).max() < 1e-5
    assert data.distance(data.train.input.flip(2).double()).min() > 0.1


def test_more_gratings_than_frequencies_are_refused():
    with pytest.raises(ValueError, match="13 frequencies are needed"):
        gratings(13, 8, train=4, test=4, seed=0)


def test_torus_distance_follows_the_points_dtype_and_shape():
    data = torus(2, 16, 4, 4, seed=0)
    assert data.distance(torch.zeros(3, 16)).dtype == torch.float32
    torch.testing.assert_close(data.distance(torch.zeros(3, 16)), torch.full((3,), math.sqrt(2)))


def test_torus_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="3 circles need 6 dimensions, ambient is 5"):
        torus(3, 5, 10, 10, 0)


def test_sequences_have_their_sorted_selves_as_targets():
    data = sequences(length=6, train=30, test=10, seed=0)
    batch = data.train.__getitems__(list(range(30)))
    assert (batch.target.diff(dim=1) >= 0).all()
    assert (batch.input.diff(dim=1) < 0).any()
    for row, target in zip(batch.input.tolist(), batch.target.tolist(), strict=True):
        assert sorted(row) == target
    assert data.shape == (6,)
    low, high = data.range
    assert low <= batch.input.min() < -0.8
    assert 0.8 < batch.input.max() < high


def _basis(n: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=generator("basis", n))).Q


def _searched(net: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Independent oracle: the nearest of a fine net of points."""
    return net[torch.cdist(points, net, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)]


def test_exact_projections_equal_a_search():
    points = 2 * torch.randn(20, 5, dtype=torch.float64, generator=generator("points"))
    grid = torch.linspace(0, 2 * math.pi, 721, dtype=torch.float64)
    manifold = Torus(_basis(5)[:, :4])
    searched = _searched(manifold.points(torch.cartesian_prod(grid, grid)), points)
    torch.testing.assert_close(manifold.projection(points), searched, atol=2e-2, rtol=0)
    circle = Sphere(_basis(5)[:, :2])
    rim = torch.stack([grid.cos(), grid.sin()], 1) @ circle.basis.T
    torch.testing.assert_close(circle.projection(points), _searched(rim, points), atol=1e-2, rtol=0)
    off = (points - circle.projection(points)).norm(dim=1)
    torch.testing.assert_close(circle.distance(points), off)
    # Of a convex body: y is nearest to x if and only if (x - y) (z - y) <= 0 for all z of the body.
    body = Ball(_basis(5)[:, :3])
    y = body.projection(points)
    z = body.projection(3 * torch.randn(500, 5, dtype=torch.float64, generator=generator("others")))
    assert ((points - y) @ z.T - ((points - y) * y).sum(1, keepdim=True)).max() < 1e-12


@pytest.mark.parametrize("data", [sphere(3, 16, 60, 20, 0), ball(8, 16, 60, 20, 0)], ids=["sphere", "ball"])
def test_what_is_projected_stays_and_the_targets_are_the_projections(data):
    batch = data.train.__getitems__(list(range(60)))
    torch.testing.assert_close(data.projection(batch.input), batch.target, atol=1e-6, rtol=0)
    torch.testing.assert_close(data.projection(batch.target), batch.target, atol=1e-6, rtol=0)
    if data.distance is not None:
        assert data.distance(batch.input).max() < 1e-6
    else:
        inside = (batch.target.norm(dim=1) < 0.999).double().mean()
        assert 0.2 < inside < 0.8


def test_a_sphere_or_a_ball_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="needs 17 dimensions"):
        sphere(16, 16, 4, 4, 0)
    with pytest.raises(ValueError, match="needs as many dimensions"):
        ball(17, 16, 4, 4, 0)
