"""Refuse experiments whose results would change when the global batch is split over processes or micro-batches.

docs/distribution.md lists the refusals; a test compares the two.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..catalog.named import Named
from ..contracts.dataset import Batch
from ..contracts.specs import Traits
from ..contracts.step import Step
from ..errors import BadInput
from ..experiment.experiment import Experiment
from ..wording import counted
from .engines import Engine
from .modules import copied
from .objective import Objective

__all__ = ["ENTRY_BY_ENTRY", "check_buffers", "check_combination", "check_coupling", "check_gradients"]

ENTRY_BY_ENTRY = {
    "adadelta",
    "adam",
    "adamax",
    "adamw",
    "asgd",
    "nadam",
    "radam",
    "rmsprop",
    "sgd",
}
"""Optimisers that update each entry of a tensor by itself, so that they work on sharded parameters. Adagrad is one of them
but creates its state before the parameters are sharded; torch refuses Rprop's kernels."""


_TABLES = {"operator": "[model]", "enforcer": "[enforcer]", "sources": "[source]", "corruption": "[reconstruction]"}
"""Where an experiment names the parts of the objective."""


def check_combination(experiment: Experiment, traits: Traits, objective: Objective, engine: Engine) -> None:
    """Refuse combinations of experiment, model, enforcer and engine that are known to fail, without running a batch.

    Raises:
        BadInput: names the combination and a way out.
    """
    training, name, operator = experiment.training, experiment.enforcer.name, objective.operator
    parts = engine.world * training.micro_batches
    if training.batch_size % parts:
        near = max(training.batch_size // parts, 1) * parts
        raise BadInput(
            f"batch_size {training.batch_size} cannot be cut into equal parts "
            f"for {counted(engine.world, 'process', 'processes')} and {training.micro_batches} micro-batches",
            where="[training], key 'batch_size'",
            expected=f"a multiple of {parts}",
            next_step=f"set training.batch_size = {near}",
        )
    if parts > 1 and not experiment.enforcer.declares_traits:
        raise BadInput(
            f"{experiment.enforcer} does not say whether it couples the samples of a batch, "
            f"and each batch is cut into {parts} parts",
            where=str(experiment.enforcer.plugin),
            expected="an attribute `traits` of its class",
            next_step="write traits = idemlab.Traits() into the class, or idemlab.Traits(batch_coupled=True)",
        )
    if traits.batch_coupled and training.micro_batches > 1:
        raise BadInput(
            f"enforcer '{name}' couples the samples of a batch, so cutting the batch into micro-batches changes its loss",
            where="[training], key 'micro_batches'",
            next_step="set training.micro_batches = 1, with a smaller batch_size or more processes",
        )
    if traits.needs_double_backward and engine.sharded:
        raise BadInput(
            f"enforcer '{name}' differentiates twice, which FSDP2 cannot do",
            where="[enforcer] and the launcher",
            next_step="train through DDP instead of FSDP2",
        )
    if engine.sharded and experiment.optimizer.name.lower() not in ENTRY_BY_ENTRY:
        raise BadInput(
            f"optimizer '{experiment.optimizer.name}' does not work on parameters that FSDP2 shards",
            where="[optimizer], key 'name'",
            choices=sorted(ENTRY_BY_ENTRY),
            next_step="train through DDP instead of FSDP2, or set optimizer.name = adamw",
        )
    uncut = [n for n, p in objective.named_parameters() if p.ndim == 0 or not p.is_contiguous()]
    if engine.sharded and uncut:
        part, _, parameter = uncut[0].partition(".")
        raise BadInput(
            f"parameter '{parameter}' is a scalar or not contiguous in memory, which FSDP2 cannot shard",
            where=f"{_TABLES[part]} and the launcher",
            expected="parameters of one or more dimensions, contiguous in memory",
            next_step="train through DDP, or change that parameter: shape [1] for a scalar, .contiguous() for others",
        )
    norms = {n: m for n, m in operator.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    if norms and training.micro_batches > 1:
        raise BadInput(
            f"model '{experiment.model.name}' has batch statistics ('{next(iter(norms))}' and {len(norms) - 1} more), "
            "which micro-batches change",
            where="[training], key 'micro_batches', and [model]",
            next_step=f"set training.micro_batches = 1, or {without_batch_norm(experiment.model)}",
        )
    own = [n for n, m in norms.items() if not isinstance(m, nn.SyncBatchNorm)]
    if own and engine.world > 1:
        raise BadInput(
            f"model '{experiment.model.name}' has batch statistics ('{own[0]}' and {len(own) - 1} more), "
            "which would differ between processes",
            where="[model] and the launcher",
            next_step=f"train in one process, {without_batch_norm(experiment.model)}, or on GPUs use torch.nn.SyncBatchNorm",
        )


def without_batch_norm(model: Named) -> str:
    """How to do without batch statistics in a model, for the next step of a message."""
    if model.arguments.get("norm") == "batch":
        return "set model.norm = group"
    return "put torch.nn.GroupNorm in the place of batch normalisation in the model"


def check_coupling(experiment: Experiment, traits: Traits, step: Step, engine: Engine) -> None:
    """Refuse an enforcer that couples samples but did not average over all processes in the trial step.

    Raises:
        BadInput: if it did not call `Step.mean`.
    """
    if traits.batch_coupled and engine.world > 1 and not step.shared:
        raise BadInput(
            f"enforcer '{experiment.enforcer.name}' couples the samples of a batch, but only within each process",
            where="[enforcer] and the launcher",
            expected="an enforcer that averages over the batch with Step.mean",
            next_step="train in one process, or ask the authors of the enforcer",
        )


def check_buffers(experiment: Experiment, objective: Objective, batch: Batch, engine: Engine) -> None:
    """Refuse a model or enforcer whose buffers, after a training forward, depend on how the batch is split.

    Raises:
        BadInput: names the buffer.
    """
    micros = experiment.training.micro_batches
    if engine.world == 1 and micros == 1:
        return
    half = (len(batch) + 1) // 2
    before = _buffers(objective)
    one = _buffers_after(objective, batch.rows(slice(0, half)), 0)
    other = _buffers_after(objective, batch.rows(slice(len(batch) - half, None)), 1)
    changed = [name for name in before if not before[name].equal(one[name])]
    if changed and micros > 1:
        raise BadInput(
            f"buffer '{changed[0]}' changes in every forward, so {micros} times a step with {micros} micro-batches",
            where="[training], key 'micro_batches', and [model]",
            next_step="set training.micro_batches = 1, with a smaller batch_size or more processes",
        )
    # Only the operator's buffers: an enforcer can average over processes by Step.mean, an operator cannot.
    apart = [name for name in changed if name.startswith("operator.") and not one[name].equal(other[name])]
    synchronous = [f"operator.{n}" for n, m in objective.operator.named_modules() if isinstance(m, nn.SyncBatchNorm)]
    apart = [name for name in apart if name.rpartition(".")[0] not in synchronous]
    if apart and engine.world > 1:
        raise BadInput(
            f"buffer '{apart[0]}' depends on the samples that it has seen, and these differ between processes",
            where="[model] and the launcher",
            next_step="train in one process, or choose a model without this buffer",
        )


def check_gradients(objective: Objective, engine: Engine) -> None:
    """Refuse, under DDP, a model of which some parameters have no gradient after the first backward.

    Raises:
        BadInput: names one of these parameters.
    """
    trained = {name: p for name, p in objective.named_parameters() if p.requires_grad}
    without = [name for name, p in trained.items() if p.grad is None]
    if engine.world > 1 and not engine.sharded and 0 < len(without) < len(trained):
        raise BadInput(
            f"parameter '{without[0]}' gets no gradient, but DDP waits for the gradient of every parameter",
            where=f"[model]; {len(without) - 1} more of {len(trained)}",
            next_step="freeze it in the model (requires_grad_(False)), or train in one process",
        )


def _buffers(objective: Objective) -> dict[str, Tensor]:
    """The buffers of operator and enforcer. Those of sources are computed for the global batch in every process."""
    named = objective.named_buffers()
    return {name: t.detach().clone() for name, t in named if name.startswith(("operator.", "enforcer."))}


def _buffers_after(objective: Objective, batch: Batch, index: int) -> dict[str, Tensor]:
    """The buffers after one training forward of a copy, with draws that differ by `index`."""
    tried = copied(objective)
    tried(batch, Step(index=index, purpose="preflight"))
    return _buffers(tried)
