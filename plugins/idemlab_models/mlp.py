"""A multilayer perceptron on the flattened sample."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from .choices import Activation
from .label import Layers, label_vectors, vectors
from .parts import activation as make_activation
from .parts import start_small
from .sizes import checked_shape

__all__ = ["MLP"]


class MLP(nn.Module):
    """f(x) = g(x), or x + g(x) if residual, on the flattened sample, [B, *shape] -> [B, *shape].

    g is `depth` times (linear, norm, activation) of `width` units, then linear. Under a condition, f(x, c), a learned vector
    of the class is added to what the first linear layer makes.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        classes: int | None = None,
        *,
        width: int = 128,
        depth: int = 4,
        activation: Activation = "relu",
        residual: bool = False,
        norm: Literal["none", "layer"] = "none",
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.shape, self.classes = shape, classes
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
        self.layers = Layers(*layers, last)
        self.label = label_vectors(classes, width)
        self.residual = residual

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        g = self.layers(x.flatten(1), vectors(self.label, condition, x)).view_as(x)
        return x + g if self.residual else g  # type: ignore[no-any-return]
