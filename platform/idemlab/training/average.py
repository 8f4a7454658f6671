"""A moving average of the weights, and how to measure an operator under other weights than its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from ..contracts.orbit import Operator
from ..objective.engines import Engine, put, whole
from ..objective.objective import Objective

__all__ = ["Average", "under"]


class Average:
    """An exponential moving average of an operator's trained parameters; buffers are those of the operator.

    Args:
        decay: share of the average that a step keeps, in [0, 1). After n steps it is at most (1 + n) / (10 + n).
        operator: as the engine prepared it. The average begins at its weights.
        engine: under FSDP2, each process averages its shards.
    """

    def __init__(self, decay: float, operator: Operator, engine: Engine) -> None:
        self._decay, self._operator, self._engine = decay, operator, engine
        named = {name: p for name, p in operator.named_parameters(remove_duplicate=False) if p.requires_grad}
        self._places: dict[str, int] = {}  # a parameter may have several names
        self._parameters: list[Tensor] = []
        numbers: dict[int, int] = {}
        for name, parameter in named.items():
            if id(parameter) not in numbers:
                numbers[id(parameter)] = len(self._parameters)
                self._parameters.append(parameter)
            self._places[name] = numbers[id(parameter)]
        self._means = [p.detach().clone() for p in self._parameters]

    @torch.no_grad()
    def follow(self, done: int) -> None:
        """Move towards the weights after `done` steps."""
        if self._means:
            decay = min(self._decay, (1 + done) / (10 + done))
            torch._foreach_lerp_(self._means, [p.detach() for p in self._parameters], 1 - decay)

    def state(self) -> dict[str, Tensor]:
        """The averages by the name of the parameter, whole, for a checkpoint. All processes."""
        means = [whole(mean) for mean in self._means]
        return {name: means[place] for name, place in self._places.items()}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor] | None) -> None:
        """Restore the averages from a checkpoint, or begin at the present weights if it has none."""
        for name, place in self._places.items():
            if state is None:
                self._means[place].copy_(self._parameters[place])
            else:
                put(self._means[place], state[name].to(self._engine.device))

    def weights(self) -> dict[str, Tensor]:
        """The whole state of the operator with the averages in place of its parameters. All processes."""
        return self._engine.stateful(self._operator).state_dict() | self.state()


@contextmanager
def under(weights: Mapping[str, Tensor], objective: Objective, engine: Engine) -> Iterator[None]:
    """Give the operator other weights, a whole state of it, for the block. All processes."""
    operator = objective.operator
    own = {name: value.detach().clone() for name, value in engine.stateful(operator).state_dict().items()}

    def give(state: Mapping[str, Tensor]) -> None:
        engine.settle(objective)
        engine.stateful(operator).load_state_dict(dict(state))

    give(weights)
    try:
        yield
    finally:
        give(own)
