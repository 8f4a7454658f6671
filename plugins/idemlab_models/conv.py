"""A plain stack of convolutions: the smallest network on images."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from .choices import Activation
from .parts import activation as make_activation
from .parts import group_norm, start_small
from .sizes import image_sizes

__all__ = ["Conv"]


class Conv(nn.Module):
    """f(x) = g(x), or x + g(x) if residual, on images, [B, C, H, W] -> [B, C, H, W].

    g is `depth` times (3x3 convolution, norm, activation) of `channels` maps, then a 3x3 convolution.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        channels: int = 8,
        depth: int = 2,
        activation: Activation = "relu",
        residual: bool = False,
        norm: Literal["none", "group"] = "none",
    ) -> None:
        super().__init__()
        self.shape = shape
        C, _, _ = image_sizes("conv", shape, 1, "any size", "depth")
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([C] + depth * [channels]):
            layers.append(nn.Conv2d(inputs, outputs, 3, padding=1))
            if norm == "group":
                layers.append(group_norm(outputs))
            layers.append(make_activation(activation))
        last = nn.Conv2d(channels, C, 3, padding=1)
        if residual:
            start_small(last)
        self.layers = nn.Sequential(*layers, last)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        g: Tensor = self.layers(x)
        return x + g if self.residual else g
