"""The claim to be exact: f(f(x)) = f(x) to rounding, whatever the weights of f."""

from __future__ import annotations

import torch

from ..contracts.orbit import Operator
from ..contracts.step import generator
from .kit import at_most, must
from .trials import draws

__all__ = ["exact_whatever_the_weights"]

_FAR = 50
"""Number of applications after which f must still be where it was after one."""
_BOUNDS = ((torch.float64, False, 1e-9, 1e-8), (torch.float32, False, 1e-4, 1e-3), (torch.float32, True, 1e-4, 1e-3))
"""(precision, autocast, largest relative error at depth 1, largest from f to f^50)."""
_MOVED = 0.3
"""How far other weights are from the first ones, in standard deviations of the entries of a parameter."""


def exact_whatever_the_weights(operator: Operator, shape: tuple[int, ...]) -> None:
    """Demand that an operator is idempotent to rounding, at its first weights and at others; changes it.

    Raises:
        CheckFailed: if it is not.
    """
    operator.eval()
    for weights in ("its first weights", "other weights"):
        for dtype, autocast, bound, far_bound in _BOUNDS:
            operator.to(dtype)
            x = draws(shape, 16).to(dtype)
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                y = operator(x)
                after = far = operator(y)
                for _ in range(_FAR - 2):
                    far = operator(far)
            at = f"at {weights} in {str(dtype).removeprefix('torch.')}{' under autocast' if autocast else ''}"
            must(bool(torch.isfinite(y).all()), f"f(x) {at} is not finite")
            size = y.double().norm().clamp_min(1e-12)
            at_most((after - y).double().norm() / size, bound, f"|f(f(x)) - f(x)| / |f(x)| {at}")
            at_most((far - y).double().norm() / size, far_bound, f"|f^{_FAR}(x) - f(x)| / |f(x)| {at}")
        operator.to(torch.float64)
        _move(operator)


@torch.no_grad()
def _move(operator: Operator) -> None:
    for name, p in operator.named_parameters():
        if p.is_floating_point():
            size = float(p.std()) if p.numel() > 1 else 0.0
            step = torch.randn(p.shape, generator=generator("other weights", name), dtype=torch.float64)
            p.add_(step.to(p), alpha=_MOVED * size or 0.1)
