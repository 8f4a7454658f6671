"""An invertible network of couplings: half of the coordinates move by a function of the other half."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from idemlab import BadInput, Dataset

from .basis import Basis, first_rows, leading_components
from .choices import Activation
from .parts import activation as make_activation
from .parts import start_small
from .sizes import checked_shape, image_sizes

__all__ = ["Coupling"]


class Coupling(nn.Module):
    """An invertible g: [B, *shape] -> [B, *shape], and `inverse`.

    In this order: for each scale, 2x2 pixels become channels (real NVP's squeeze), and convolutional couplings move half of
    the channels by the other half; dense couplings move every other entry by the rest, as on a chessboard; a rotation turns
    to the principal components of the data; dense couplings move the leading coordinates by the others and back.

    All is computed in float32 at least, under autocast too: in bfloat16 couplings do not invert.

    Args:
        shape: of one sample; the others are explained by `idemlab show coupling`.

    Attributes:
        shape: of one sample.

    Raises:
        BadInput: if the shape cannot be split.

    Source: L. Dinh et al., NICE, arXiv 1410.8516 (additive), and real NVP, ICLR 2017, arXiv 1605.08803 (affine, squeeze).
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        scales: int = 0,
        convolutions: int = 2,
        channels: int = 32,
        mixing: int = 4,
        layers: int = 2,
        leading: int | None = None,
        width: int = 256,
        depth: int = 2,
        affine: bool = True,
        bound: float = 1.0,
        activation: Activation = "silu",
        start: Literal["pca", "none"] = "pca",
    ) -> None:
        super().__init__()
        n = checked_shape("coupling", shape)
        self.shape = tuple(shape)
        if n < 2:
            raise BadInput(
                f"model 'coupling' cannot split samples of shape {tuple(shape)}",
                expected="samples of two entries or more: each part is changed by means of the other",
                next_step="check the shape of the data set",
            )
        leading = min(max(n // 2, 1), 128) if leading is None else leading
        if leading >= n:
            raise BadInput(
                f"model 'coupling': leading = {leading} leaves nothing to split off from samples of {n} entries",
                expected=f"from 1 to {n - 1}",
                next_step=f"set leading = {max(n // 2, 1)}",
            )
        limit = bound if affine else None
        parts: list[nn.Module] = []
        size = tuple(shape)
        if scales:
            C, H, W = image_sizes("coupling", size, 2**scales, f"2^scales with scales = {scales}", "scales")
            for scale in range(1, scales + 1):
                parts.append(_Squeeze())
                size = (C * 4**scale, H // 2**scale, W // 2**scale)
                inside = _Net(channels, depth, activation, images=True)
                parts += [_Part(inside, size[0], size[0] // 2, i, limit) for i in range(convolutions)]
        parts.append(_Reshaped(size))
        inside = _Net(width, depth, activation, images=False)
        if mixing:
            parts.append(_Chessboard(size))
        parts += [_Part(inside, n, (n + 1) // 2, i, limit) for i in range(mixing)]
        self._before = len(parts)
        if start == "pca":
            parts.append(Basis(n, leading))
        parts += [_Part(inside, n, leading, i, limit) for i in range(layers)]
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor, *, inverse: bool = False) -> Tensor:
        """g(x), or g^-1(x). Engines that shard parameters see forward alone, so both ways go through it."""
        with torch.autocast(x.device.type, enabled=False):
            t = x if x.element_size() >= 4 else x.to(next(self.parameters(), x).dtype)
            if inverse:
                t = t.flatten(1)
                for part in reversed(self.parts):
                    t = part(t, inverse=True)
                return t
            for part in self.parts:
                t = part(t)
            return t.view_as(x)

    def inverse(self, z: Tensor) -> Tensor:
        """g^-1(z), [B, *shape]; z may be flat, [B, n]."""
        y: Tensor = self(z, inverse=True)
        return y

    @torch.no_grad()
    def start_from(self, dataset: Dataset) -> None:
        """Turn the rotation to the principal components of the first training samples, as the parts before it give them."""
        if not any(isinstance(part, Basis) for part in self.parts):
            return
        basis = self.parts[self._before]
        assert isinstance(basis, Basis)
        t = first_rows(dataset)
        for part in self.parts[: self._before]:
            t = part(t)
        basis.set(*leading_components(t.double(), basis.leading))


class _Part(nn.Module):
    """One coupling along dimension 1: `given` stays, `moved` becomes (moved - m(given)) exp(-s(given)).

    Args:
        net: makes the network for m, and s where there is one, from the numbers of its inputs and outputs.
        size: of dimension 1.
        first: size of the first part.
        index: of the coupling; even ones move the first part, odd ones the second.
        bound: of |s|; None for additive couplings, without s.
    """

    def __init__(self, net: _Net, size: int, first: int, index: int, bound: float | None) -> None:
        super().__init__()
        self._sizes = (first, size - first)
        self._moves_first = index % 2 == 0
        given, moved = reversed(self._sizes) if self._moves_first else self._sizes
        self._bound = bound
        self.net = net.make(given, moved if bound is None else 2 * moved)

    def forward(self, t: Tensor, inverse: bool = False) -> Tensor:
        first, second = t.split(self._sizes, 1)  # type: ignore[no-untyped-call]
        given, moved = (second, first) if self._moves_first else (first, second)
        move = self.net(given)
        if self._bound is None:
            moved = moved + move if inverse else moved - move
        else:
            m, s = move.chunk(2, 1)
            scale = (self._bound * torch.tanh(s if inverse else -s)).exp()
            moved = moved * scale + m if inverse else (moved - m) * scale
        return torch.cat((moved, given) if self._moves_first else (given, moved), 1)


class _Net:
    """Makes the network inside a coupling, whose last layer starts small, so that g starts near the identity."""

    def __init__(self, width: int, depth: int, name: Activation, images: bool) -> None:
        self._width, self._depth, self._name, self._images = width, depth, name, images

    def make(self, inputs: int, outputs: int) -> nn.Sequential:
        sizes = [inputs, *[self._width] * self._depth, outputs]
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(pairwise(sizes)):
            if self._images:
                side = 3 if i in (0, self._depth) else 1
                layers.append(nn.Conv2d(a, b, side, padding=side // 2))
            else:
                layers.append(nn.Linear(a, b))
            layers.append(make_activation(self._name))
        last = layers[-2]
        assert isinstance(last, (nn.Linear, nn.Conv2d))
        start_small(last)
        return nn.Sequential(*layers[:-1])


class _Squeeze(nn.Module):
    """[B, C, H, W] -> [B, 4C, H/2, W/2]: each 2x2 block of pixels becomes channels."""

    def forward(self, t: Tensor, inverse: bool = False) -> Tensor:
        return nn.functional.pixel_shuffle(t, 2) if inverse else nn.functional.pixel_unshuffle(t, 2)


class _Reshaped(nn.Module):
    """[B, *shape] -> [B, n]."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self._shape = shape

    def forward(self, t: Tensor, inverse: bool = False) -> Tensor:
        return t.unflatten(1, self._shape) if inverse else t.flatten(1)  # type: ignore[no-untyped-call]


class _Chessboard(nn.Module):
    """Sorts the entries of [B, n]: those with an even sum of indices first, then the others."""

    order: Tensor
    back: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        grids = torch.meshgrid(*(torch.arange(side) for side in shape), indexing="ij")
        odd = torch.stack(grids).sum(0).flatten() % 2
        order = torch.argsort(odd, stable=True)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", torch.argsort(order), persistent=False)

    def forward(self, t: Tensor, inverse: bool = False) -> Tensor:
        return t[:, self.back if inverse else self.order]
