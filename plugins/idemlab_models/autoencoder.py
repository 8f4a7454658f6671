"""f = G(D(x)) in the style of DCGAN: the discriminator encodes, the generator decodes."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from einops.layers.torch import Rearrange
from torch import Tensor, nn

from .choices import Activation
from .label import Layers, label_vectors, vectors
from .parts import activation as make_activation
from .parts import group_norm, residual_mlp
from .sizes import image_sizes

__all__ = ["Autoencoder"]

Norm = Literal["group", "batch", "none"]


class Autoencoder(nn.Module):
    """f(x) = decode(encode(x)) on images, [B, C, H, W] -> [B, C, H, W].

    The encoder halves the sides `depth` times while it doubles the channels; the decoder mirrors it. No norm stands at
    the first layer of the encoder and the last of the decoder, as in DCGAN (arXiv 1511.06434). On each side of the code
    stand `blocks` residual blocks, h + W2 act(W1 norm h), which DCGAN has not. Under a condition, f(x, c), learned vectors
    of the class are added to the maps of the encoder's first convolution and to the code that is decoded.

    Args:
        shape: (C, H, W).
        classes: of the condition, None for f(x); the others are explained by `idemlab show autoencoder`.

    Raises:
        BadInput: if H or W is not a multiple of 2^depth, or of 4 without a depth.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        classes: int | None = None,
        *,
        channels: int = 32,
        latent: int = 96,
        depth: int | None = None,
        blocks: int = 0,
        activation: Literal["dcgan", Activation] = "dcgan",
        norm: Norm = "group",
        output: Literal["tanh", "none"] = "tanh",
        init: Literal["default", "dcgan"] = "default",
    ) -> None:
        super().__init__()
        self.shape, self.classes = shape, classes
        if depth is None:
            C, H, W = image_sizes("autoencoder", shape, 4, "where 'depth' is not given", "depth")
            depth = _default_depth(H, W)
        else:
            C, H, W = image_sizes("autoencoder", shape, 2**depth, f"2^depth with depth = {depth}", "depth")
        h, w = H // 2**depth, W // 2**depth
        maps = [channels * 2**i for i in range(depth)]  # channels after each halving
        flat = maps[-1] * h * w
        act_in: Activation = "leaky-relu" if activation == "dcgan" else activation
        act_out: Activation = "relu" if activation == "dcgan" else activation
        bias = norm != "batch"  # BatchNorm takes out what a bias adds

        encoder: list[nn.Module] = [nn.Conv2d(C, channels, 4, 2, 1), make_activation(act_in)]
        for a, b in pairwise(maps):
            encoder += [nn.Conv2d(a, b, 4, 2, 1, bias=bias), *_norm(norm, b), make_activation(act_in)]
        encoder += [Rearrange("b c h w -> b (c h w)"), nn.Linear(flat, latent)]

        decoder: list[nn.Module] = [nn.Linear(latent, flat, bias=bias), Rearrange("b (c h w) -> b c h w", h=h, w=w)]
        decoder += [*_norm(norm, maps[-1]), make_activation(act_out)]
        for a, b in pairwise(maps[::-1]):
            decoder += [nn.ConvTranspose2d(a, b, 4, 2, 1, bias=bias), *_norm(norm, b), make_activation(act_out)]
        decoder += [nn.ConvTranspose2d(channels, C, 4, 2, 1)]
        if output == "tanh":
            decoder += [nn.Tanh()]

        encoder += [residual_mlp(latent, act_in) for _ in range(blocks)]
        decoder = [*(residual_mlp(latent, act_out) for _ in range(blocks)), *decoder]
        self.encoder = Layers(*encoder)
        self.decoder = nn.Sequential(*decoder)
        if init == "dcgan":
            self.apply(_start_as_dcgan)
        self.label_in, self.label_out = label_vectors(classes, channels), label_vectors(classes, latent)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.decode(self.encode(x, condition), condition)

    def encode(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The code h [B, latent] of images x [B, C, H, W]."""
        added = vectors(self.label_in, condition, x)
        return self.encoder(x, None if added is None else added[:, :, None, None])  # type: ignore[no-any-return]

    def decode(self, h: Tensor, condition: Tensor | None = None) -> Tensor:
        """The images [B, C, H, W] of codes h [B, latent]."""
        added = vectors(self.label_out, condition, h)
        return self.decoder(h if added is None else h + added)  # type: ignore[no-any-return]


def _default_depth(H: int, W: int) -> int:
    """Number of halvings that leave the shorter side at 4 to 7, or fewer where a side becomes odd; at least 1."""
    depth = 0
    while H % 2 == W % 2 == 0 and min(H, W) >= 8:
        H, W, depth = H // 2, W // 2, depth + 1
    return max(depth, 1)


def _norm(name: Norm, channels: int) -> list[nn.Module]:
    if name == "group":
        return [group_norm(channels)]
    return [nn.BatchNorm2d(channels)] if name == "batch" else []


def _start_as_dcgan(module: nn.Module) -> None:
    """Weights N(0, 0.02²) (arXiv 1511.06434, section 4), scales of norms N(1, 0.02²), biases 0."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, (nn.GroupNorm, nn.BatchNorm2d)):
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)
