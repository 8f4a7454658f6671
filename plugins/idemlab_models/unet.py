"""A small U-Net: detail passes by skip connections, so that only the enforcer limits the rank."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from .label import label_vectors, vectors
from .parts import group_norm, start_small
from .sizes import image_sizes

__all__ = ["UNet"]


class UNet(nn.Module):
    """f(x) = g(x), or x + g(x) if residual, on images, [B, C, H, W] -> [B, C, H, W]; arXiv 1505.04597, with GroupNorm.

    Under a condition, f(x, c), a learned vector of the class is added to the maps of each scale on the way down.

    Raises:
        BadInput: if H or W is not a multiple of 2^depth.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        classes: int | None = None,
        *,
        channels: int = 32,
        depth: int = 2,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.shape, self.classes = shape, classes
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
        self.labels = nn.ModuleList(
            each for each in (label_vectors(classes, wide) for wide in widths) if each is not None
        )

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        h = self._labelled(self.enter(x), 0, condition)
        skips = []
        for scale, down in enumerate(self.down, start=1):
            skips.append(h)
            h = self._labelled(down(h), scale, condition)
        for up, merge, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            h = merge(torch.cat([up(h), skip], dim=1))
        g = self.leave(h)
        return x + g if self.residual else g  # type: ignore[no-any-return]

    def _labelled(self, h: Tensor, scale: int, condition: Tensor | None) -> Tensor:
        """Maps [B, width, H, W] of a scale, with the vector of the class added."""
        label = self.labels[scale] if len(self.labels) else None
        added = vectors(label, condition, h)  # type: ignore[arg-type]
        return h if added is None else h + added[:, :, None, None]


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
