"""The condition of the models that take one: a learned vector for each class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from idemlab import BadInput

__all__ = ["Layers", "label_vectors", "vectors"]


class Layers(nn.Sequential):
    """Layers in turn. `added`, if given, joins what the first `after` of them make."""

    def __init__(self, *layers: nn.Module, after: int = 1) -> None:
        super().__init__(*layers)
        self._after = after

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        for number, layer in enumerate(self, start=1):
            x = layer(x)
            if added is not None and number == self._after:
                x = x + added
        return x


def label_vectors(classes: int | None, width: int) -> nn.Embedding | None:
    """A vector for each class; None for a network without condition, which draws nothing then."""
    return None if classes is None else nn.Embedding(classes, width)


def vectors(label: nn.Embedding | None, condition: Tensor | None, x: Tensor) -> Tensor | None:
    """The vectors of the classes of the samples x, [B, width]; None in a network without condition.

    Args:
        condition: class numbers [B], whole numbers from 0.

    Raises:
        BadInput: if there is a condition too many or too few, of another shape or type, or a class that there is not.
    """
    if label is None:
        if condition is not None:
            raise BadInput(
                "this operator takes no condition",
                expected="f(x)",
                next_step="leave the condition out, or train with one",
            )
        return None
    if condition is None:
        raise BadInput("this operator takes a condition, and got none", expected=_expected(label, x))
    whole = not (condition.is_floating_point() or condition.is_complex() or condition.dtype == torch.bool)
    if not whole or condition.shape != x.shape[:1]:
        kind = str(condition.dtype).removeprefix("torch.")
        raise BadInput(
            f"the condition has the shape {list(condition.shape)} and the type {kind}",
            expected=_expected(label, x),
        )
    try:
        return label(condition.long())  # type: ignore[no-any-return]
    except IndexError as error:
        raise BadInput(
            f"the condition has a class below 0 or above {label.num_embeddings - 1}", expected=_expected(label, x)
        ) from error


def _expected(label: nn.Embedding, x: Tensor) -> str:
    return f"f(x, c) with c [{len(x)}], one class number from 0 to {label.num_embeddings - 1} for each sample"
