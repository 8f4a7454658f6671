"""Checks the arguments of `certify`, and makes f a map from the space of x to itself."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from ..contracts.orbit import applied
from ..wording import counted, plural

Map = Callable[..., Tensor]
"""f(x), or f(x, condition) where there is a condition."""


def check_arguments(f: Any, x: Any, condition: Any, *, depth: Any, rank_points: Any, batch_size: Any) -> None:
    """Refuse what `certify` cannot measure, with what to give instead."""
    if isinstance(f, type) or not callable(f):
        what = f"the class {f.__name__}: call it, {f.__name__}(...)?" if isinstance(f, type) else type(f).__name__
        raise ValueError(f"certify needs a module or a function as f, got {what}")
    for name, count, least in (("depth", depth, 1), ("rank_points", rank_points, 0), ("batch_size", batch_size, 1)):
        if not isinstance(count, Integral) or count < least:
            raise ValueError(f"certify needs a whole number of at least {least} as {name}, got {count!r}")
    for name, given in (("inputs", x), ("condition", condition)):
        if not isinstance(given, Tensor) and not (name == "condition" and given is None):
            raise ValueError(f"certify needs a tensor as {name}, got {type(given).__name__}: torch.as_tensor(...)?")
    if x.layout is not torch.strided:
        raise ValueError("certify needs dense inputs, got a sparse tensor: x.to_dense()?")
    if x.is_meta:
        raise ValueError("certify needs inputs with values, and these lie on the meta device")
    if x.ndim == 0 or len(x) < 2:
        raise ValueError(
            f"certify needs at least 2 inputs to measure a spread, got {len(x) if x.ndim else 'one number'}"
        )
    if x[0].numel() == 0:
        raise ValueError(f"certify needs inputs with entries, got the shape {tuple(x.shape)}")
    if condition is not None and (condition.ndim == 0 or len(condition) != len(x)):
        raise ValueError(
            f"certify needs one condition for each of {counted(len(x), 'input')}, got the shape {tuple(condition.shape)}"
        )
    known = x.dtype.is_floating_point or x.dtype in (torch.complex64, torch.complex128)
    if not known or torch.finfo(x.dtype).bits < 16:
        name = str(x.dtype).removeprefix("torch.")
        raise ValueError(
            f"certify needs inputs in floating point of at least 16 bits, or complex; got {name}. Use x.float()"
        )
    bad = (~x.isfinite()).reshape(len(x), -1).any(1)
    if bad.any():
        raise ValueError(
            f"certify needs finite inputs; {int(bad.sum())} of the {counted(len(x), 'input')} in x "
            f"{plural(int(bad.sum()), 'is', 'are')} not, x[{int(bad.nonzero()[0])}] is the first"
        )


class Kept:
    """f as a map from the space of x to itself: checks the shape of outputs and converts them to the precision of x."""

    def __init__(self, f: Map, x: Tensor) -> None:
        self._f = f
        self._x = x
        self.remark = ""
        kind = x.device.type
        mixed = [torch.get_autocast_dtype(kind)] if torch.is_autocast_enabled(kind) else []
        self.eps = max(torch.finfo(dtype).eps for dtype in (x.dtype, *mixed))

    def __call__(self, y: Tensor, condition: Tensor | None = None) -> Tensor:
        out: Any = applied(self._f, y, condition)
        if not isinstance(out, Tensor):
            if not hasattr(out, "__array__"):
                raise ValueError(f"an operator returns a tensor, got {type(out).__name__}")
            out = torch.as_tensor(out)
        if out.shape != y.shape:
            if out.ndim and out.shape[1:] == y.shape[1:]:
                raise ValueError(f"an operator returns a point for each of its inputs: {len(y)} became {len(out)}")
            was, became = tuple(self._x.shape), (len(self._x), *out.shape[1:]) if out.ndim else ()
            raise ValueError(f"an operator keeps the shape of its input: {was} became {became}")
        if out.is_complex() and not y.is_complex():
            raise ValueError("an operator keeps the space of its input: real became complex. Make the inputs complex")
        if out.dtype != y.dtype:
            got, own = (str(dtype).removeprefix("torch.") for dtype in (out.dtype, y.dtype))
            self.remark = f"f returns {got} for inputs in {own}: its values were converted to {own}"
            if out.is_floating_point():
                self.eps = max(self.eps, torch.finfo(out.dtype).eps)
        kept: Tensor = out.to(y).resolve_conj().resolve_neg()  # a lazy conjugate has no memory to take apart
        return kept
