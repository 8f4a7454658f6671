"""Features without training: histograms of oriented gradients, in their leading principal components."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor, nn

from idemlab import BadInput, Dataset, principal_components

from .rows import representative

__all__ = ["Hog", "oriented_gradients"]

_ROWS, _COMPONENTS = 2000, 64
_ANGLES, _CELL, _LEAST = 8, 4, 8
_CHUNK = 500


class Hog:
    """Images [B, C, H, W] -> the 64 leading principal components of their oriented gradients, [B, 64].

    A second opinion beside the classifier's: no labels, no weights and no training, but for the components, which are those
    of 2000 training samples. Gradients are what strokes consist of: in them a blurred, a faint and a broken digit each
    differ from a sharp one, and a small shift changes little (Dalal & Triggs 2005). Cells are not normalised, so that
    contrast counts. Distances are in the data's own scale.

    The nearest of 2400 MNIST digits has the right class for 96.9 % of 800 others in these features, and for 93.5 % in
    `pca`.

    Raises:
        BadInput: if the data are no images of at least 8 x 8 pixels.
    """

    def __init__(self, dataset: Dataset) -> None:
        shape = dataset.shape
        if len(shape) != 3 or min(shape[1:]) < _LEAST:
            raise BadInput(
                f"features = 'hog' need images of at least {_LEAST} x {_LEAST} pixels, and samples have shape {list(shape)}",
                next_step="take features = 'pca', which any data have",
            )
        self._dataset = dataset

    @property
    def name(self) -> str:
        """For instance ``hog-64``."""
        return f"hog-{self._fitted[1].shape[1]}"

    @property
    def facts(self) -> dict[str, float]:
        """None: there is nothing to get wrong."""
        return {}

    def __call__(self, points: Tensor) -> Tensor:
        mean, components = self._fitted
        parts = [oriented_gradients(part).cpu().double() for part in points.split(_CHUNK)]  # type: ignore[no-untyped-call]
        return (torch.cat(parts) - mean) @ components

    @cached_property
    def _fitted(self) -> tuple[Tensor, Tensor]:
        rows = self._dataset.train
        indices = representative(len(rows), _ROWS)
        parts = [
            rows.__getitems__(indices[start : start + _CHUNK]).to("cpu", torch.float32, self._dataset.range)
            for start in range(0, len(indices), _CHUNK)
        ]
        gradients = torch.cat([oriented_gradients(part.target) for part in parts])
        return principal_components(gradients.double(), _COMPONENTS)


def oriented_gradients(images: Tensor) -> Tensor:
    """Lengths of the gradients of images [B, C, H, W] by direction and place, [B, C * 8 * cells].

    The gradient of a pixel is half the difference of its neighbours, those beyond the border being equal to it. Its length
    is shared between the two nearest of eight directions around the circle, in proportion to its angle, and averaged over
    overlapping cells of eight pixels that are four apart.
    """
    x = images.float()
    wide = nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
    down = (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2
    right = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2
    length = torch.hypot(down, right)
    turn = torch.atan2(down, right) * (_ANGLES / (2 * math.pi)) % _ANGLES
    directions = torch.arange(_ANGLES, device=x.device).view(_ANGLES, 1, 1)
    away = (turn.unsqueeze(2) - directions).abs()
    shares = (1 - torch.minimum(away, _ANGLES - away)).clamp_min(0) * length.unsqueeze(2)  # [B, C, 8, H, W]
    cells = nn.functional.avg_pool2d(shares.flatten(1, 2), 2 * _CELL, _CELL, _CELL // 2)
    return cells.flatten(1)
