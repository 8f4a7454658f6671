"""The sample shapes that a model supports, and the messages for all others."""

from __future__ import annotations

import math

from idemlab import BadInput

__all__ = ["checked_shape", "image_sizes"]


def checked_shape(model: str, shape: tuple[int, ...]) -> int:
    """How many numbers a sample of this shape has.

    Raises:
        BadInput: if it has no dimension, or an empty one.
    """
    if not shape or min(shape) < 1:
        raise BadInput(
            f"model '{model}' cannot take samples of shape {tuple(shape)}",
            expected="at least one dimension, each of size 1 or more, for instance (16,) or (1, 28, 28)",
            next_step="check the shape of the data set",
        )
    return math.prod(shape)


def image_sizes(model: str, shape: tuple[int, ...], factor: int, reason: str, argument: str) -> tuple[int, int, int]:
    """(C, H, W) of an image whose sides must be multiples of `factor`, for a `reason`; `argument` sets the factor.

    Raises:
        BadInput: if it is no image, or a side is no such multiple; names sizes that work.
    """
    checked_shape(model, shape)
    expected = f"(C, H, W) with H and W multiples of {factor} ({reason})"
    if len(shape) != 3:
        raise BadInput(
            f"model '{model}' works on images, not on samples of shape {tuple(shape)}",
            expected=expected,
            next_step="take an image data set, or model 'mlp', which works on any shape",
        )
    C, H, W = shape
    if H % factor or W % factor:
        up = tuple(math.ceil(side / factor) * factor for side in (H, W))
        raise BadInput(
            f"model '{model}' cannot take images of {H}x{W}",
            expected=f"{expected}, for instance {up[0]}x{up[1]}",
            next_step=f"resize or pad the images, or set '{argument}' to suit them",
        )
    return C, H, W
