"""Muon for CPUs without bfloat16 units, where torch's own takes longer than everything else in the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Muon"]


class Muon(torch.optim.Muon):
    """`torch.optim.Muon`, which on a CPU orthogonalises in the precision of the weights instead of in bfloat16.

    Few CPUs have units for bfloat16. On the others torch's own took three quarters of the time of a step (0.33 s of 0.45 s,
    `generation-transport`, one AVX2 core); this takes 0.02 s, and its figures do not depend on whether there are such units.
    On accelerators it is torch's own. Arguments and state are those of `torch.optim.Muon`.

    Source: K. Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of every matrix that has a gradient."""
        if any(p.device.type != "cpu" for group in self.param_groups for p in group["params"]):
            return super().step(closure)  # type: ignore[no-any-return,no-untyped-call]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, p.grad, group)
        return loss

    def _update(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(grad)
        lr, momentum = float(group["lr"]), float(group["momentum"])
        mean = state["momentum_buffer"].lerp_(grad, 1 - momentum)
        update = grad.lerp(mean, momentum) if group["nesterov"] else mean
        direction = orthogonalised(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
        p.mul_(1 - lr * group["weight_decay"])
        p.add_(direction, alpha=-lr * _scale(group["adjust_lr_fn"], *p.shape))


def orthogonalised(G: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """Roughly U V^T of G = U S V^T, by the quintic Newton-Schulz iteration X <- a X + (b A + c A^2) X, A = X X^T.

    Args:
        G: [m, n].
        coefficients: a, b, c.
        steps: how many.
        eps: least norm that G is divided by.

    Returns:
        [m, n], in the precision of G.
    """
    a, b, c = coefficients
    X: Tensor = G / G.norm().clamp(min=eps)
    if G.shape[0] > G.shape[1]:
        X = X.mT
    for _ in range(steps):
        A = X @ X.mT
        X = torch.addmm(X, torch.addmm(A, A, A, beta=b, alpha=c), X, beta=a)
    return X.mT if G.shape[0] > G.shape[1] else X


def _scale(rule: str | None, rows: int, columns: int) -> float:
    """What a learning rate is multiplied by for a matrix of this size, as `torch.optim.Muon` explains `adjust_lr_fn`."""
    if rule == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1.0, rows / columns))
