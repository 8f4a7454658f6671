"""A small pre-norm transformer encoder on sets, sequences or image patches."""

from __future__ import annotations

import torch
from einops import einsum, rearrange
from einops.layers.torch import Rearrange
from torch import Tensor, nn

from idemlab import BadInput

from .label import label_vectors, vectors
from .parts import Residual, residual_mlp
from .sizes import checked_shape, image_sizes

__all__ = ["Attention"]


class Attention(nn.Module):
    """f on the tokens of a sample, [B, *shape] -> [B, *shape]. Under a condition, f(x, c), a learned vector of the class is
    added to each token.

    Args:
        shape: (n,) is n tokens of one number, (n, d) is n tokens of d numbers, (C, H, W) is an image of patches.
        classes: of the condition; None for f(x).
        width: of a token inside, a multiple of `heads`.
        patch: side of a patch of an image; None is 4.
        position: whether a learned embedding tells tokens apart; without it f is permutation-equivariant.

    Raises:
        BadInput: if heads do not divide the width, patches do not tile the image, or `patch` is given for tokens.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        classes: int | None = None,
        *,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
        patch: int | None = None,
        position: bool = True,
    ) -> None:
        super().__init__()
        self.shape, self.classes = shape, classes
        if width % heads:
            raise BadInput(
                f"model 'attention': width = {width} cannot be shared among {heads} heads",
                expected="a width that is a multiple of the number of heads",
                next_step=f"set width = {-(-width // heads) * heads}, or another number of heads",
            )
        tokens, features, self.split, self.join = _tokenizer(shape, patch)
        self.embed = nn.Linear(features, width)
        self.position = nn.Parameter(0.02 * torch.randn(tokens, width)) if position else None
        self.blocks = nn.Sequential(*(_Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.read_out = nn.Linear(width, features)
        self.label = label_vectors(classes, width)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        t = self.embed(self.split(x))
        added = vectors(self.label, condition, x)
        if added is not None:
            t = t + added[:, None]
        if self.position is not None:
            t = t + self.position
        return self.join(self.read_out(self.norm(self.blocks(t))))  # type: ignore[no-any-return]


def _tokenizer(shape: tuple[int, ...], patch: int | None) -> tuple[int, int, nn.Module, nn.Module]:
    """Number of tokens, features of each, [B, *shape] -> [B, tokens, features] and back."""
    checked_shape("attention", shape)
    if len(shape) == 3:
        p = 4 if patch is None else patch
        C, H, W = image_sizes("attention", shape, p, f"patch = {p}", "patch")
        split = Rearrange("b c (h p) (w q) -> b (h w) (c p q)", p=p, q=p)
        join = Rearrange("b (h w) (c p q) -> b c (h p) (w q)", h=H // p, w=W // p, p=p, q=p)
        return (H // p) * (W // p), C * p * p, split, join
    if len(shape) > 3:
        raise BadInput(
            f"model 'attention' cannot take samples of shape {tuple(shape)}",
            expected="(n,), (n, d) or (C, H, W)",
            next_step="take model 'mlp', which works on any shape",
        )
    if patch is not None:
        raise BadInput(
            f"model 'attention': 'patch' has no effect on samples of shape {tuple(shape)}, which are not images",
            expected="'patch' only with images (C, H, W)",
            next_step="leave 'patch' out",
        )
    if len(shape) == 1:
        return shape[0], 1, Rearrange("b n -> b n 1"), Rearrange("b n 1 -> b n")
    return shape[0], shape[1], nn.Identity(), nn.Identity()


class _Block(nn.Module):
    """t + attention(norm t), then t + mlp(norm t), on [B, tokens, width]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attend = Residual(nn.LayerNorm(width), _SelfAttention(width, heads))
        self.mix = residual_mlp(width, "gelu")

    def forward(self, t: Tensor) -> Tensor:
        return self.mix(self.attend(t))  # type: ignore[no-any-return]


class _SelfAttention(nn.Module):
    """softmax(q k^T / sqrt(d)) v in each head.

    Written out: torch's fused attention on CPU has neither forward-mode derivative nor double backward, which enforcers
    and certificate need; its MultiheadAttention and TransformerEncoderLayer stand on it.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, t: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(t), "b n (three heads d) -> three b heads n d", three=3, heads=self.heads)
        scores = einsum(q, k, "b heads i d, b heads j d -> b heads i j") / q.shape[-1] ** 0.5
        mixed = einsum(scores.softmax(dim=-1), v, "b heads i j, b heads j d -> b heads i d")
        return self.out(rearrange(mixed, "b heads n d -> b n (heads d)"))  # type: ignore[no-any-return]
