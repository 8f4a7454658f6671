"""Spectral truncation of codes: f = decode T encode, where T keeps r directions of the code."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from idemlab import BadInput, Dataset, Enforcer, Failure, Operator, Orbit

from .shapes import check_shape

__all__ = ["Truncated", "Truncation"]

_ROWS = 2048
"""Training samples whose codes give the first directions."""


class Truncation(Enforcer):
    """Wraps a network that encodes and decodes into `Truncated`. There is no loss.

    Args:
        rank: r, number of directions.
    """

    def __init__(self, rank: int) -> None:
        super().__init__()
        self._rank = rank

    def wrap(self, operator: Operator) -> Operator:
        """decode T encode.

        Raises:
            BadInput: if the model does not encode and decode, does not tell the shape of a sample, or has shorter codes
                than r.
        """
        shape = getattr(operator, "shape", None)
        codes = all(callable(getattr(operator, name, None)) for name in ("encode", "decode"))
        if not codes or not isinstance(shape, tuple):
            raise BadInput(
                f"enforcer 'truncation' needs a model that encodes and decodes, and {type(operator).__name__} does not",
                expected="the methods 'encode' and 'decode', and the attribute 'shape' of a sample",
                next_step="choose a model that encodes and decodes, such as 'autoencoder'",
            )
        parameter = next((p for p in operator.parameters() if p.is_floating_point()), torch.zeros(()))
        one = parameter.new_zeros(1, *shape)
        conditional = getattr(operator, "classes", None) is not None
        with torch.no_grad():
            code = Orbit(operator, one, torch.zeros(1, dtype=torch.long) if conditional else None).encode(one)
        size = math.prod(code.shape[1:])
        if self._rank > size:
            raise BadInput(
                f"enforcer 'truncation' cannot keep {self._rank} directions of codes of {size} numbers",
                where="enforcer 'truncation', key 'rank'",
                expected=f"a whole number from 1 to {size}",
                next_step=f"choose a lower rank of 'truncation', {max(size // 2, 1)} for instance",
            )
        return Truncated(operator, size, self._rank, torch.promote_types(parameter.dtype, torch.float32))


class Truncated(nn.Module):
    """f(x) = decode(T(encode(x))), T(h) = c + P (h - c), with the orthogonal projection P onto r directions of the code.

    The rank of f is at most r, everywhere, since f goes through an r-dimensional set of codes. c and the directions start
    at the mean and the leading principal components of the codes of the data, which is the truncated singular value
    decomposition of these codes, and are trained with the network.

    Args:
        network: with `encode` and `decode`.
        size: numbers in a code, L.
        rank: r.
        dtype: of the directions, at least single precision.

    Source: truncation of the codes of an autoencoder: arXiv 2405.13980.
    """

    def __init__(self, network: Operator, size: int, rank: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.shape = network, network.shape
        self.classes = getattr(network, "classes", None)
        self.directions = nn.Parameter(
            torch.linalg.qr(torch.randn(size, rank, dtype=torch.float64))[0].to(dtype).contiguous()
        )
        self.centre = nn.Parameter(torch.zeros(size, dtype=dtype))

    @torch.no_grad()
    def start_from(self, dataset: Dataset) -> None:
        """Take the principal components of the codes of the first training samples as directions.

        Raises:
            BadInput: if the samples have another shape than the network says.
        """
        check_shape("truncation", self.shape, dataset)  # type: ignore[arg-type]
        count = min(len(dataset.train), _ROWS)
        device, dtype = self.directions.device, self.directions.dtype
        rows = dataset.train.__getitems__(list(range(count))).to(device, dtype, dataset.range)
        was, _ = self.network.training, self.network.eval()
        parts = [rows.rows(slice(start, start + 256)) for start in range(0, count, 256)]
        codes = [Orbit(self.network, part.target, part.condition).encode(part.target) for part in parts]
        h = torch.cat([code.flatten(1).double() for code in codes])
        self.network.train(was)
        m = h.mean(0)
        found = min(self.directions.shape[1], count)
        components = torch.linalg.svd(h - m, full_matrices=False)[2][:found].T
        # Fewer samples than directions: the others are those of the random start, made orthogonal to those found.
        self.directions.copy_(torch.linalg.qr(torch.cat([components, self.directions[:, found:].double()], 1))[0])
        self.centre.copy_(m)

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        return self.decode(self.encode(x, *condition), *condition)

    def encode(self, x: Tensor, *condition: Tensor) -> Tensor:
        """T(encode(x)), of the shape of the network's codes."""
        h: Tensor = self.network.encode(x, *condition)  # type: ignore[operator]
        with torch.autocast(x.device.type, enabled=False):
            wide = torch.promote_types(self.directions.dtype, torch.float32)  # no solve works in half precision
            V, c = self.directions.to(wide), self.centre.to(wide)
            flat = h.flatten(1).to(V.dtype) - c
            try:
                kept = torch.linalg.solve(V.mT @ V, V.mT @ flat.mT)  # V need not stay orthonormal in training
            except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
                raise Failure(
                    f"enforcer 'truncation': its {V.shape[1]} directions have become linearly dependent",
                    where="[enforcer]",
                    next_step="lower the learning rate or the weight decay"
                    + (", or choose a lower rank of 'truncation'" if V.shape[1] > 1 else ""),
                ) from error
            cut: Tensor = (c + (V @ kept).mT).view_as(h).to(h.dtype)
            return cut

    def decode(self, h: Tensor, *condition: Tensor) -> Tensor:
        """The sample of a code."""
        return self.network.decode(h, *condition)  # type: ignore[operator,no-any-return]
