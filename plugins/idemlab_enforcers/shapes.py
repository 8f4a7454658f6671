"""What constructions around a model check of the shape of a sample, which the model tells, and of their rank."""

from __future__ import annotations

from idemlab import BadInput, Dataset, Operator

__all__ = ["check_rank", "check_shape", "shape_of"]


def shape_of(enforcer: str, operator: Operator) -> tuple[int, ...]:
    """The shape of a sample, which a model tells by its attribute `shape`.

    Raises:
        BadInput: if it does not.
    """
    shape = getattr(operator, "shape", None)
    if not isinstance(shape, tuple):
        raise BadInput(
            f"enforcer '{enforcer}' must know the shape of a sample, which {type(operator).__name__} does not tell",
            expected="the attribute 'shape' of the model, a tuple such as (1, 28, 28)",
            next_step="assign it where the model is made: model.shape = (1, 28, 28)",
        )
    return shape


def check_shape(enforcer: str, shape: tuple[int, ...], dataset: Dataset) -> None:
    """Refuse a model whose attribute `shape` is not that of the samples.

    Raises:
        BadInput: names both shapes.
    """
    if tuple(shape) != tuple(dataset.shape):
        raise BadInput(
            f"enforcer '{enforcer}' takes the shape of a sample from the model, whose attribute 'shape' is {list(shape)}, "
            f"and samples have the shape {list(dataset.shape)}",
            where="[model] and [dataset]",
            next_step=f"correct the attribute: model.shape = {tuple(dataset.shape)}",
        )


def check_rank(enforcer: str, rank: int | None, n: int) -> None:
    """Refuse to keep r coordinates of a sample of n numbers where none would be left out; None is a rank that is learned.

    Raises:
        BadInput: names a rank, or says that there is none.
    """
    if n == 1:
        raise BadInput(
            f"enforcer '{enforcer}' has nothing to train on samples of a single number",
            where="[enforcer] and [dataset]",
            expected="samples of at least 2 numbers",
            next_step="choose another enforcer: idemlab list enforcers",
        )
    if rank is not None and rank >= n:
        raise BadInput(
            f"enforcer '{enforcer}' cannot keep {rank} coordinates of samples of {n} numbers"
            + (": f would be the identity, whatever the weights" if rank == n else ""),
            where=f"enforcer '{enforcer}', key 'rank'",
            expected=f"a whole number from 1 to {n - 1}",
            next_step=f"choose a lower rank of '{enforcer}', {max(n // 4, 1)} for instance",
        )
