"""Idempotent by construction: f = g^-1 A g with an invertible network g and a diagonal A of zeros and ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from idemlab import BadInput, Dataset, Enforcer, Operator

from .shapes import check_rank, check_shape

__all__ = ["Linearized", "Linearizer"]


class Linearizer(Enforcer):
    """Wraps an invertible model g into f = g^-1 A g. There is no loss: the data term alone trains g.

    Args:
        rank: r, number of ones in A; None for as many as are learned.
        learned: whether the places of the ones are learned; otherwise they are the first r coordinates.

    Raises:
        ValueError: if there is neither.
    """

    def __init__(self, rank: int | None, learned: bool) -> None:
        super().__init__()
        if rank is None and not learned:
            raise ValueError("give the number of coordinates to keep as 'rank', or set learned = true")
        self._rank, self._learned = rank, learned

    def wrap(self, operator: Operator) -> Operator:
        """f = g^-1 A g.

        Raises:
            BadInput: if the model has no inverse, or no more coordinates than r.
        """
        shape = getattr(operator, "shape", None)
        if not callable(getattr(operator, "inverse", None)) or not isinstance(shape, tuple):
            raise BadInput(
                f"enforcer 'linearizer' needs an invertible model, and {type(operator).__name__} is none",
                expected="a method 'inverse' and the attribute 'shape' of a sample",
                next_step="choose an invertible model, such as 'coupling'",
            )
        check_rank("linearizer", self._rank, math.prod(shape))
        return Linearized(operator, shape, self._rank, self._learned)


class Linearized(nn.Module):
    """f(x) = g^-1(A g(x)), [B, *shape] -> [B, *shape]; its rank is the number of ones in A, everywhere.

    f = decode(encode(x)), where the code is the kept coordinates.

    Args:
        network: g, with `inverse`.
        shape: of a sample.
        rank, learned: as for `Linearizer`.

    Source: f = g^-1 A g: arXiv 2510.08570.
    """

    keep: Tensor

    def __init__(self, network: Operator, shape: tuple[int, ...], rank: int | None, learned: bool) -> None:
        super().__init__()
        self.network = network
        self.shape, self._rank = shape, rank
        self.classes = getattr(network, "classes", None)
        n = math.prod(shape)
        # Which coordinates are kept at the start is clear, and which are the next to change, too.
        self.preference = nn.Parameter(torch.linspace(1, -1, n)) if learned else None
        if not learned:
            assert rank is not None
            self.register_buffer("keep", (torch.arange(n) < rank).to(torch.get_default_dtype()))

    def start_from(self, dataset: Dataset) -> None:
        """Check the shape of a sample; the network has seen the data before it was wrapped.

        Raises:
            BadInput: if the samples have another shape than the network says.
        """
        check_shape("linearizer", self.shape, dataset)

    def kept(self) -> Tensor:
        """The diagonal of A [n]: exactly zeros and ones; where it is learned, with the gradient of a sigmoid."""
        if self.preference is None:
            return self.keep
        scores = self.preference
        if self._rank is None:
            hard = (scores > 0).to(scores.dtype)
        else:
            hard = torch.zeros_like(scores).index_fill(0, scores.topk(self._rank).indices, 1)
        soft = scores.sigmoid()
        return hard + (soft - soft.detach())  # the difference is exactly 0

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        z = self.network(x, *condition)
        return self.network.inverse(z * self.kept().to(z.dtype).view(self.shape), *condition)  # type: ignore[operator,no-any-return]

    def encode(self, x: Tensor, *condition: Tensor) -> Tensor:
        """The kept coordinates of g(x), [B, rank]."""
        z = self.network(x, *condition).flatten(1)
        kept = self.kept()
        return (z * kept.to(z.dtype))[:, kept.detach().nonzero()[:, 0]]  # type: ignore[no-any-return]

    def decode(self, h: Tensor, *condition: Tensor) -> Tensor:
        """g^-1 of the kept coordinates h [B, rank], the others being zero."""
        kept = self.kept()
        z = h.new_zeros(len(h), len(kept)).index_copy(1, kept.detach().nonzero()[:, 0], h)
        return self.inverse(z.view(-1, *self.shape), *condition)

    def transform(self, x: Tensor, *condition: Tensor) -> Tensor:
        """g(x)."""
        return self.network(x, *condition)  # type: ignore[no-any-return]

    def inverse(self, z: Tensor, *condition: Tensor) -> Tensor:
        """g^-1(z)."""
        return self.network.inverse(z, *condition)  # type: ignore[operator,no-any-return]
