"""Parts that several models share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from .choices import Activation

__all__ = ["Residual", "activation", "group_norm", "residual_mlp", "start_small"]

_ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky-relu": partial(nn.LeakyReLU, 0.2),  # slope of DCGAN
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "tanh": nn.Tanh,
}


def activation(name: Activation) -> nn.Module:
    """A new activation of this name."""
    return _ACTIVATIONS[name]()


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm with as many groups as divide the channels, up to 8, of at least 2 channels each.

    A group of one channel would erase what the channel says wherever the map is one pixel.
    """
    groups = max(g for g in range(1, 9) if channels % g == 0 and (channels // g >= 2 or g == 1))
    return nn.GroupNorm(groups, channels)


class Residual(nn.Sequential):
    """t + g(t), g being the layers in turn."""

    def forward(self, t: Tensor) -> Tensor:
        return t + super().forward(t)  # type: ignore[no-any-return,no-untyped-call]


def residual_mlp(width: int, name: Activation) -> Residual:
    """t + W2 act(W1 norm t) on [..., width], with 4 width hidden units, as in a transformer."""
    return Residual(nn.LayerNorm(width), nn.Linear(width, 4 * width), activation(name), nn.Linear(4 * width, width))


@torch.no_grad()
def start_small(layer: nn.Linear | nn.Conv2d) -> None:
    """Make the last layer of g small, so that f(x) = x + g(x) starts near the identity.

    Small, not 0: at 0 no gradient reaches the layers before it, and errors relative to a change are 0/0.
    """
    for parameter in layer.parameters():
        parameter.mul_(0.01)
