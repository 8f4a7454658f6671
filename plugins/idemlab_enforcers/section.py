"""Idempotent by construction, on any given network: linear coordinates that one half of f keeps and the other returns."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from idemlab import Dataset, Enforcer, Operator

from .shapes import check_rank, check_shape, shape_of

__all__ = ["Section", "Sectioned"]

_ROWS = 2048
"""Training samples from which the principal components are found."""

_LEAST = 0.1
"""Smallest scale of a coordinate, as a share of the largest: noise in small components would otherwise be blown up."""


class Section(Enforcer):
    """Wraps a network into `Sectioned`. There is no loss: the data term alone trains it.

    Args:
        rank: r, number of coordinates, less than the numbers of a sample: with all of them, f is the identity.
    """

    def __init__(self, rank: int) -> None:
        super().__init__()
        self._rank = rank

    def wrap(self, operator: Operator) -> Operator:
        """The operator, idempotent by construction.

        Raises:
            BadInput: if the model does not tell the shape of a sample, or a sample has no more than r numbers.
        """
        shape = shape_of("section", operator)
        check_rank("section", self._rank, math.prod(shape))
        dtype = next((p.dtype for p in operator.parameters() if p.is_floating_point()), torch.get_default_dtype())
        return Sectioned(operator, shape, self._rank, torch.promote_types(dtype, torch.float32))


class Sectioned(nn.Module):
    """f(x) = s(e(x)) with e(s(h)) = h, [B, *shape] -> [B, *shape]; its rank is r everywhere.

    F is the given network, a(x) = D^-1 A^T (x - m) are coordinates of x: its r leading principal components. s gives the
    linear reconstruction of h to F, and puts the coordinates of the outcome right again. e takes the coordinates of F(x),
    by a gate that is zero on the image of s, where a(x) is right already:

        s(h) = G + B (D h - A^T (G - m)),   G = F(m + A D h),   A^T B = I,   so that a(s(h)) = h,
        e(x) = a(x) + g(x) (a(F(x)) - a(x)),   g(x) = 1 - exp(-mean |x - s(a(x))|^2 / t).

    The image of f is the graph of a network over a linear subspace. f costs three forwards of F. In training, no gradient
    goes through s(a(x)), which decides the gate.

    Args:
        network: F.
        shape: of a sample.
        rank: r.
        dtype: of the coordinates, at least single precision.

    Source: *derived*. With g = 0, s a is the projection on a nonlinear manifold of Barnett, Farhat & Maday (J. Comput. Phys.
    492, 112420, 2023).
    """

    basis: Tensor
    """A, [n, r], with columns that are orthonormal but for rounding, perhaps to half precision in a file."""
    centre: Tensor
    """m, [n]."""
    scale: Tensor
    """Diagonal of D, [r]."""
    _kept: tuple[object, Tensor] | None = None

    def __init__(self, network: Operator, shape: tuple[int, ...], rank: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.shape = network, shape
        self.classes = getattr(network, "classes", None)
        n = math.prod(shape)
        basis = torch.linalg.qr(torch.randn(n, rank, dtype=torch.float64))[0]
        self.register_buffer("basis", basis.to(dtype))
        self.register_buffer("centre", torch.zeros(n, dtype=dtype))
        self.register_buffer("scale", torch.ones(rank, dtype=dtype))
        self.log_width = nn.Parameter(torch.full((1,), math.log(0.1), dtype=dtype))  # FSDP2 shares no scalars out

    @torch.no_grad()
    def start_from(self, dataset: Dataset) -> None:
        """Take the principal components of the first training samples as coordinates.

        Raises:
            BadInput: if the samples have another shape than the network says.
        """
        check_shape("section", self.shape, dataset)
        count = min(len(dataset.train), _ROWS)
        rows = dataset.train.__getitems__(list(range(count))).to(torch.device("cpu"), torch.float64, dataset.range)
        x = rows.target.flatten(1)
        m = x.mean(0)
        _, spreads, components = torch.linalg.svd(x - m, full_matrices=False)
        rank, found = len(self.scale), min(len(self.scale), len(spreads))
        # Fewer samples than coordinates: the others are the columns of the random start, made orthogonal to those found.
        A, triangle = torch.linalg.qr(torch.cat([components[:found].T, self.basis[:, found:].cpu().double()], 1))
        A = A * triangle.diagonal().sign()
        deviation = spreads.new_zeros(rank)
        deviation[:found] = spreads[:found] / math.sqrt(count)
        largest = deviation.max() if deviation.max() > 0 else torch.ones((), dtype=torch.float64)
        self.basis.copy_(A)
        self.centre.copy_(m)
        self.scale.copy_(deviation.clamp_min(_LEAST * largest))
        variance = float(x.var(0, correction=0).mean())
        self.log_width.fill_(math.log(0.1 * variance if variance > 0 else 0.1))

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        return self.decode(self.encode(x, *condition), *condition)

    def encode(self, x: Tensor, *condition: Tensor) -> Tensor:
        """e(x), [B, r]."""
        flat = self._exact(x)
        a = self._coordinates(flat)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.training):
            near = self._exact(self.decode(a, *condition))
        corrected = self._coordinates(self._exact(self.network(x.clone(), *condition)))  # it may overwrite its input
        gate = -torch.expm1(-(flat - near).square().mean(1, keepdim=True) * (-self.log_width).exp())
        return a + gate * (corrected - a)

    def decode(self, h: Tensor, *condition: Tensor) -> Tensor:
        """s(h), [B, *shape]."""
        h = self._exact(h)
        G = self._exact(self.network(self._linear(h, self.basis, self.centre).view(-1, *self.shape), *condition))
        return (G + self._linear(h - self._coordinates(G), self._dual())).view(-1, *self.shape)

    def _coordinates(self, x: Tensor) -> Tensor:
        """a(x) of flat samples, [B, r]."""
        with torch.autocast(x.device.type, enabled=False):
            return (x - self.centre) @ self.basis / self.scale

    def _linear(self, h: Tensor, A: Tensor, m: Tensor | None = None) -> Tensor:
        """m + A D h, [B, n]."""
        with torch.autocast(h.device.type, enabled=False):
            x = (h * self.scale) @ A.mT
            return x if m is None else m + x

    def _dual(self) -> Tensor:
        """B = A (A^T A)^-1, [n, r], computed again if A has changed."""
        A = self.basis
        key = id(A), A._version, A.dtype, A.device
        if self._kept is None or self._kept[0] != key:
            exact = A.detach().double()
            self._kept = key, torch.linalg.solve(exact.mT @ exact, exact.mT).mT.to(A.dtype)
        return self._kept[1]

    def _exact(self, t: Tensor) -> Tensor:
        """Flat, and in the precision of the coordinates: in half precision they would not come back."""
        return t.flatten(1).to(self.basis.dtype)
