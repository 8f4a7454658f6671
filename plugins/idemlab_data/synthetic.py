"""Data made of random numbers: Gaussian vectors, a torus that is known exactly, lists to sort."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from idemlab import Dataset, TensorRows, generator

__all__ = ["Torus", "gaussian", "sequences", "torus", "whitened"]


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
    """k unit circles in k mutually orthogonal planes of R^n: a k-dimensional manifold, isometric to the flat torus.

    Args:
        basis: orthogonal [n, n]; columns 2i and 2i+1 span the plane of circle i.
        circles: k.
    """

    def __init__(self, basis: Tensor, circles: int) -> None:
        self.basis, self.circles = basis, circles

    def points(self, angles: Tensor) -> Tensor:
        """The points [B, n] at the angles [B, k]."""
        planes = torch.stack([angles.cos(), angles.sin()], dim=2).flatten(1)
        return planes @ self.basis[:, : 2 * self.circles].T

    def distance(self, points: Tensor) -> Tensor:
        """Euclidean distance to the torus, [B]: sqrt(Σ_i (|p_i| - 1)^2 + |rest|^2), p_i the part in plane i."""
        coordinates = points.flatten(1) @ self.basis.to(points)
        planes, rest = coordinates[:, : 2 * self.circles], coordinates[:, 2 * self.circles :]
        radii: Tensor = planes.reshape(-1, self.circles, 2).norm(dim=2)
        return ((radii - 1).square().sum(1) + rest.square().sum(1)).sqrt()


def torus(circles: int, ambient: int, train: int, test: int, seed: int) -> Dataset:
    """Points drawn uniformly on a `Torus` in a fixed random position.

    Raises:
        ValueError: if the space is too small for that many planes.
    """
    if ambient < 2 * circles:
        raise ValueError(f"{circles} circles need {2 * circles} dimensions, ambient is {ambient}")
    stream = generator("torus", seed)
    basis = torch.linalg.qr(torch.randn(ambient, ambient, generator=stream, dtype=torch.float64)).Q
    manifold = Torus(basis, circles)
    angles = 2 * math.pi * torch.rand(train + test, circles, generator=stream, dtype=torch.float64)
    rows = manifold.points(angles).float()
    return Dataset.of_tensors(train=rows[:train], test=rows[train:], distance=manifold.distance)


def sequences(length: int, train: int, test: int, seed: int) -> Dataset:
    """Lists of uniform random numbers in [-1, 1), whose target is the sorted list. Sorting is idempotent."""
    rows = 2 * torch.rand(train + test, length, generator=generator("sequences", seed)) - 1
    ordered = rows.sort(dim=1).values
    return Dataset(
        train=TensorRows(rows[:train], target=ordered[:train]),
        test=TensorRows(rows[train:], target=ordered[train:]),
        shape=(length,),
        range=(-1.0, 1.0),
    )
