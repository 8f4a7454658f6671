"""A small U-Net: detail passes by skip connections, so that only the enforcer limits the rank."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from .parts import group_norm, start_small
from .sizes import image_sizes

__all__ = ["UNet"]


class UNet(nn.Module):
    """f(x) = g(x), or x + g(x) if residual, on images, [B, C, H, W] -> [B, C, H, W]; arXiv 1505.04597, with GroupNorm.

    Raises:
        BadInput: if H or W is not a multiple of 2^depth.
    """

    def __init__(self, shape: tuple[int, ...], *, channels: int = 32, depth: int = 2, residual: bool = False) -> None:
        super().__init__()
        self.shape = shape
        C, _, _ = image_sizes("unet", shape, 2**depth, f"2^depth with depth = {depth}", "depth")
        widths = [channels * 2**i for i in range(depth + 1)]
        stages = list(pairwise(widths))
        self.enter = _block(C, channels)
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(wide, deep, 4, 2, 1), _block(deep, deep)) for wide, deep in stages
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(deep, wide, 4, 2, 1) for wide, deep in reversed(stages))
        self.merge = nn.ModuleList(_block(2 * wide, wide) for wide, _ in reversed(stages))
        self.leave = nn.Conv2d(channels, C, 3, padding=1)
        if residual:
            start_small(self.leave)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        skips = []
        for down in self.down:
            skips.append(h)
            h = down(h)
        for up, merge, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            h = merge(torch.cat([up(h), skip], dim=1))
        g = self.leave(h)
        return x + g if self.residual else g  # type: ignore[no-any-return]


def _block(inputs: int, outputs: int) -> nn.Module:
    """Twice (3x3 convolution, GroupNorm, SiLU); keeps the sides."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        group_norm(outputs),
        nn.SiLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        group_norm(outputs),
        nn.SiLU(),
    )
