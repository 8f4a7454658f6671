"""The engines, one class each: what the processes of a run do together, and sharded parameters."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

__all__ = [
    "DDP",
    "FSDP2",
    "Engine",
    "Single",
    "Stateful",
    "Whole",
    "expected_processes",
    "launched_alone",
    "put",
    "shard_all",
    "unfuse",
    "whole",
]

_WORLD = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
"""Environment variables in which torchrun, Accelerate and MPI give the number of processes."""

_CPU = torch.device("cpu")


# -- engines ----------------------------------------------------------------------------------------------------------


class Engine(ABC):
    """How a run uses its processes, and what they do together.

    Where a method says "all processes", each of them must call it, and in the same order as its other such calls.

    Args:
        device: of this process.
        world: number of processes.
        rank: of this process, from 0.

    Attributes:
        sharded: whether parameters, gradients and optimiser state are sharded over the processes instead of copied.
    """

    sharded: ClassVar[bool] = False

    def __init__(self, device: torch.device = _CPU, *, world: int = 1, rank: int = 0) -> None:
        self.device, self.world, self.rank = device, world, rank

    @property
    def main(self) -> bool:
        """Whether this process writes the files and reports the progress of the run."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether this is the only process."""
        return self.world == 1

    def __str__(self) -> str:
        return "one process" if self.alone else f"{self.world} processes, {type(self).__name__}"

    @property
    def remark(self) -> str | None:
        """A remark for the user before training begins, or None."""
        return launched_alone() if self.alone else f"training in {self}"

    @abstractmethod
    def anywhere(self, flags: Tensor) -> Tensor:
        """Flags (0 or 1, on the device) combined over the processes: above 0 where any process set one. All processes."""

    @abstractmethod
    def stops(self, asked: bool, *, now: bool) -> bool:
        """Whether to stop because any process was asked to. All processes.

        Several processes agree only where `now` is true, because agreeing takes a round trip.
        """

    @abstractmethod
    def rows(self, t: Tensor) -> Tensor:
        """The tensors of all processes, [world, ...], by rank. All processes."""

    @abstractmethod
    def mean(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean of each value over the processes. All processes."""

    def any(self, flag: bool) -> bool:
        """Whether a flag is set in any process. All processes."""
        return bool(self.anywhere(torch.tensor(float(flag), device=self.device)).item())

    def agreed(self, flag: bool) -> bool:
        """The flag of the main process. All processes."""
        return bool(self.rows(torch.tensor(float(flag), device=self.device))[0].item())

    def wait(self) -> None:
        """Wait for all processes."""
        self.any(False)

    def own(self, rows: Tensor) -> Tensor:
        """This process's row of a result of `rows`. If the number of processes has changed since, the mean of the rows."""
        own = rows[self.rank] if len(rows) == self.world else rows.mean(0)
        return own.to(self.device)

    # The methods below concern engines that shard parameters; the other engines keep them whole.

    def settle(self, module: nn.Module) -> None:  # noqa: B027 -- there is nothing to do
        """Reshard all parameters, so that values written into them are kept."""

    def stateful(self, thing: nn.Module | torch.optim.Optimizer) -> Stateful:
        """A module or an optimiser with its whole state, as checkpoints store it under any engine. All processes."""
        return thing

    def adapt(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:  # noqa: B027 -- there is nothing to do
        """Switch off optimiser options that the engine does not support."""


class Single(Engine):
    """One process."""

    def anywhere(self, flags: Tensor) -> Tensor:
        return flags

    def stops(self, asked: bool, *, now: bool) -> bool:
        return asked

    def rows(self, t: Tensor) -> Tensor:
        return t[None]

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(values)


class _Together(Engine):
    """Several processes, which communicate through torch.distributed."""

    def anywhere(self, flags: Tensor) -> Tensor:
        torch.distributed.all_reduce(flags)
        return flags

    def stops(self, asked: bool, *, now: bool) -> bool:
        return now and self.any(asked)

    def rows(self, t: Tensor) -> Tensor:
        found = [torch.empty_like(t) for _ in range(self.world)]
        torch.distributed.all_gather(found, t)
        return torch.stack(found)

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        means = {}
        for name, value in values.items():
            total = value.clone()
            torch.distributed.all_reduce(total)
            means[name] = total / self.world
        return means


class DDP(_Together):
    """Several processes, each with a copy of all parameters."""


class FSDP2(_Together):
    """Several processes, each with a shard of the parameters."""

    sharded = True

    def settle(self, module: nn.Module) -> None:
        shard_all(module)

    def stateful(self, thing: nn.Module | torch.optim.Optimizer) -> Stateful:
        if isinstance(thing, nn.Module):
            shard_all(thing)
        return Whole(thing)

    def adapt(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        for optimizer in optimizers:
            unfuse(optimizer)


# -- launchers --------------------------------------------------------------------------------------------------------


def expected_processes(environment: Mapping[str, str] = os.environ) -> int:
    """The number of processes according to the launcher; 1 without a launcher."""
    return max([1, *(int(environment[name]) for name in _WORLD if environment.get(name, "").isdecimal())])


def launched_alone(environment: Mapping[str, str] = os.environ) -> str | None:
    """A warning if several processes were requested but run unconnected; None otherwise.

    Each of them then trains on the whole global batch: the results are right, but nothing is faster.
    """
    if expected_processes(environment) > 1:
        return None
    if environment.get("ACCELERATE_USE_CPU", "").lower() == "true" and "MASTER_ADDR" in environment:
        return (
            "accelerate launch was told to start several processes and started one: with --cpu it needs MPI to start more; "
            "torchrun --nproc_per_node N -m idemlab run ... starts N, on a CPU too"
        )
    copies = environment.get("SLURM_STEP_NUM_TASKS", "1")
    if copies.isdecimal() and int(copies) > 1:
        return (
            f"srun started this command {copies} times, as unconnected processes: "
            "let srun start one torchrun a node, see docs/distribution.md"
        )
    return None


# -- sharded parameters -----------------------------------------------------------------------------------------------
# They are recognised by their attributes: importing torch's classes would cost every command a second.


class Stateful(Protocol):
    """An object whose state a checkpoint stores: a module, an optimiser, or a `Whole` of one."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


def whole(t: Tensor) -> Tensor:
    """A tensor as one process would hold it. A sharded tensor is gathered: all processes must call this."""
    return t.full_tensor() if _sharded(t) else t  # type: ignore[attr-defined]


def _sharded(t: Tensor) -> bool:
    return hasattr(t, "full_tensor")


def put(target: Tensor, value: Tensor) -> None:
    """Write a whole value into a tensor; if that is sharded, each process keeps its shard."""
    target.copy_(_share(value, target))


def shard_all(module: nn.Module) -> None:
    """Reshard all parameters of an FSDP2 module, so that values written into them are kept."""
    for part in module.modules():
        if hasattr(part, "reshard"):
            part.reshard()  # type: ignore[operator]


def unfuse(optimizer: torch.optim.Optimizer) -> None:
    """Switch off fused kernels. For sharded parameters torch has only those of Adam and AdamW, which stay on."""
    if not isinstance(optimizer, (torch.optim.Adam, torch.optim.AdamW)):
        for group in optimizer.param_groups:
            if group.get("fused"):
                group["fused"] = False


class Whole:
    """A module or an optimiser with sharded parameters, seen as one process would hold it.

    The constructor gathers the state: all processes must call it, even those that do not use the result.
    """

    def __init__(self, thing: nn.Module | torch.optim.Optimizer) -> None:
        self._thing = thing
        self._state: dict[str, Any] = _mapped(thing.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """The state, whole."""
        return self._state

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Load a whole state; each process keeps its shard."""
        if isinstance(self._thing, nn.Module):
            own = self._thing.state_dict()
            shared = {name: _share(t, own[name]) if name in own else t for name, t in state_dict.items()}
            self._thing.load_state_dict(shared)
            return
        parameters = [p for group in self._thing.param_groups for p in group["params"]]
        state = {
            number: {key: _share(value, parameters[number]) for key, value in values.items()}
            for number, values in state_dict["state"].items()
        }
        self._thing.load_state_dict(state_dict | {"state": state})
        unfuse(self._thing)


def _mapped(tree: Any) -> Any:
    """A nested state with all tensors whole, gathered in the same order in every process."""
    if isinstance(tree, Tensor):
        return whole(tree)
    if isinstance(tree, dict):
        return {key: _mapped(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(_mapped(item) for item in tree)
    return tree


def _share(value: Any, like: Tensor) -> Any:
    """This process's shard of a whole tensor, sharded like `like`. A value of another shape is returned as it is."""
    if not (_sharded(like) and isinstance(value, Tensor) and value.shape == like.shape):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    value = value.to(like.device)
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)
