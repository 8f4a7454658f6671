"""Models with one mistake each. Run by its path (`runpy`), it leaves `MUTANTS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from idemlab import BadInput

MUTANTS: dict[tuple[str, str], tuple[Callable[..., Any], tuple[str, ...]]] = {}


def mutant(kind: str, *caught_by: str) -> Callable[[Any], Any]:
    """Put a class (its instances are the mutants) or a function that builds one on the list."""

    def register(made: Any) -> Any:
        MUTANTS[kind, made.__name__] = (made, caught_by)
        return made

    return register


class Square(nn.Module):
    """A linear map of the flattened sample."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        n = torch.Size(shape).numel()
        self.linear = nn.Linear(n, n)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1)).view_as(x)


@mutant("model", "shape-is-kept")
class Flattens(Square):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1))


@mutant("model", "samples-are-independent-in-evaluation")
class SubtractsTheMean(Square):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y - y.mean(0)


@mutant("model", "evaluation-is-deterministic")
class NoisyInEvaluation(Square):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.randn_like(x)


@mutant("model", "input-is-untouched")
class InPlace(Square):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x.mul_(2)
        return super().forward(x)


@mutant("model", "gradient-reaches-every-parameter")
class UnusedParameter(Square):
    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape)
        self.unused = nn.Parameter(torch.zeros(1))


@mutant("model", "every-precision", "finite-at-extremes")
class DoubleOnly(Square):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) @ torch.eye(x.shape[-1], dtype=torch.float64)


@mutant("model", "finite-at-extremes")
class Normalises(Square):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x / x.flatten(1).norm(dim=1).view(-1, *[1] * (x.ndim - 1)))


@mutant("model", "takes-a-condition")
class IgnoresItsClass(Square):
    conditional = True

    def __init__(self, shape: tuple[int, ...], classes: int | None) -> None:
        super().__init__(shape)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return super().forward(x)


@mutant("model", "takes-a-condition")
class ClassOfTheFirst(IgnoresItsClass):
    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return super().forward(x) if condition is None else super().forward(x) + condition[0]


@mutant("model", "state-round-trips")
class ScaleInAnAttribute(Square):
    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape)
        self.scale = torch.rand(()).item()

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * super().forward(x)


class Rounds(Square):
    """decode(round(encode(x))) with an encoder that is off by some percent as a left inverse, and a cell for that."""

    exact = True
    cell = 1.0

    def encode(self, x: Tensor) -> Tensor:
        n = x[0].numel()
        off = 0.02 * torch.sin(torch.arange(n * n)).view(n, n) / n
        return x.flatten(1) @ (torch.eye(n) + off).to(x)

    def forward(self, x: Tensor) -> Tensor:
        code = self.encode(x)
        rounded = (self.cell * torch.round(code / self.cell)).detach() + (code - code.detach())
        used = self.linear(torch.zeros_like(x).flatten(1))
        return (rounded + used - used.detach()).view_as(x)


@mutant("model", "exact-as-claimed")
class CellTooSmall(Rounds):
    cell = 1e-3


@mutant("model", "shape-is-kept")
class TakesNothing(nn.Module):
    def __init__(self, shape: tuple[int, ...]) -> None:
        raise BadInput(f"{shape} is too small")
