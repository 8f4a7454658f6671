"""The orbit of a batch under the operator: x, f(x), f(f(x)), ..., computed lazily and each point once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = ["Operator", "Orbit", "applied"]

Operator = nn.Module
"""f: [B, *shape] -> [B, *shape], or f(x, condition)."""


def applied(f: Callable[..., Tensor], x: Tensor, condition: Tensor | None = None) -> Tensor:
    """f(x), or f(x, condition) where there is a condition.

    The operator gets copies, because it may overwrite its input (`nn.ReLU(inplace=True)`) and the points of an orbit are
    reused. A copy keeps gradients exact and costs little compared with a forward.
    """
    return f(x.clone()) if condition is None else f(x.clone(), condition.clone())


class _Frozen(torch.autograd.Function):
    """f(y) with gradient to y and none to the parameters.

    A `functional_call` with detached parameters is silently wrong under per-block FSDP2. This function asks autograd for
    the gradient of the input alone, which is exact everywhere.
    """

    @staticmethod
    def forward(ctx: Any, orbit: Orbit, y: Tensor) -> Tensor:
        with torch.enable_grad():
            ctx.y = y.detach().requires_grad_()
            # A view: hooks on a module's inputs (a FLOP counter's) refuse leaves inside autograd.grad.
            ctx.output = orbit.apply(ctx.y.view_as(ctx.y))
        frozen: Tensor = ctx.output.detach().clone()
        return frozen

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        (at_y,) = torch.autograd.grad(ctx.output, ctx.y, gradient)
        return None, at_y


class Orbit:
    """The orbit of `input` under `operator`. Reconstruction, enforcer and metrics share it, so that no forward runs twice.

    The points stay unchanged even if the operator works in place.

    Args:
        operator: keeps the shape of its input.
        input: [B, *shape].
        condition: passed on to the operator as its second argument, if there is one.
    """

    def __init__(self, operator: Callable[..., Tensor], input: Tensor, condition: Tensor | None = None) -> None:
        self._operator = operator
        self.condition = condition
        self._live = [input]
        self._still = [input.detach()]
        self._codes: list[tuple[Tensor, Tensor, bool]] = []  # (point of the orbit, its code, whether with gradient)

    @property
    def operator(self) -> Operator:
        """The operator f, for reading its parameters, mode and modules.

        To apply it, use `apply`, `live`, `ahead` or `frozen`: they share points and pass the condition on. Never store the
        operator as an attribute of an enforcer, which would then own its parameters; for a lasting copy see
        `Enforcer.on_start`. Under FSDP2 each process sees its shard of the parameters.

        Raises:
            TypeError: if the orbit is that of a plain function, as in an evaluation.
        """
        if not isinstance(self._operator, nn.Module):
            raise TypeError("the operator of this orbit is a plain function, not a module")
        return self._operator

    @property
    def input(self) -> Tensor:
        """x, [B, *shape]."""
        return self._live[0]

    @property
    def output(self) -> Tensor:
        """y = f(x), with gradient."""
        return self.live(1)

    def live(self, k: int) -> Tensor:
        """f^k(x) with gradient through all k applications; live(0) is x. Under `torch.no_grad` it is `ahead(k - 1)`."""
        if k > 0 and len(self._live) <= k and not torch.is_grad_enabled():
            return self.ahead(k - 1)
        while len(self._live) <= k:
            self._go_on(self._live)
        return self._live[k]

    def ahead(self, k: int) -> Tensor:
        """f^k(y) at y = f(x), without gradient; ahead(0) is y. Reuses a live point, detached, if there is one."""
        while len(self._still) <= k + 1:
            depth = len(self._still)
            if depth < len(self._live):
                self._still.append(self._live[depth].detach())
            else:
                with torch.no_grad():
                    self._go_on(self._still)
        return self._still[k + 1]

    def note(self, k: int, point: Tensor) -> None:
        """Record f^k(x), k >= 2, that was computed with another gradient routing, so that it is not computed again."""
        self.ahead(k - 2)
        if len(self._still) == k:
            self._still.append(point.detach())

    def known(self, k: int) -> bool:
        """Whether f^k(x) has been computed already, with or without gradient."""
        return k < max(len(self._live), len(self._still))

    @classmethod
    def gathered(cls, orbits: Sequence[Orbit], rows: Sequence[Tensor]) -> Orbit:
        """One orbit, without gradient, of chosen rows of several orbits of an operator. Points that all know are not
        computed again."""
        points = [
            torch.cat([point[chosen] for point, chosen in zip(every, rows, strict=True)])
            for every in zip(*(orbit._still for orbit in orbits), strict=False)
        ]
        conditions = [o.condition[chosen] for o, chosen in zip(orbits, rows, strict=True) if o.condition is not None]
        gathered = cls(orbits[0]._operator, points[0], torch.cat(conditions) if conditions else None)
        gathered._still = points
        return gathered

    def _go_on(self, points: list[Tensor]) -> None:
        """Append the next point of the orbit to `points`, which is `_live` or `_still`."""
        after = self.apply(points[-1])
        points.append(after if points is self._live else after.detach())  # f may return what it differentiates itself

    def apply(self, y: Tensor) -> Tensor:
        """f(y) with gradient to y and to the parameters."""
        return applied(self._operator, y, self.condition)

    def encode(self, y: Tensor) -> Tensor:
        """The code of y under an operator f = decode(encode(x)), with gradient. Each point's code is computed once."""
        live = torch.is_grad_enabled()
        for point, code, graded in self._codes:
            if point is y and (graded or not live):
                return code if live else code.detach()
        code = self.call("encode", y)
        if any(y is point for point in (*self._live, *self._still)):
            self._codes.append((y, code, live))
        return code

    def decode(self, h: Tensor) -> Tensor:
        """The point of a code h, with gradient. That of the code of f^k(x) is f^(k+1)(x), computed once."""
        for k, point in enumerate(self._live):
            if any(known is point and code is h for known, code, _ in self._codes):
                if len(self._live) == k + 1 and torch.is_grad_enabled():
                    self._live.append(self.call("decode", h))
                return self.live(k + 1)
        return self.call("decode", h)

    def offers(self, method: str) -> bool:
        """Whether the operator has a method of this name."""
        return callable(getattr(self._operator, method, None))

    def call(self, method: str, t: Tensor, rows: slice | None = None) -> Tensor:
        """A method of the operator other than forward at t, with gradient; it gets the condition, too, if there is one.

        Args:
            rows: the samples that t belongs to; all by default.

        Raises:
            TypeError: if the operator has no such method.
        """
        if not self.offers(method):
            raise TypeError(f"the operator has no method '{method}'")
        condition = self.condition if rows is None or self.condition is None else self.condition[rows]
        return applied(getattr(self._operator, method), t, condition)

    def frozen(self, y: Tensor) -> Tensor:
        """f(y) with gradient to y only, as through a frozen copy of f."""
        return _Frozen.apply(self, y)  # type: ignore[no-any-return, no-untyped-call]

    def jvp(self, v: Tensor) -> Tensor:
        """J v, the Jacobian of f at y = f(x) times v [B, *shape], with gradient to y and to the parameters."""
        product: Tensor = torch.func.jvp(self.apply, (self.output,), (v,))[1]
        return product
