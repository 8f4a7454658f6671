"""The operators of the kit: small networks and linear maps, nearly idempotent, invertible, or with classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..contracts.orbit import Operator

__all__ = ["CLASSES", "Coded", "Linear", "Mixer", "Near", "Scaled", "Shear"]

CLASSES = 3
"""Of an operator f(x, c) of the kit."""


class Coded(nn.Module):
    """An operator that encodes and decodes: the code of x is f(x), which decodes to itself."""

    def encode(self, x: Tensor) -> Tensor:
        h: Tensor = self(x)
        return h

    def decode(self, h: Tensor) -> Tensor:
        return h


class Linear(Coded):
    """x -> K x on flattened samples of any shape."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        n = len(matrix)
        # Keep the global generator unchanged. (`skip_init` draws nothing, but makes torch load its tracer and sympy.)
        with torch.random.fork_rng(devices=[]):
            self.linear = nn.Linear(n, n, bias=False, dtype=matrix.dtype)
        with torch.no_grad():
            self.linear.weight.copy_(matrix)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x.flatten(1))
        return y.view_as(x)


class Near(Coded):
    """f(x) = P x + g(x) / 10 with a projector P that keeps every other entry: nonlinear and nearly idempotent."""

    keep: Tensor

    def __init__(self, shape: tuple[int, ...], network: nn.Module) -> None:
        super().__init__()
        keep = (torch.arange(torch.Size(shape).numel()) % 2 == 0).to(torch.float64).view(shape)
        self.register_buffer("keep", keep)
        self.network, self.shape = network, shape

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.keep * x + 0.1 * self.network(x)
        return y


class Scaled(Coded):
    """g(s x) of an operator g, with a factor s for each class. It encodes, decodes and inverts as g does.

    Args:
        operator: g.
        fixed: the class of all samples, for an operator f(x); None for f(x, c).
    """

    factors: Tensor

    def __init__(self, operator: Operator, fixed: int | None = None) -> None:
        super().__init__()
        self.g, self._fixed = operator, fixed
        self.register_buffer("factors", torch.tensor([1.0, 1.25, 0.75]))
        self.classes = CLASSES if fixed is None else None

    def __getattr__(self, name: str) -> Any:
        """What an enforcer may look at, such as `shape`, is that of g."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("_") or name == "g":
                raise
            return getattr(self.g, name)

    def _factor(self, like: Tensor, condition: tuple[Tensor, ...]) -> Tensor:
        if self._fixed is not None:
            return self.factors[self._fixed].to(like.dtype)
        (classes,) = condition
        return self.factors[classes].to(like.dtype).view(-1, *[1] * (like.ndim - 1))

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        y: Tensor = self.g(self._factor(x, condition) * x)
        return y

    def encode(self, x: Tensor, *condition: Tensor) -> Tensor:
        return self(x, *condition)  # type: ignore[no-any-return]

    def decode(self, h: Tensor, *condition: Tensor) -> Tensor:
        return h

    def inverse(self, z: Tensor, *condition: Tensor) -> Tensor:
        x: Tensor = self.g.inverse(z)  # type: ignore[operator]
        return x / self._factor(z, condition)


class Shear(nn.Module):
    """An invertible network: one half of the entries moves by a function of the other half, and then the other way."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        n = torch.Size(shape).numel()
        self._sizes = [n // 2, n - n // 2]
        a, b = self._sizes
        self.there = nn.Sequential(nn.Linear(a, 9), nn.Tanh(), nn.Linear(9, b))
        self.back = nn.Sequential(nn.Linear(b, 9), nn.Tanh(), nn.Linear(9, a))

    def forward(self, x: Tensor) -> Tensor:
        first, second = torch.split(x.flatten(1), self._sizes, 1)
        with torch.autocast(x.device.type, enabled=False):
            second = second + self.there(first)
            first = first + self.back(second)
        return torch.cat([first, second], 1).view_as(x)

    def inverse(self, z: Tensor) -> Tensor:
        first, second = torch.split(z.flatten(1), self._sizes, 1)
        with torch.autocast(z.device.type, enabled=False):
            first = first - self.back(second)
            second = second - self.there(first)
        return torch.cat([first, second], 1).view_as(z)


class Mixer(nn.Module):
    """A network on [B, tokens, entries] that mixes tokens, then entries."""

    def __init__(self, tokens: int, entries: int) -> None:
        super().__init__()
        self.tokens = nn.Linear(tokens, tokens)
        self.entries = nn.Sequential(nn.Linear(entries, 8), nn.Tanh(), nn.Linear(8, entries))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.entries(self.tokens(x.transpose(1, 2)).transpose(1, 2))
        return y
