"""An autoencoder whose encoder is an exact left inverse of its decoder: encode(decode(h)) = h, so f is idempotent."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from idemlab import BadInput, Dataset, Failure

from .basis import first_rows, leading_components
from .sizes import checked_shape

__all__ = ["Biorthogonal"]


class Biorthogonal(nn.Module):
    """f(x) = decode(encode(x)) with encode(decode(h)) = h to rounding, whatever the weights, [B, *shape] -> [B, *shape].

    A layer decodes h -> act(P h + b) and encodes x -> (X P)^-1 X (act^-1(x) - b). The last decoding layer has no activation.
    The rank is the width of the code. With a `cell`, codes are rounded to its multiples, with the gradient of the identity:
    then f is idempotent as long as encode(decode(h)) is off by less than half a cell, and does not drift.

    All is computed in float32 at least, under autocast too.

    Args:
        shape: of one sample; the others are explained by `idemlab show biorthogonal`.

    Raises:
        BadInput: if the widths do not rise from the code to the sample.

    Source: S. E. Otto, G. R. Macchio and C. W. Rowley, Learning nonlinear projections for reduced-order modeling of
    dynamical systems using constrained autoencoders, Chaos 33 (2023), arXiv 2307.15288.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        latent: int | None = None,
        widths: list[int] | None = None,
        slope: float = 0.3,
        activation: Literal["smooth", "leaky"] = "smooth",
        cell: float | None = None,
        start: Literal["pca", "none"] = "pca",
    ) -> None:
        super().__init__()
        n = checked_shape("biorthogonal", shape)
        self.shape = tuple(shape)
        latent = min(max(n // 2, 1), 64) if latent is None else latent
        widths = _between(latent, n) if widths is None else widths
        sizes = [latent, *widths, n]
        if any(b <= a for a, b in pairwise(sizes)):
            raise BadInput(
                f"model 'biorthogonal' cannot widen its code step by step to samples of {n} entries: "
                + " to ".join(map(str, sizes)),
                expected="widths that rise from 'latent' to the number of entries of a sample, which is 2 or more",
                next_step="choose another model: idemlab list models"
                if n == 1
                else f"set latent = {min(latent, n - 1)}, and leave 'widths' out",
            )
        self.cell, self._start = cell, start
        self._pair = _Pair(slope, smooth=activation == "smooth")
        self.layers = nn.ModuleList(_Layer(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))

    @torch.no_grad()
    def start_from(self, dataset: Dataset) -> None:
        """Start f at the projection onto the leading principal components of the first training samples.

        The last layer decodes to the components, and each layer before it adds zeros to its input.
        """
        if self._start == "none":
            return
        *inner, last = self._layers()
        mean, components = leading_components(first_rows(dataset).flatten(1).double(), last.P.shape[1])
        last.set(components, mean)
        for layer in inner:
            layer.set(torch.eye(*layer.P.shape), torch.zeros(len(layer.P)))

    def _layers(self) -> list[_Layer]:
        """In the order of decoding."""
        return [layer for layer in self.layers if isinstance(layer, _Layer)]

    def encode(self, x: Tensor) -> Tensor:
        """The code h [B, latent] of samples x, rounded if there is a cell."""
        h = self.unrounded(x)
        if self.cell is None:
            return h
        # h - h is exactly 0, so the code is exactly a multiple of the cell, and has the gradient of h.
        return (self.cell * torch.round(h / self.cell)).detach() + (h - h.detach())

    def unrounded(self, x: Tensor) -> Tensor:
        """The code h [B, latent] of samples x before it is rounded."""
        with torch.autocast(x.device.type, enabled=False):
            t = _wide(x.flatten(1))
            for i, layer in reversed(list(enumerate(self.layers))):
                t = layer(t if i == len(self.layers) - 1 else self._pair.undo(t), inverse=True)
            return t.to(x.dtype) if x.is_floating_point() else t

    def decode(self, h: Tensor) -> Tensor:
        """The samples [B, *shape] of codes h [B, latent]."""
        with torch.autocast(h.device.type, enabled=False):
            t = _wide(h)
            for i, layer in enumerate(self.layers):
                t = layer(t)
                if i < len(self.layers) - 1:
                    t = self._pair(t)
            return t.to(h.dtype).unflatten(1, self.shape)  # type: ignore[no-untyped-call,no-any-return]


class _Layer(nn.Module):
    """h [B, k] -> P h + b [B, m], m >= k, and back: x -> (X P)^-1 X (x - b), which is a left inverse for any X and P."""

    def __init__(self, k: int, m: int) -> None:
        super().__init__()
        P = torch.linalg.qr(torch.randn(m, k)).Q.contiguous()
        self.P = nn.Parameter(P)
        self.X = nn.Parameter(P.T.contiguous().clone())
        self.b = nn.Parameter(torch.zeros(m))

    @torch.no_grad()
    def set(self, P: Tensor, b: Tensor) -> None:
        """Start at orthonormal columns P, which are their own left inverse, and at b."""
        self.P.copy_(P)
        self.X.copy_(P.mT)
        self.b.copy_(b)

    def forward(self, t: Tensor, inverse: bool = False) -> Tensor:
        P, X, b = _wide(self.P), _wide(self.X), _wide(self.b)
        if not inverse:
            return t @ P.mT + b
        try:
            solved: Tensor = torch.linalg.solve(X @ P, X @ (t - b).mT)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise Failure(
                f"model 'biorthogonal': X P of the layer from {P.shape[1]} to {P.shape[0]} is singular, without an inverse",
                where="[model]",
                next_step="lower the learning rate, or clip the gradient",
            ) from error
        return solved.mT


class _Pair:
    """An activation with slopes `slope` and 1/slope at minus and plus infinity, and its inverse, which `undo` is.

    Smooth: act(t) = a t + c (sqrt(t^2 + 1) - 1) with a = (1/s + s)/2 and c = (1/s - s)/2. As a^2 - c^2 = 1, the inverse has
    the same form: a u - c sqrt(u^2 + 1) at u = y + c.
    """

    def __init__(self, slope: float, *, smooth: bool) -> None:
        self._slope, self._smooth = slope, smooth
        self._a, self._c = (1 / slope + slope) / 2, (1 / slope - slope) / 2

    def __call__(self, t: Tensor) -> Tensor:
        if self._smooth:
            return self._a * t + self._c * ((t.square() + 1).sqrt() - 1)
        return torch.where(t > 0, t / self._slope, t * self._slope)

    def undo(self, y: Tensor) -> Tensor:
        if self._smooth:
            u = y + self._c
            return self._a * u - self._c * (u.square() + 1).sqrt()
        return torch.where(y > 0, y * self._slope, y / self._slope)


def _between(latent: int, n: int) -> list[int]:
    """Two widths at equal ratios between the code and the sample, or fewer where they are too near."""
    ratio = max(n / latent, 1) ** (1 / 3)
    return [width for width in sorted({round(latent * ratio), round(latent * ratio**2)}) if latent < width < n]


def _wide(t: Tensor) -> Tensor:
    """In float32 at least: no solve works in half precision, and no left inverse is exact there."""
    return t.to(torch.promote_types(t.dtype, torch.float32))
