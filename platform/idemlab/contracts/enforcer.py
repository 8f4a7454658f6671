"""The contract of an enforcer, its return value, and the distances for its losses.

Shapes: B samples of shape `*shape`; n = number of entries of one sample; per-sample quantities are [B].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from .orbit import Operator, Orbit
from .step import Step

__all__ = [
    "DISTANCES",
    "Distance",
    "Enforcement",
    "Enforcer",
    "follows_training",
    "half_squared_distance",
    "l1",
    "l2",
    "rows",
]

Distance = Callable[[Tensor, Tensor], Tensor]
"""(a [B, *shape], b [B, *shape]) -> [B]."""


def rows(difference: Tensor) -> Tensor:
    """[B, *shape] -> [B, n], in single precision at least, so that sums over n are accurate under bf16."""
    flat = difference.flatten(1)
    return flat.float() if flat.element_size() < 4 else flat


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of each sample, [B]."""
    return rows(a - b).abs().mean(1)


def l2(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of each sample, [B]."""
    return rows(a - b).square().mean(1)


def half_squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """1/2 |a - b|^2 of each sample, [B]: its gradient at a is a - b."""
    return 0.5 * rows(a - b).square().sum(1)


DISTANCES: dict[str, Distance] = {"l1": l1, "l2": l2}


@dataclass(frozen=True)
class Enforcement:
    """The loss of one batch, and values to log with it.

    Args:
        loss: per sample, [B], or None where there is nothing to differentiate. The objective takes the mean over the
            batch; a batch-coupled enforcer expands its scalar to [B].
        reported: further measured values to log, each [B]. The objective itself reports the idempotence error.
    """

    loss: Tensor | None = None
    reported: Mapping[str, Tensor] = field(default_factory=dict)


class Enforcer(nn.Module):
    """Base of all enforcers: override what the kinds in its traits need.

    loss and gradient substitution: `forward`; weight projection: `project`; architecture: `wrap`.
    An enforcer is a module, so that its state moves between devices and is checkpointed. Create state that depends on the
    operator in `on_start`, and update it in `after_step`.
    """

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        """The loss at one batch of points. The orbit is lazy: use as few of its points as possible."""
        return Enforcement()

    def project(self, matrix: Tensor) -> Tensor:
        """One projection step on square matrices [..., n, n]. Returns new matrices and leaves the given ones unchanged."""
        return matrix

    def wrap(self, operator: Operator) -> Operator:
        """The operator made idempotent by construction; the operator itself for the other kinds."""
        return operator

    def on_start(self, operator: Operator) -> None:
        """Called once when training starts, before the first step; on resuming, before the state is loaded.

        The operator is on its device, in its precision, and not sharded yet. Create here what is trained, saved and resumed
        with the enforcer: a copy of the operator, say, as a submodule whose parameters have `requires_grad_(False)`.
        Parameters that keep their gradient are trained together with the operator's.

        The default calls `on_start` of the enforcers inside this one. An enforcer that contains others and overrides this
        method calls `super().on_start(operator)`.
        """
        for member in _members(self):
            member.on_start(operator)

    def after_step(self, operator: Operator, step: Step) -> None:
        """Called without gradient after each optimiser step, and after the weight projection if there is one.

        An enforcer may change its own state here, and read the operator's parameters and buffers. Update entry by entry,
        pairing the copy's parameters with the operator's in order: FSDP2 shards both alike, and each process sees and
        changes its own shard. Do not call the operator or the copy here: under FSDP2 they work only in `forward`. Every
        process must make the same change to state that is not sharded.

        `step` carries the index and the progress of the finished step, and its draws are the same in every process. The
        default calls `after_step` of the enforcers inside this one.
        """
        for member in _members(self):
            member.after_step(operator, step)


def follows_training(enforcer: Enforcer) -> bool:
    """Whether an enforcer, or one inside it, overrides `on_start` or `after_step`: its state depends on earlier steps."""
    return any(
        type(module).on_start is not Enforcer.on_start or type(module).after_step is not Enforcer.after_step
        for module in enforcer.modules()
        if isinstance(module, Enforcer)
    )


def _members(module: nn.Module) -> Iterator[Enforcer]:
    """The outermost enforcers inside a module, also in lists and other plain modules."""
    for child in module.children():
        if isinstance(child, Enforcer):
            yield child
        else:
            yield from _members(child)
