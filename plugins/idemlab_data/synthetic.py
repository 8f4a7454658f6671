"""Data made of random numbers: Gaussian vectors; tori, a sphere and a ball that are known exactly; lists to sort."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from idemlab import Dataset, TensorRows, generator

__all__ = ["Ball", "Sphere", "Torus", "ball", "gaussian", "gratings", "sequences", "sphere", "torus", "whitened"]


def gaussian(shape: tuple[int, ...], train: int, test: int, seed: int, whiten: bool) -> Dataset:
    """N(0, I) in the given shape; `whiten` makes X^T X / N = I of the training rows X [N, n], in float64.

    Raises:
        ValueError: if fewer rows than entries are to be whitened.
    """
    dtype = torch.float64 if whiten else torch.float32
    rows = torch.randn((train + test, *shape), generator=generator("gaussian", seed), dtype=dtype)
    first = whitened(rows[:train]) if whiten else rows[:train]
    return Dataset.of_tensors(train=first, test=rows[train:])


def whitened(rows: Tensor) -> Tensor:
    """The nearest rows with X^T X / N = I: sqrt(N) U V^T of the singular value decomposition X = U S V^T.

    Raises:
        ValueError: if there are fewer rows than entries in one.
    """
    X = rows.flatten(1)
    N, n = X.shape
    if n > N:
        raise ValueError(f"{N} training samples of {n} entries cannot be whitened: at least {n} are needed")
    U, _, Vh = torch.linalg.svd(X, full_matrices=False)
    white: Tensor = math.sqrt(N) * U @ Vh
    return white.view_as(rows)


class Torus:
    """k circles of radius R in k mutually orthogonal planes of R^n: a k-dimensional manifold, isometric to a flat torus.

    Args:
        basis: [n, 2k] with orthonormal columns; 2i and 2i+1 span the plane of circle i.
        radius: R.
    """

    def __init__(self, basis: Tensor, radius: float = 1.0) -> None:
        self.basis, self.radius = basis, radius

    def points(self, angles: Tensor) -> Tensor:
        """The points [B, n] at the angles [B, k]."""
        planes = torch.stack([angles.cos(), angles.sin()], dim=2).flatten(1)
        return self.radius * planes @ self.basis.T

    def distance(self, points: Tensor) -> Tensor:
        """Euclidean distance to the torus, [B]: sqrt(Σ_i (|p_i| - R)^2 + |rest|^2), p_i the part in plane i."""
        flat, basis = points.flatten(1), self.basis.to(points)
        p = flat @ basis
        rest = flat - p @ basis.T
        radii: Tensor = self._planes(p).norm(dim=2)
        return ((radii - self.radius).square().sum(1) + rest.square().sum(1)).sqrt()

    def projection(self, points: Tensor) -> Tensor:
        """The nearest point of the torus, of the points' shape: R p_i/|p_i| in each plane, and no rest."""
        basis = self.basis.to(points)
        planes = self._planes(points.flatten(1) @ basis)
        nearest: Tensor = self.radius * nn.functional.normalize(planes, dim=2).flatten(1) @ basis.T
        return nearest.view_as(points)

    def _planes(self, coordinates: Tensor) -> Tensor:
        """[B, 2k] -> [B, k, 2], the part in each plane."""
        return coordinates.reshape(len(coordinates), self.basis.shape[1] // 2, 2)


def torus(circles: int, ambient: int, train: int, test: int, seed: int) -> Dataset:
    """Points drawn uniformly on a `Torus` in a fixed random position.

    Raises:
        ValueError: if the space is too small for that many planes.
    """
    if ambient < 2 * circles:
        raise ValueError(f"{circles} circles need {2 * circles} dimensions, ambient is {ambient}")
    stream = generator("torus", seed)
    manifold = Torus(_basis(ambient, stream)[:, : 2 * circles])
    angles = 2 * math.pi * torch.rand(train + test, circles, generator=stream, dtype=torch.float64)
    rows = manifold.points(angles).float()
    return Dataset.of_tensors(
        train=rows[:train], test=rows[train:], distance=manifold.distance, projection=manifold.projection
    )


def gratings(gratings: int, size: int, train: int, test: int, seed: int) -> Dataset:
    """Images [1, N, N] in [-1, 1], the mean of k gratings cos(2π (f_i·p)/N + θ_i), with uniform phases θ: a `Torus`.

    The frequencies f_i are whole numbers of periods along each side, at most a quarter of the pixels. Gratings of different
    frequencies are orthogonal, and so are the cosine and the sine of each: for each i, they span a plane.

    Raises:
        ValueError: if there are not so many frequencies.
    """
    highest = size // 4
    side = range(-highest, highest + 1)
    half = [(a, b) for a in side for b in side if (a, b) > (0, 0)]  # -f is the same grating as f
    if gratings > len(half):
        raise ValueError(f"{gratings} frequencies are needed, images of {size} x {size} pixels have {len(half)}")
    stream = generator("gratings", seed)
    chosen = [half[int(i)] for i in torch.randperm(len(half), generator=stream)[:gratings]]
    pixel = torch.arange(size, dtype=torch.float64)
    phases = [2 * math.pi / size * (a * pixel[:, None] + b * pixel).flatten() for a, b in chosen]
    waves = torch.stack([wave for phase in phases for wave in (phase.cos(), -phase.sin())], dim=1)
    length = size / math.sqrt(2)  # of each wave: the mean square of a cosine is 1/2
    manifold = Torus(waves / length, radius=length / gratings)
    angles = 2 * math.pi * torch.rand(train + test, gratings, generator=stream, dtype=torch.float64)
    images = manifold.points(angles).float().clamp(-1, 1).view(-1, 1, size, size)  # rounding may lead out of [-1, 1]
    return Dataset.of_tensors(
        train=images[:train],
        test=images[train:],
        range=(-1.0, 1.0),
        distance=manifold.distance,
        projection=manifold.projection,
    )


class Sphere:
    """The unit sphere of dimension k in a subspace of dimension k + 1 of R^n.

    Args:
        basis: [n, k + 1] with orthonormal columns, which span the subspace.
    """

    def __init__(self, basis: Tensor) -> None:
        self.basis = basis

    def distance(self, points: Tensor) -> Tensor:
        """Euclidean distance to the sphere, [B]: sqrt((|p| - 1)^2 + |rest|^2), p the part in the subspace."""
        flat = points.flatten(1)
        p = flat @ self.basis.to(points)
        rest = flat - p @ self.basis.to(points).T
        length: Tensor = p.norm(dim=1)
        return ((length - 1).square() + rest.square().sum(1)).sqrt()

    def projection(self, points: Tensor) -> Tensor:
        """The nearest point of the sphere, [B, n]: p/|p|."""
        basis = self.basis.to(points)
        nearest: Tensor = nn.functional.normalize(points.flatten(1) @ basis, dim=1) @ basis.T
        return nearest.view_as(points)


def sphere(dimension: int, ambient: int, train: int, test: int, seed: int) -> Dataset:
    """Points drawn uniformly on a `Sphere` in a fixed random position.

    Raises:
        ValueError: if the space is too small.
    """
    if ambient < dimension + 1:
        raise ValueError(f"a sphere of dimension {dimension} needs {dimension + 1} dimensions, ambient is {ambient}")
    stream = generator("sphere", seed)
    manifold = Sphere(_basis(ambient, stream)[:, : dimension + 1])
    p = torch.randn(train + test, dimension + 1, generator=stream, dtype=torch.float64)
    rows = (nn.functional.normalize(p, dim=1) @ manifold.basis.T).float()
    return Dataset.of_tensors(
        train=rows[:train], test=rows[train:], distance=manifold.distance, projection=manifold.projection
    )


class Ball:
    """The unit ball of a k-dimensional subspace of R^n: convex, so that each point of R^n has one nearest point in it.

    Args:
        basis: [n, k] with orthonormal columns, which span the subspace.
    """

    def __init__(self, basis: Tensor) -> None:
        self.basis = basis

    def projection(self, points: Tensor) -> Tensor:
        """The nearest point of the ball, [B, n]: p/max(1, |p|), p the part in the subspace."""
        basis = self.basis.to(points)
        p = points.flatten(1) @ basis
        nearest: Tensor = (p / p.norm(dim=1, keepdim=True).clamp_min(1)) @ basis.T
        return nearest.view_as(points)


def ball(dimension: int, ambient: int, train: int, test: int, seed: int) -> Dataset:
    """Gaussian points around a `Ball` in a fixed random position; the targets are the nearest points of the ball, about
    half of them in its interior.

    Raises:
        ValueError: if the space is too small.
    """
    if ambient < dimension:
        raise ValueError(f"a ball of dimension {dimension} needs as many dimensions, ambient is {ambient}")
    stream = generator("ball", seed)
    body = Ball(_basis(ambient, stream)[:, :dimension])
    rows = torch.randn(train + test, ambient, generator=stream, dtype=torch.float64) / math.sqrt(dimension)
    nearest = body.projection(rows).float()
    rows = rows.float()
    return Dataset(
        train=TensorRows(rows[:train], target=nearest[:train]),
        test=TensorRows(rows[train:], target=nearest[train:]),
        shape=(ambient,),
        projection=body.projection,
    )


def _basis(n: int, stream: torch.Generator) -> Tensor:
    """A random orthogonal matrix [n, n]."""
    basis: Tensor = torch.linalg.qr(torch.randn(n, n, generator=stream, dtype=torch.float64)).Q
    return basis


def sequences(length: int, train: int, test: int, seed: int) -> Dataset:
    """Lists of uniform random numbers in [-1, 1), whose target is the sorted list. Sorting is idempotent."""
    rows = 2 * torch.rand(train + test, length, generator=generator("sequences", seed)) - 1
    ordered = rows.sort(dim=1).values
    return Dataset(
        train=TensorRows(rows[:train], target=ordered[:train]),
        test=TensorRows(rows[train:], target=ordered[train:]),
        shape=(length,),
        range=(-1.0, 1.0),
        projection=_ordered,
    )


def _ordered(points: Tensor) -> Tensor:
    """Each list sorted, [B, n]."""
    return points.sort(dim=1).values
