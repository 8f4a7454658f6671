"""Accelerate as the trainer starts it, and the engine it stands for."""

from __future__ import annotations

import torch
from accelerate import Accelerator, DistributedType
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin

from ..errors import BadInput, Failure
from ..experiment.experiment import Experiment
from ..objective.engines import DDP, FSDP2, Engine, Single, expected_processes
from ..runs.run import Run

__all__ = ["start_engine"]


def start_engine(experiment: Experiment, run: Run) -> tuple[Accelerator, Engine]:
    """Accelerate and its engine, with as many processes as the launcher says.

    Raises:
        BadInput: if the launcher was told of an engine that a run cannot use.
        Failure: if the processes do not find each other.
    """
    AcceleratorState._reset_state()  # so that runs of different precision may follow each other in one process
    asked, found = expected_processes(), torch.accelerator.current_accelerator()
    accelerator = Accelerator(
        mixed_precision="bf16" if experiment.training.precision == "bf16" else "no",
        # Without a device that several processes can share, Accelerate would let each train alone unless told of the CPU.
        cpu=asked > 1 and (found is None or found.type == "mps"),
        # The experiment says how the batch is cut; what a launcher sets in the environment would scale the loss too.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        log_with=list(experiment.training.trackers) or None,
        project_dir=str(run.path),
    )
    kind = accelerator.distributed_type
    sharded = kind == DistributedType.FSDP
    if kind in (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM) or (sharded and not accelerator.is_fsdp2):
        raise BadInput(
            f"idemlab does not train through {'FSDP1' if sharded else kind.value}",
            where="what accelerate launch was told, or its configuration file",
            expected="one process, DDP or FSDP2",
            next_step="start it as docs/distribution.md shows",
        )
    world, rank = accelerator.num_processes, accelerator.process_index
    if world != asked:
        raise Failure(
            f"the launcher says there are {asked} processes, but Accelerate found {world}",
            where=f"this is process {rank}, on {accelerator.device}",
            next_step="start the processes with torchrun",
        )
    engine = FSDP2 if sharded else DDP if world > 1 else Single
    return accelerator, engine(accelerator.device, world=world, rank=rank)
