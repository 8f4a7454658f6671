"""Whether a model tells the true shape of a sample, which constructions around it rely on."""

from __future__ import annotations

from idemlab import BadInput, Dataset

__all__ = ["check_shape"]


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
