"""The loop that one writes without idemlab: the same model, optimiser and loss, in a dozen lines of PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..contracts.enforcer import DISTANCES
from ..contracts.specs import EnforcerSpec
from ..experiment.blame import blame
from ..experiment.experiment import Experiment
from ..objective.optimizers import build_optimizers
from ..objective.parts import SHARED_ORBIT, build_operator
from .memory import LiveBytes, total_bytes

__all__ = ["NOISE", "ByHand", "ways_of"]

NOISE = "gaussian"
"""The source of an enforcer that acts at noise."""

Make = Callable[[nn.Module], Callable[[Tensor, Tensor], Tensor]]


def ways_of(experiment: Experiment) -> dict[str, Make]:
    """How the loss of the experiment's enforcer is written by hand, by name; empty if there is no plain form.

    The loop by hand knows samples and noise as its points, and neither corruption nor micro-batches.
    """
    spec, points = experiment.enforcer.spec, [source.name for source in experiment.sources]
    assert isinstance(spec, EnforcerSpec)
    plain = points in ([SHARED_ORBIT], [NOISE]) and experiment.corruption.name == SHARED_ORBIT
    if spec.by_hand is None or not plain or experiment.training.micro_batches > 1:
        return {}
    written = partial(spec.by_hand, **experiment.enforcer.arguments)
    return blame(experiment, lambda: dict(written()), "the enforcer's by_hand")


class ByHand:
    """The loop with one loss written by hand, one step at a time.

    Args:
        experiment: gives the model, the optimiser, the weights and the precision.
        make: the loss, as `EnforcerSpec.by_hand` returns it.
        data: samples [N, *shape] on the device.

    Attributes:
        kept_bytes: bytes that stay from step to step: weights, the state of the optimisers, copies of the weights.
    """

    def __init__(self, experiment: Experiment, make: Make, data: Tensor) -> None:
        torch.manual_seed(experiment.training.seed)
        self._f = build_operator(experiment, tuple(data.shape[1:])).to(data.device, data.dtype)
        self._experiment, self._data = experiment, data
        self._at_data = experiment.sources[0].name == SHARED_ORBIT
        with (
            LiveBytes() as live
        ):  # copies and their gradients, the state of the optimisers: whatever stays after a step
            self._enforce = blame(experiment, lambda: make(self._f), "the enforcer's by_hand")
            parameters = [p for p in self._f.parameters() if p.requires_grad]
            self._optimizers = build_optimizers(experiment.optimizer, parameters, experiment.method)
            blame(experiment, self.step, "the enforcer's by_hand")
        self.kept_bytes = total_bytes([*self._f.parameters(), *self._f.buffers()]) + live.now

    def loss(self, x: Tensor, z: Tensor | None) -> Tensor:
        """The whole loss for samples x and noise z; without noise the loss is enforced at the samples."""
        settings = self._experiment.reconstruction
        output = self._f(x)
        r = DISTANCES[settings.distance](output, x)
        return settings.weight * r.mean() + self._enforce(output if z is None else self._f(z), r)

    def step(self) -> None:
        """Make one step."""
        batch, clip = self._experiment.training.batch_size, self._experiment.optimizer.clip
        x = self._data[torch.randint(len(self._data), (batch,), device=self._data.device)]
        with self._precision():
            loss = self.loss(x, None if self._at_data else torch.randn_like(x))
        loss.backward()  # type: ignore[no-untyped-call]
        if clip > 0:
            nn.utils.clip_grad_norm_(self._f.parameters(), clip)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad()

    def flops(self) -> int:
        """Counted operations of one forward and backward."""
        x = self._data[: self._experiment.training.batch_size]
        counter = FlopCounterMode(display=False)
        with counter:
            self.loss(x, None if self._at_data else torch.randn_like(x)).backward()  # type: ignore[no-untyped-call]
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        return counter.get_total_flops()

    def _precision(self) -> Any:
        if self._experiment.training.precision == "bf16":
            return torch.autocast(self._data.device.type, torch.bfloat16)
        return nullcontext()
