"""One linear map of the flattened sample, and a start near the identity."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .sizes import checked_shape

__all__ = ["Linear", "near_identity"]


class Linear(nn.Module):
    """f(x) = K x + b on the flattened sample, [B, *shape] -> [B, *shape].

    Args:
        shape: of one sample; n is its number of elements.
        bias: whether there is a b.
    """

    def __init__(self, shape: tuple[int, ...], *, bias: bool = False) -> None:
        super().__init__()
        self.shape = shape
        self.n = checked_shape("linear", shape)
        self.map = nn.Linear(self.n, self.n, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x.flatten(1)).view_as(x)  # type: ignore[no-any-return]

    @torch.no_grad()
    def start_at(self, K: Tensor) -> None:
        """Set the matrix to K [n, n], rounded to the dtype of the parameters, and b to 0."""
        self.map.weight.copy_(K)
        if self.map.bias is not None:
            self.map.bias.zero_()


def near_identity(n: int, scale: float = 0.01) -> Tensor:
    """I + scale G / sqrt(n) with G standard normal, [n, n] in float64; eigenvalues within about `scale` of 1."""
    G = torch.randn(n, n, dtype=torch.float64, device="cpu")  # MPS has no float64
    return torch.eye(n, dtype=torch.float64, device="cpu") + G * (scale / math.sqrt(n))
