"""The finiteness latch: which losses were finite, without a look at the device in every step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..objective.engines import Engine

__all__ = ["Latch", "not_finite"]


def not_finite(step: int, steps: int) -> str:
    """What is said of a run whose loss was not finite at a step, counted from 0."""
    return f"the loss is not finite at step {step + 1} of {steps}"


class Latch:
    """Remembers the first step at which a loss was not finite, for one loss or for each of several replicas.

    On the CPU it is read at once. On an accelerator reading would stall the queue, so it stays on the device, fused
    optimisers skip their updates as soon as it is set, and it is read at the log interval.

    Args:
        engine: the processes that agree on it.
        optimizers: those that are to skip their updates; none where replicas do not touch each other.
        shape: of the losses, () or [replicas].

    Attributes:
        deferred: whether it need only be read at the log interval, as a bad step changes no weight.
    """

    def __init__(
        self, engine: Engine, optimizers: Sequence[torch.optim.Optimizer] = (), shape: tuple[int, ...] = ()
    ) -> None:
        fused = all(optimizer.defaults.get("fused") for optimizer in optimizers)
        # The flag is no share of anything, and fused kernels do not take it beside parameters that are shared out.
        self.deferred = engine.device.type == "cuda" and fused and bool(optimizers) and not engine.sharded
        self._engine = engine
        self._first = torch.full(shape, -1.0, device=engine.device)
        self._bad = torch.zeros(shape, device=engine.device)
        if self.deferred:
            for optimizer in optimizers:
                optimizer.found_inf, optimizer.grad_scale = self._bad, None  # type: ignore[attr-defined]

    def see(self, losses: Tensor, step: int) -> None:
        """Look at the losses of a step that is about to be taken."""
        bad = self._engine.anywhere((~torch.isfinite(losses.detach())).to(self._bad.dtype))
        self._first.copy_(torch.where((self._bad == 0) & (bad > 0), float(step), self._first))
        self._bad.copy_(torch.clamp(self._bad + bad, max=1.0))

    def first_bad_steps(self) -> list[int | None]:
        """The step at which each was set, or None."""
        return [None if step < 0 else int(step) for step in self._first.flatten().tolist()]
