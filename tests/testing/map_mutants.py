"""Projections of weights and architectures with one mistake each. Run by its path (`runpy`), it leaves `MUTANTS`."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from idemlab import Enforcer, Traits

_base = runpy.run_path(str(Path(__file__).with_name("mutants.py")))
MUTANTS, mutant = _base["MUTANTS"], _base["mutant"]
PROJECTION, ARCHITECTURE = _base["PROJECTION"], _base["ARCHITECTURE"]

PURE = Traits(kinds=PROJECTION, linear_only=True, orthogonally_equivariant=True)
STEERED = Traits(kinds=PROJECTION, linear_only=True, targets_rank=True, domain=(0.0, 1.0))
EXACT = Traits(kinds=ARCHITECTURE, exact=True)
CONJUGATED = Traits(kinds=ARCHITECTURE, exact=True, wraps=("inverse",))

# -- projections --------------------------------------------------------------------------------------------------------


@mutant("quintic-with-a-wrong-coefficient", PURE, "attracted-in-one-step", "attracted-to-the-end")
class WrongQuintic(Enforcer):
    """10 X^3 - 15 X^4 + 6 X^5 with -14 and 5: 0 and 1 still stay, but 1 no longer attracts."""

    def project(self, matrix: Tensor) -> Tensor:
        K = matrix
        return K @ K @ K @ (10 * torch.eye(K.shape[-1], dtype=K.dtype) - 14 * K + 5 * K @ K)


@mutant("trace-steered-the-wrong-way", STEERED, "rank-is-reached", rank=2)
class WrongWay(Enforcer):
    """SP2 with the two polynomials exchanged."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self._rank = rank

    def project(self, matrix: Tensor) -> Tensor:
        K = matrix
        return 2 * K - K @ K if float(K.trace()) > self._rank else K @ K


@mutant("projection-with-plus-sign", PURE, "idempotents-stay", "attracted-to-the-end")
class PlusProjection(Enforcer):
    def project(self, K: Tensor) -> Tensor:
        return 3 * K @ K + 2 * K @ K @ K


@mutant("projection-in-place", PURE, "projection-is-pure")
class InPlace(Enforcer):
    def project(self, K: Tensor) -> Tensor:
        return K.copy_(3 * K @ K - 2 * K @ K @ K)


@mutant("projection-that-turns-stacks", PURE, "projection-is-pure")
class TurnsStacks(Enforcer):
    def project(self, K: Tensor) -> Tensor:
        return (3 * K.T @ K.T - 2 * K.T @ K.T @ K.T).T if K.ndim == 2 else 3 * K @ K - 2 * K @ K


@mutant("trace-not-kept", Traits(kinds=PROJECTION, linear_only=True, preserves_rank=True), "trace-is-kept")
class TraceNotKept(Enforcer):
    def project(self, K: Tensor) -> Tensor:
        return 3 * K @ K - 2 * K @ K @ K


@mutant(
    "rank-ignored",
    STEERED,
    "rank-is-reached",
    rank=2,
)
class RankIgnored(Enforcer):
    def __init__(self, rank: int) -> None:
        super().__init__()

    def project(self, K: Tensor) -> Tensor:
        return 3 * K @ K - 2 * K @ K @ K


@mutant("domain-not-declared", PURE, "defined-on-its-domain")
class DomainNotDeclared(Enforcer):
    def project(self, K: Tensor) -> Tensor:
        scale = K.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True).unsqueeze(-1).sqrt()
        return (3 * K @ K - 2 * K @ K @ K) * scale / scale


@mutant("infinite", Traits(kinds=PROJECTION, linear_only=True, domain=(0.0, 1.0)), "defined-on-its-domain")
class Infinite(Enforcer):
    """Whose spectrum ends the process where LAPACK is oneMKL's."""

    def project(self, K: Tensor) -> Tensor:
        return K / 0


@mutant("projection-divided-by-its-size", PURE, "finite-at-extremes")
class DividedBySize(Enforcer):
    def project(self, K: Tensor) -> Tensor:
        size = K.square().sum((-2, -1), keepdim=True)  # of tiny entries 0 in float32
        return (3 * K @ K - 2 * K @ K @ K) * size / size


# -- architectures ------------------------------------------------------------------------------------------------------


class Selected(nn.Module):
    """Keeps every other entry, times a factor made of a weight that is 1 at first and is there to be trained."""

    def __init__(self, factor: Callable[[Tensor], Tensor | float], dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.factor, self.dtype = factor, dtype

    def forward(self, x: Tensor) -> Tensor:
        keep = (torch.arange(x[0].numel()) % 2).view_as(x[0]).to(self.dtype or x.dtype)
        return keep * x * self.factor(self.weight)


@mutant("architecture-in-double-precision-only", Traits(kinds=ARCHITECTURE), "wrapped-can-be-trained")
class DoubleOnly(Enforcer):
    def wrap(self, operator: nn.Module) -> nn.Module:
        return Selected(lambda w: w / w.detach(), torch.float64)


@mutant("architecture-without-gradient", Traits(kinds=ARCHITECTURE), "wrapped-can-be-trained")
class WithoutGradient(Enforcer):
    def wrap(self, operator: nn.Module) -> nn.Module:
        return Selected(lambda w: 1.0)


@mutant("exact-at-its-first-weights-only", EXACT, "wrapped-is-idempotent")
class FirstWeightsOnly(Enforcer):
    def wrap(self, operator: nn.Module) -> nn.Module:
        return Selected(lambda w: w)


@mutant("exact-at-depth-one-and-drifting", EXACT, "wrapped-is-idempotent")
class Drifting(Enforcer):
    def wrap(self, operator: nn.Module) -> nn.Module:
        return Selected(lambda w: w / w.detach() * (1 + 5e-10))


@mutant("exact-in-full-precision-only", EXACT, "wrapped-is-idempotent")
class FullPrecisionOnly(Enforcer):
    """The projection along one vector, by a product that autocast rounds."""

    class Along(Selected):
        def forward(self, x: Tensor) -> Tensor:
            flat = x.flatten(1)
            v = self.weight * torch.arange(1, flat.shape[1] + 1).to(x)
            return (flat - (flat @ v[:, None]) * v / v.square().sum()).view_as(x)

    def wrap(self, operator: nn.Module) -> nn.Module:
        return self.Along(lambda w: w)


@mutant("not-idempotent-by-construction", EXACT, "wrapped-is-idempotent")
class Doubled(Enforcer):
    def wrap(self, operator: nn.Module) -> nn.Module:
        return nn.Sequential(operator, operator)


class Conjugated(nn.Module):
    """g^-1 A g on the invertible operator g of the kit, where A keeps every other entry."""

    def __init__(self, g: nn.Module) -> None:
        super().__init__()
        self.g = g

    def kept(self, z: Tensor) -> Tensor:
        return (torch.arange(z[0].numel()) % 2).view_as(z[0]).to(z.dtype)

    def inverse(self, z: Tensor, *condition: Tensor) -> Tensor:
        return self.g.inverse(z, *condition)

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        z = self.g(x, *condition)
        return self.inverse(z * self.kept(z), *condition)


@mutant("inverse-only-approximate", CONJUGATED, "wrapped-is-idempotent")
class ApproximateInverse(Enforcer):
    class Iterated(Conjugated):
        """Solves g(x) = z by three steps x <- x + z - g(x)."""

        def inverse(self, z: Tensor, *condition: Tensor) -> Tensor:
            x = z
            for _ in range(3):
                x = x + z - self.g(x, *condition)
            return x

    def wrap(self, operator: nn.Module) -> nn.Module:
        return self.Iterated(operator)


@mutant("diagonal-not-of-zeros-and-ones", CONJUGATED, "wrapped-is-idempotent")
class SoftDiagonal(Enforcer):
    class Soft(Conjugated):
        def kept(self, z: Tensor) -> Tensor:
            return (20 * super().kept(z) - 10).sigmoid()

    def wrap(self, operator: nn.Module) -> nn.Module:
        return self.Soft(operator)


class _Classed(nn.Module):
    """f(x, c) of an operator with classes, or f(x, 0)."""

    def __init__(self, operator: nn.Module) -> None:
        super().__init__()
        if not isinstance(getattr(operator, "classes", None), int):
            raise ValueError("an operator with classes")
        self.operator = operator

    def chosen(self, condition: Tensor) -> Tensor:
        return condition

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        c = torch.zeros(len(x), dtype=torch.long) if condition is None else self.chosen(condition)
        return self.operator(x, c)


@mutant("classes-of-other-samples", Traits(kinds=ARCHITECTURE), "a-condition-goes-with-its-samples")
class Reordered(Enforcer):
    """It wraps f(x, c) only, and gives each sample the class of another."""

    def wrap(self, operator: nn.Module) -> nn.Module:
        class Flipped(_Classed):
            def chosen(self, condition: Tensor) -> Tensor:
                return condition.flip(0)

        return Flipped(operator)


@mutant("class-that-is-ignored", Traits(kinds=ARCHITECTURE), "a-condition-goes-with-its-samples")
class Ignored(Enforcer):
    """It wraps f(x, c) only, and takes class 0 whatever is asked."""

    def wrap(self, operator: nn.Module) -> nn.Module:
        class Constant(_Classed):
            def chosen(self, condition: Tensor) -> Tensor:
                return 0 * condition

        return Constant(operator)
