"""Several processes: what the launcher was asked for, and weights that are shared out among the processes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

__all__ = ["Engine", "Stateful", "Whole", "expected_processes", "launched_alone", "put", "shard_all", "unfuse", "whole"]

_WORLD = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where torchrun, Accelerate and MPI say how many processes there are."""


@dataclass(frozen=True)
class Engine:
    """How a run is spread over processes.

    Args:
        world: number of processes.
        sharded: whether parameters, gradients and optimiser state are cut among them (FSDP2) instead of copied (DDP).
    """

    world: int = 1
    sharded: bool = False

    def __str__(self) -> str:
        if self.world == 1:
            return "one process"
        return f"{self.world} processes, {'FSDP2' if self.sharded else 'DDP'}"


# -- launchers --------------------------------------------------------------------------------------------------------


def expected_processes(environment: Mapping[str, str] = os.environ) -> int:
    """How many processes the launcher says there are; 1 without a launcher."""
    return max([1, *(int(environment[name]) for name in _WORLD if environment.get(name, "").isdecimal())])


def launched_alone(environment: Mapping[str, str] = os.environ) -> str | None:
    """What to say where several processes were asked for and none of them knows of the others; None where all is well.

    Each of them trains the whole global batch, so that the figures are right and nothing is gained.
    """
    if expected_processes(environment) > 1:
        return None
    if environment.get("ACCELERATE_USE_CPU", "").lower() == "true" and "MASTER_ADDR" in environment:
        return (
            "accelerate launch was asked for several processes and started one: with --cpu it knows no more without MPI; "
            "torchrun --nproc_per_node N -m idemlab run ... starts N, on a CPU too"
        )
    copies = environment.get("SLURM_STEP_NUM_TASKS", "1")
    if copies.isdecimal() and int(copies) > 1:
        return (
            f"srun started this command {copies} times, and none of them knows of the others: "
            "let srun start one torchrun a node, see docs/distribution.md"
        )
    return None


# -- parameters that are shared out -----------------------------------------------------------------------------------
# Told by what they can do: the import of torch's classes takes a second, which every command would wait for.


class Stateful(Protocol):
    """What has a state that a checkpoint keeps: a module, an optimiser, or `Whole` of one."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


def whole(t: Tensor) -> Tensor:
    """A tensor as one process would hold it. Of a tensor that is shared out this gathers: all processes must ask."""
    return t.full_tensor() if _shared_out(t) else t  # type: ignore[attr-defined]


def _shared_out(t: Tensor) -> bool:
    return hasattr(t, "full_tensor")


def put(target: Tensor, value: Tensor) -> None:
    """Write a whole value into a tensor; where that is shared out, each process keeps its share."""
    target.copy_(_share(value, target))


def shard_all(module: nn.Module) -> None:
    """Leave no parameter of an FSDP2 module gathered, so that what is written into its parameters is kept."""
    for part in module.modules():
        if hasattr(part, "reshard"):
            part.reshard()  # type: ignore[operator]


def unfuse(optimizer: torch.optim.Optimizer) -> None:
    """Have it do without the fused kernels that torch does not have for parameters that are shared out: all but Adam's."""
    if not isinstance(optimizer, (torch.optim.Adam, torch.optim.AdamW)):
        for group in optimizer.param_groups:
            if group.get("fused"):
                group["fused"] = False


class Whole:
    """A module or an optimiser whose parameters are shared out, seen as one process would have it.

    Making one gathers its state: all processes must, however few of them use it.
    """

    def __init__(self, thing: nn.Module | torch.optim.Optimizer) -> None:
        self._thing = thing
        self._state: dict[str, Any] = _mapped(thing.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """The state, whole."""
        return self._state

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Take over a whole state; each process keeps its share."""
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
    """A nested state with all tensors whole, gathered in one order everywhere."""
    if isinstance(tree, Tensor):
        return whole(tree)
    if isinstance(tree, dict):
        return {key: _mapped(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(_mapped(item) for item in tree)
    return tree


def _share(value: Any, like: Tensor) -> Any:
    """This process's share of a whole tensor, cut as `like` is; what is of another shape is nobody's share."""
    if not (_shared_out(like) and isinstance(value, Tensor) and value.shape == like.shape):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    value = value.to(like.device)
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)
