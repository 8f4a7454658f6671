"""Orbits of one operator at noise, images, corrupted images, and images that it was not trained on."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure
from torch import Tensor

from idemlab import BadInput, Batch, Dataset, installed

from .gallery import Block, gallery
from .trained import Trained

__all__ = ["orbit_panel"]

_COLUMNS = 10


def orbit_panel(trained: Trained) -> Figure:
    """Orbits of noise and data, corrupted images, and images of other distributions, with their projections."""
    batch = trained.test(_COLUMNS)
    c = trained.condition(batch)
    z = trained.orbit(trained.noise(batch), 3, c)
    corrupted = trained.corrupted(batch)
    left = [
        Block("noise", dict(zip(("z", "f(z)", "f(f(z))", "f(f(f(z)))"), z, strict=True))),
        Block("test images", _pair("x", batch.input, trained, c)),
        Block("corrupted", _pair("c", corrupted, trained, c)),
    ]
    others = {"inverted": -batch.input, "blurred": trained.points("corrupted", batch, noise=0.0, blur=2.0)}
    clothes = _clothes(trained.dataset)
    if clothes is not None:
        others = {"Fashion-MNIST": clothes} | others
    right = [Block(f"another distribution: {name}", _pair("o", points, trained, c)) for name, points in others.items()]
    return gallery([left, right], trained.dataset.range)


def _pair(symbol: str, points: Tensor, trained: Trained, condition: Tensor | None) -> dict[str, Tensor]:
    one, two = trained.orbit(points, 2, condition)[1:]
    return {symbol: points, f"f({symbol})": one, f"f(f({symbol}))": two}


def _clothes(dataset: Dataset) -> Tensor | None:
    """Some test images of Fashion-MNIST, where it is on disk and of the right shape; the network is not asked."""
    for root in ("data/fashion-mnist", "~/.cache/idemlab/fashion-mnist", "/usr/share/datasets/fashion-mnist"):
        try:
            named = installed().check("dataset", {"name": "fashion-mnist", "root": root}, "study")
            other: Dataset = named.build()
        except BadInput:
            continue
        if other.shape == dataset.shape:
            batch: Batch = other.test.__getitems__(list(range(_COLUMNS)))
            return batch.to("cpu", torch.float32, dataset.range).input
    return None
