"""A multilayer perceptron on the flattened sample."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from .choices import Activation
from .parts import activation as make_activation
from .parts import start_small
from .sizes import checked_shape

__all__ = ["MLP"]


class MLP(nn.Module):
    """f(x) = g(x), or x + g(x) if residual, on the flattened sample, [B, *shape] -> [B, *shape].

    g is `depth` times (linear, norm, activation) of `width` units, then linear.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        width: int = 128,
        depth: int = 4,
        activation: Activation = "relu",
        residual: bool = False,
        norm: Literal["none", "layer"] = "none",
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.shape = shape
        n = checked_shape("mlp", shape)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([n] + depth * [width]):
            layers.append(nn.Linear(inputs, outputs, bias=bias))
            if norm == "layer":
                layers.append(nn.LayerNorm(outputs))
            layers.append(make_activation(activation))
        last = nn.Linear(width, n, bias=bias)
        if residual:
            start_small(last)
        self.layers = nn.Sequential(*layers, last)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        g = self.layers(x.flatten(1)).view_as(x)
        return x + g if self.residual else g  # type: ignore[no-any-return]
