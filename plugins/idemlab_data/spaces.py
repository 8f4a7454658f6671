"""Where a source compares points with samples: in pixels, in the operator's code, or in fixed features of the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from idemlab import BadInput, Dataset, Operator, generator, principal_components

__all__ = ["Space", "SpaceName"]

SpaceName = Literal["pixels", "code", "pca", "coarse"]

_ROWS, _COMPONENTS, _BLOCK = 2000, 64, 4


class Space(nn.Module):
    """Points [N, *shape] -> what distances are measured in, [N, n].

    `pixels`: the points themselves. `code`: what the operator's `encode` gives. `pca`: 64 leading principal components of
    2000 training samples. `coarse`: means over blocks of 4 x 4 pixels, which small shifts hardly change.

    Args:
        name: one of these.
    """

    components: Tensor

    def __init__(self, name: SpaceName) -> None:
        super().__init__()
        self.name = name
        if name == "pca":
            self.register_buffer("components", torch.zeros(0))

    def fit(self, dataset: Dataset) -> None:
        """Learn the components.

        Raises:
            BadInput: if blocks of pixels are requested and the samples are not images, or too small.
        """
        shape = dataset.shape
        if self.name == "coarse" and (len(shape) != 3 or min(shape[1:]) < 2 * _BLOCK):
            raise BadInput(
                f"samples of shape {list(shape)} have no blocks of {_BLOCK} x {_BLOCK} pixels to compare",
                where="[source], key 'cost'",
                next_step="set 'cost' of the source to pixels, or to pca",
            )
        if self.name == "pca":
            chosen = torch.randperm(len(dataset.train), generator=generator("components"))[:_ROWS]
            batch = dataset.train.__getitems__(chosen.tolist()).to("cpu", torch.float32, dataset.range)
            _, components = principal_components(batch.target.flatten(1).double(), _COMPONENTS)
            self.components = components.to(self.components)

    def encoder(self, operator: Operator) -> Callable[[Tensor], Tensor] | None:
        """What must be called on the points first, or None.

        Raises:
            BadInput: if it is `encode`, and the operator has no such method.
        """
        if self.name != "code":
            return None
        encode = getattr(operator, "encode", None)
        if not callable(encode):
            raise BadInput(
                "the source compares codes, and the operator has no method 'encode'",
                where="[source], key 'cost', and [model]",
                next_step="choose a model that encodes, such as 'autoencoder', or set 'cost' of the source to pixels",
            )
        return encode  # type: ignore[no-any-return]

    def forward(self, points: Tensor) -> Tensor:
        """Points, or their codes, as rows."""
        if self.name == "coarse":
            points = nn.functional.avg_pool2d(points, _BLOCK)
        flat = points.flatten(1)
        return flat @ self.components if self.name == "pca" else flat
