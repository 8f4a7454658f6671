"""Starts Accelerate, and chooses the engine for it."""

from __future__ import annotations

import torch
from accelerate import Accelerator, DistributedType
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin

from ..errors import BadInput, Failure
from ..experiment.experiment import Experiment
from ..objective.engines import DDP, FSDP2, Engine, Single, expected_processes
from ..runs.run import Run
from ..system.neighbours import Neighbours, crowded
from ..wording import counted
from .trackers import chosen_trackers

__all__ = ["competition", "start_engine"]


def start_engine(experiment: Experiment, run: Run) -> tuple[Accelerator, Engine]:
    """(Accelerate, its engine), with the number of processes that the launcher set.

    Raises:
        BadInput: if the launcher asks for an engine that idemlab does not support.
        Failure: if the processes do not find each other.
    """
    AcceleratorState._reset_state()  # so that runs of different precision may follow each other in one process
    asked, found = expected_processes(), torch.accelerator.current_accelerator()
    accelerator = Accelerator(
        mixed_precision="bf16" if experiment.training.precision == "bf16" else "no",
        # Without a device for several processes, Accelerate would let each train alone. On the CPU they train together.
        cpu=asked > 1 and (found is None or found.type == "mps"),
        # The experiment says how the batch is cut. A launcher's setting would also scale the loss.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        log_with=chosen_trackers(experiment) or None,
        project_dir=str(run.path),
    )
    kind = accelerator.distributed_type
    sharded = kind == DistributedType.FSDP
    if kind in (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM) or (sharded and not accelerator.is_fsdp2):
        raise BadInput(
            f"idemlab does not train through {'FSDP1' if sharded else kind.value}",
            where="the arguments of accelerate launch, or its configuration file",
            expected="one process, DDP or FSDP2",
            next_step="start it as docs/distribution.md shows",
        )
    world, rank = accelerator.num_processes, accelerator.process_index
    if world != asked:
        raise Failure(
            f"the launcher says {counted(asked, 'process', 'processes')}, but Accelerate found {world}",
            where=f"this is process {rank}, on {accelerator.device}",
            next_step="start the processes with torchrun",
        )
    engine = FSDP2 if sharded else DDP if world > 1 else Single
    return accelerator, engine(accelerator.device, world=world, rank=rank)


def competition(engine: Engine, beside: Neighbours) -> str:
    """What a process that trains alone on a CPU is told if other programs need its cores; empty otherwise."""
    if not engine.alone or engine.device.type != "cpu":
        return ""
    return crowded(torch.get_num_threads(), beside.busy(), beside.cores)
