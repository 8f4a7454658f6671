"""Do codes survive decoding and encoding? The condition for rounded codes to be idempotent."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from idemlab import Batch, Metric, Orbit

__all__ = ["CodesThatStay"]


class CodesThatStay(Metric):
    """Rounds the codes of x, decodes and encodes them, and compares.

    `codes_that_stay` [B]: 1 where every entry of the code rounds to where it was, else 0. Over the set, `code_error`: the
    largest |encode(decode(q)) - q| of an entry, in cells; below 1/2 every code stays.

    Args:
        cell: distance of the rounded codes in each entry.
    """

    def __init__(self, cell: float) -> None:
        self._cell = cell
        self._largest = -math.inf

    def __call__(self, orbit: Orbit, batch: Batch) -> dict[str, Tensor]:
        # A model that rounds its codes itself gives them before that, too: after it, no error would be seen.
        encode = "unrounded" if orbit.offers("unrounded") else "encode"
        code = self._cell * torch.round(orbit.call(encode, orbit.input) / self._cell)
        again = orbit.call(encode, orbit.call("decode", code))
        error = (again - code).flatten(1).abs().amax(1) / self._cell
        self._largest = max(self._largest, float(error.max()))
        return {"codes_that_stay": (error < 0.5).to(error.dtype)}

    def compute(self) -> dict[str, float]:
        largest, self._largest = self._largest, -math.inf
        return {"code_error": largest} if largest > -math.inf else {}
