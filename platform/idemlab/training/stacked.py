"""Trains many small operators of one architecture as one batched program."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from ..contracts.orbit import Operator
from ..contracts.step import Step, generator
from ..objective.modules import copied

__all__ = ["Stacked", "StackedStep", "cannot_be_stacked"]


class Stacked(nn.Module):
    """R operators as one ordinary operator on [R*B, *shape]: rows r*B ... (r+1)*B - 1 go through the r-th.

    An enforcer sees one ordinary operator that keeps shapes. No row depends on another replica's parameters. The gradient
    of the sum of all replicas' batch means is therefore, for each replica, the gradient of its own mean.

    Args:
        models: R >= 1 operators of one architecture; their weights are copied.

    Raises:
        ValueError: if one of them cannot be stacked; see `cannot_be_stacked`.
    """

    def __init__(self, models: Sequence[Operator]) -> None:
        super().__init__()
        reason = cannot_be_stacked(models[0])
        if reason:
            raise ValueError(reason)
        self.replicas = len(models)
        parameters, buffers = stack_module_state(list(models))
        self._names = {name: name.replace(".", "/") for name in parameters}
        for name, key in self._names.items():
            whole = parameters[name]
            self.register_parameter(key, nn.Parameter(whole.detach(), requires_grad=whole.requires_grad))
        self._buffer_names = {name: name.replace(".", "/") for name in buffers}
        for name, key in self._buffer_names.items():
            self.register_buffer(key, buffers[name])
        self._reached: set[str] = set()
        self._template = [copied(models[0]).to("meta")]  # in a list: its parameters are not this module's

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """f_r of the rows of each replica r, [R*B, *shape]."""
        stacked: dict[str, Tensor] = {name: self.get_parameter(key) for name, key in self._names.items()}
        stacked |= {name: self.get_buffer(key) for name, key in self._buffer_names.items()}
        inputs = [t.view(self.replicas, -1, *t.shape[1:]) for t in (x, condition) if t is not None]

        def one(state: dict[str, Tensor], *rows: Tensor) -> Tensor:
            y: Tensor = functional_call(self._template[0], state, rows)
            return y

        y: Tensor = vmap(one)(stacked, *inputs)
        return y.flatten(0, 1)

    def parameters_of(self, replica: int) -> dict[str, nn.Parameter]:
        """Name in the model -> parameter of one replica. Parameters and gradients are views: an optimiser that changes them
        in place changes this module. Call `keep_gradients` first."""
        views = {}
        for name, key in self._names.items():
            whole = self.get_parameter(key)
            view = nn.Parameter(whole.detach()[replica], requires_grad=whole.requires_grad)
            view.grad = None if whole.grad is None else whole.grad[replica]
            views[name] = view
        return views

    def keep_gradients(self) -> None:
        """Give each parameter a gradient of fixed memory: backward adds to it, `clear_gradients` sets it to zero."""
        for name, key in self._names.items():
            parameter = self.get_parameter(key)
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)
                parameter.register_post_accumulate_grad_hook(lambda _, name=name: self._reached.add(name))  # type: ignore[no-untyped-call]

    def unreached(self) -> set[str]:
        """Names of the parameters that no backward has reached since gradients were cleared. Trained alone, they would have
        no gradient and stay as they are. A gradient of zero would let weight decay and momentum move them."""
        return set(self._names) - self._reached

    def clear_gradients(self) -> None:
        """Set all gradients to zero in place."""
        self._reached.clear()
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad.zero_()

    @torch.no_grad()
    def write_back(self, replica: int, model: Operator) -> None:
        """Copy the weights and buffers of one replica into a model of its own."""
        for name, parameter in model.named_parameters():
            parameter.copy_(self.get_parameter(self._names[name])[replica])
        for name, buffer in model.named_buffers():
            buffer.copy_(self.get_buffer(self._buffer_names[name])[replica])


def cannot_be_stacked(model: Operator) -> str | None:
    """Why a model cannot be stacked, or None. Batch statistics would mix replicas, dropout would draw other numbers, and
    shared parameters would be stacked twice."""
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            return f"'{name}' has batch statistics"
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            return f"'{name}' drops at random"
    every = [id(p) for module in model.modules() for p in module._parameters.values() if p is not None]
    if len(set(every)) < len(every):
        return "parameters are shared between modules"
    return None


class StackedStep(Step):
    """The step of R replicas at once. Each replica's rows draw the same numbers as in a run of their own.

    Args:
        seeds: seed of each replica.
        index, progress, measured: as for `Step`.
    """

    def __init__(self, seeds: Sequence[int], *, index: int, progress: float, measured: bool = True) -> None:
        super().__init__(index=index, progress=progress, measured=measured)
        self._seeds = seeds

    def _draw(self, like: Tensor, sampler: object) -> Tensor:
        shape = (like.shape[0] // len(self._seeds), *like.shape[1:])
        dtype = torch.promote_types(like.dtype, torch.float32)
        drawn = {
            seed: sampler(shape, generator=generator(seed, self.index, self.purpose, self._draws), dtype=dtype)  # type: ignore[operator]
            for seed in dict.fromkeys(self._seeds)
        }
        self._draws += 1
        return torch.cat([drawn[seed] for seed in self._seeds]).to(device=like.device, dtype=like.dtype)
