"""An autoencoder whose first and last layers are linear maps of overlapping patches: all its work is large products."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from .choices import Activation
from .label import Layers, label_vectors, vectors
from .parts import activation as make_activation
from .parts import residual_mlp
from .sizes import image_sizes

__all__ = ["Patches"]


class Patches(nn.Module):
    """f(x) = decode(encode(x)) on images, [B, C, H, W] -> [B, C, H, W].

    Encoder: each window of side patch + 2 overlap becomes a token (the embedding of a vision transformer, arXiv 2010.11929,
    with windows that overlap), the tokens together become the code. Decoder: the code becomes tokens, each token a window,
    and windows are added where they overlap. On each side of the code stand `blocks` residual blocks. Under a condition,
    f(x, c), learned vectors of the class are added to the tokens that are encoded and to the code that is decoded.

    Args:
        shape: (C, H, W).
        classes: of the condition, None for f(x); the others are explained by `idemlab show patches`.

    Raises:
        BadInput: if H or W is not a multiple of `patch`.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        classes: int | None = None,
        *,
        channels: int = 32,
        latent: int = 128,
        patch: int = 4,
        overlap: int = 1,
        blocks: int = 2,
        activation: Activation = "silu",
        output: Literal["tanh", "none"] = "tanh",
    ) -> None:
        super().__init__()
        self.shape, self.classes = shape, classes
        C, H, W = image_sizes("patches", shape, patch, f"patch = {patch}", "patch")
        h, w, side = H // patch, W // patch, patch + 2 * overlap
        window, flat = C * side**2, h * w * channels
        self.encoder = Layers(
            _Windows((C, H, W), patch, overlap),
            nn.Linear(window, channels),
            nn.LayerNorm(channels),
            make_activation(activation),
            nn.Flatten(),
            nn.Linear(flat, latent),
            *(residual_mlp(latent, activation) for _ in range(blocks)),
            after=3,
        )
        self.decoder = nn.Sequential(
            *(residual_mlp(latent, activation) for _ in range(blocks)),
            nn.Linear(latent, flat),
            nn.Unflatten(1, (h * w, channels)),
            nn.LayerNorm(channels),
            make_activation(activation),
            nn.Linear(channels, window),
            _Overlaid((C, H, W), patch, overlap),
            *([nn.Tanh()] if output == "tanh" else []),
        )
        self.label_in, self.label_out = label_vectors(classes, channels), label_vectors(classes, latent)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.decode(self.encode(x, condition), condition)

    def encode(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The code h [B, latent] of images x [B, C, H, W]."""
        added = vectors(self.label_in, condition, x)
        return self.encoder(x, None if added is None else added[:, None])  # type: ignore[no-any-return]

    def decode(self, h: Tensor, condition: Tensor | None = None) -> Tensor:
        """The images [B, C, H, W] of codes h [B, latent]."""
        added = vectors(self.label_out, condition, h)
        return self.decoder(h if added is None else h + added)  # type: ignore[no-any-return]


class _Windows(nn.Module):
    """The windows of images, [B, C, H, W] -> [B, t, n]: `nn.Unfold`, windows first.

    One gather of all numbers of a batch. PyTorch's unfolding works image by image on CPUs, which takes up to seven times as
    long on two threads. On GPUs it is used, because there a gather's gradient is summed in no fixed order.
    """

    pixels: Tensor

    def __init__(self, shape: tuple[int, int, int], patch: int, overlap: int) -> None:
        super().__init__()
        self._shape = shape
        self._folding = {"kernel_size": patch + 2 * overlap, "stride": patch, "padding": overlap}
        pixels = _pixels(shape, patch, overlap)
        self._windows = tuple(pixels.shape)
        self.register_buffer("pixels", pixels.flatten(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return nn.functional.unfold(x, **self._folding).mT
        padded = nn.functional.pad(x.flatten(1), (1, 0))  # what lies beyond the border is zero
        return padded.index_select(1, self.pixels).view(-1, *self._windows)


class _Overlaid(_Windows):
    """Images as the sum of windows, [B, t, n] -> [B, C, H, W]: `nn.Fold`, the adjoint of `_Windows`."""

    def forward(self, windows: Tensor) -> Tensor:
        C, H, W = self._shape
        if windows.device.type != "cpu":
            return nn.functional.fold(windows.mT, (H, W), **self._folding)
        padded = windows.new_zeros(windows.shape[0], 1 + C * H * W)
        return padded.index_add(1, self.pixels, windows.flatten(1))[:, 1:].reshape(-1, C, H, W)


def _pixels(shape: tuple[int, int, int], patch: int, overlap: int) -> Tensor:
    """Which pixel each number of each window is, counted from 1, or 0 beyond the border: [t, n]."""
    C, H, W = shape
    pixels = torch.arange(1, 1 + C * H * W, dtype=torch.float64).view(1, C, H, W)
    windows = nn.functional.unfold(pixels, patch + 2 * overlap, stride=patch, padding=overlap)
    return windows[0].T.long()
