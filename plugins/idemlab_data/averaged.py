"""A moving average of an operator's weights, for a source that follows the average of f, not its last step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from idemlab import BadInput, Operator

__all__ = ["Average"]


class Average(nn.Module):
    """An exponential moving average of the parameters of an operator, kept in a buffer, so that a resumed run continues it.

    It is the source's own: `training.ema` averages what is evaluated and saved, which no source sees.

    Args:
        decay: share of the average that a step keeps, in (0, 1). After n steps it is at most (1 + n) / (10 + n).
    """

    mean: Tensor
    """All parameters in a row, [P]; empty before the first step."""
    at: Tensor
    """The step whose weights it has seen last."""

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("mean", torch.zeros(0))
        self.register_buffer("at", torch.tensor(-1))

    @torch.no_grad()
    def follow(self, operator: Operator, index: int) -> None:
        """Move towards the weights at the beginning of a step, at most once per step.

        Raises:
            BadInput: if the parameters are sharded over processes.
        """
        parameters = list(operator.parameters())
        if self.at.item() == index or not parameters:
            return
        if any(hasattr(parameter, "placements") for parameter in parameters):
            raise BadInput(
                "the source cannot average parameters that FSDP2 shards",
                where="[source], key 'ema'",
                next_step="set 'ema' of the source to 0, or train through DDP instead of FSDP2",
            )
        flat = torch.cat([parameter.flatten() for parameter in parameters])
        if self.mean.numel():
            self.mean.lerp_(flat.to(self.mean), 1 - min(self.decay, (1 + index) / (10 + index)))
        else:
            self.mean = flat
        self.at.fill_(index)

    @contextmanager
    def inside(self, operator: Operator) -> Iterator[None]:
        """Give the operator the averaged weights for the block."""
        parameters = list(operator.parameters()) if self.mean.numel() else []
        own = [parameter.data for parameter in parameters]
        means = self.mean.split([parameter.numel() for parameter in parameters])  # type: ignore[no-untyped-call]
        try:
            for parameter, mean in zip(parameters, means, strict=True):
                parameter.data = mean.view(parameter.shape).to(parameter)
            yield
        finally:
            for parameter, data in zip(parameters, own, strict=True):
                parameter.data = data

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        saved = state.get(f"{prefix}mean")
        if isinstance(saved, Tensor):  # it has no size before the operator is known
            self.mean = self.mean.new_zeros(saved.shape)
        super()._load_from_state_dict(state, prefix, *rest)
