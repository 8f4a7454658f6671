"""Detects losses that are not finite, without reading from the device at every step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..objective.engines import Engine

__all__ = ["Latch", "not_finite"]


def not_finite(step: int, steps: int) -> str:
    """The message for a loss that is not finite at a step, counted from 0."""
    return f"the loss is not finite at step {step + 1} of {steps}"


class Latch:
    """Remembers the first step at which a loss was not finite, for one loss or for each of several replicas.

    On the CPU the latch is read at once. On an accelerator a read would stall the queue: there the latch stays on the
    device, fused optimisers skip their updates as soon as it is set, and it is read at the log interval.

    Args:
        engine: the processes that share the latch.
        optimizers: the optimisers that must skip their updates; none for replicas, which do not affect each other.
        shape: shape of the losses, () or [replicas].

    Attributes:
        deferred: whether reading at the log interval is enough, because a bad step changes no weight.
    """

    def __init__(
        self, engine: Engine, optimizers: Sequence[torch.optim.Optimizer] = (), shape: tuple[int, ...] = ()
    ) -> None:
        fused = all(optimizer.defaults.get("fused") for optimizer in optimizers)
        # Fused kernels do not take a plain flag beside sharded parameters.
        self.deferred = engine.device.type == "cuda" and fused and bool(optimizers) and not engine.sharded
        self._engine = engine
        self._at_once = engine.alone and engine.device.type == "cpu"
        self._first = torch.full(shape, -1.0, device=engine.device)
        self._bad = torch.zeros(shape, device=engine.device)
        if self.deferred:
            for optimizer in optimizers:
                optimizer.found_inf, optimizer.grad_scale = self._bad, None  # type: ignore[attr-defined]

    def see(self, losses: Tensor, step: int) -> bool:
        """Check the losses of a step before its update; returns whether the latch must be read before it, too."""
        losses = losses.detach()
        if self._at_once:  # on small networks, the bookkeeping below is a share of the step
            values = losses.tolist() if losses.ndim else [losses.item()]
            if all(map(math.isfinite, values)):
                return False
        bad = self._engine.anywhere((~torch.isfinite(losses)).to(self._bad.dtype))
        self._first.copy_(torch.where((self._bad == 0) & (bad > 0), float(step), self._first))
        self._bad.copy_(torch.clamp(self._bad + bad, max=1.0))
        return not self.deferred

    def first_bad_steps(self) -> list[int | None]:
        """For each loss, the first step at which it was not finite, or None."""
        return [None if step < 0 else int(step) for step in self._first.flatten().tolist()]
