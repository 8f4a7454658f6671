"""Several enforcers as one: blended, faded from one into the other, or switched by the local residual."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from idemlab import BadInput, Enforcement, Enforcer, Operator, Orbit, Step, l2

__all__ = ["Hybrid", "Mode"]

Mode = Literal["blend", "crossfade", "switch"]


class Hybrid(Enforcer):
    """Combines the losses of its members; projections and architectures are composed, in order.

    Args:
        enforcers: the members, each with its own weight; a member without a loss counts as zero.
        mode: "blend": the sum. "crossfade": (1 - p) first + p second, p = progress of the run.
            "switch": the first at samples with |f(y) - y| < threshold * sqrt(mean |x - mean x|^2), the second elsewhere.
        threshold: of the local residual, mode "switch" only.
        warmup: share of the run over which the loss rises linearly from zero, from `start` on.
        start: share of the run before which nothing is asked, so that a step costs what the data term costs.

    Raises:
        ValueError: if the mode does not fit the members or the threshold.
        BadInput: if the warm-up does not end in the run.
    """

    def __init__(
        self, enforcers: list[Enforcer], mode: Mode, threshold: float | None, warmup: float, start: float = 0.0
    ) -> None:
        super().__init__()
        if mode != "blend" and len(enforcers) != 2:
            raise ValueError(f"mode '{mode}' takes two enforcers, not {len(enforcers)}")
        if mode != "blend" and not all(_only_losses(enforcer) for enforcer in enforcers):
            raise ValueError(f"mode '{mode}' takes losses; projections and architectures can only be blended")
        if (mode == "switch") != (threshold is not None):
            raise ValueError("'threshold' belongs to mode 'switch', which needs it")
        if start + warmup > 1 + 1e-9:
            left = math.floor(1000 * (1 - start) + 1e-6) / 1000
            raise BadInput(
                f"start {start:g} and warmup {warmup:g} are longer than the run: the loss never gets its weight",
                where="enforcer 'hybrid', keys 'start' and 'warmup'",
                expected="a sum of at most 1",
                next_step=f"lower the warmup to {left:g}, or start earlier",
            )
        self.enforcers = nn.ModuleList(enforcers)
        self._mode = mode
        self._threshold = threshold
        self._warmup, self._start = warmup, start

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        if step.progress < self._start:
            return Enforcement()
        # The last first: what it has computed with gradient (the gradient loss behind the cubic) serves the others too.
        members = [enforcer(orbit, step) for enforcer in reversed(self.enforcers)][::-1]
        reported = _merged(members)
        if all(member.loss is None for member in members):
            return Enforcement(reported=reported)
        zero = orbit.input.new_zeros(orbit.input.shape[0])
        losses = [zero if member.loss is None else member.loss for member in members]
        match self._mode:
            case "blend":
                loss = torch.stack(losses).sum(0)
            case "crossfade":
                loss = (1 - step.progress) * losses[0] + step.progress * losses[1]
            case "switch":
                near = self._near(orbit, step)
                reported["near"] = near.to(losses[0].dtype)
                loss = torch.where(near, losses[0], losses[1])
        return Enforcement(loss=self._warmth(step) * loss, reported=reported)

    def project(self, matrix: Tensor) -> Tensor:
        for enforcer in self.enforcers:
            matrix = enforcer.project(matrix)  # type: ignore[operator]
        return matrix

    def wrap(self, operator: Operator) -> Operator:
        for enforcer in self.enforcers:
            operator = enforcer.wrap(operator)  # type: ignore[operator]
        return operator

    def _warmth(self, step: Step) -> float:
        since = step.progress - self._start
        return 1.0 if since >= self._warmup else since / self._warmup

    @torch.no_grad()
    def _near(self, orbit: Orbit, step: Step) -> Tensor:
        """Which samples have a local residual below the threshold, [B]; none where the inputs have no spread."""
        assert self._threshold is not None
        spread = step.mean(l2(orbit.input, step.mean(orbit.input)))
        return l2(orbit.ahead(1), orbit.ahead(0)) < self._threshold**2 * spread


def _only_losses(enforcer: Enforcer) -> bool:
    if isinstance(enforcer, Hybrid):
        return all(_only_losses(member) for member in enforcer.enforcers)  # type: ignore[arg-type]
    return type(enforcer).project is Enforcer.project and type(enforcer).wrap is Enforcer.wrap


def _merged(members: list[Enforcement]) -> dict[str, Tensor]:
    """What the members report; a name that two of them use gets the member's number."""
    merged: dict[str, Tensor] = {}
    for number, member in enumerate(members, start=1):
        for name, value in member.reported.items():
            merged[f"{name}_{number}" if name in merged else name] = value
    return merged
