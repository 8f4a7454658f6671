"""The union of the images of f(., c) over the classes c: an operator f(x) that needs no class."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from idemlab import BadInput, Batch, Dataset, Enforcer, Operator, l2, rows

from .shapes import check_shape, shape_of

__all__ = ["Union", "United"]

_POINTS = 1024
"""Standard normal inputs at which the classes are balanced."""
_CHUNK = 128
"""Of these inputs, how many go through the operator at once."""
_SEED = 20261129
"""Of these inputs: not that of a run, whose weights may be drawn from the same numbers."""
_ROWS = 8192
"""Training samples, evenly spaced, whose classes give the share of each class."""
_ROUNDS = 500
"""Of the balancing. Its steps fall from `_STEP` to a hundredth of it."""
_STEP = 0.3


class Union(Enforcer):
    """Wraps an operator f(x, c) into `United`. There is no loss.

    Args:
        balanced: whether the classes are balanced at noise.
    """

    def __init__(self, balanced: bool) -> None:
        super().__init__()
        self._balanced = balanced

    def wrap(self, operator: Operator) -> Operator:
        """The operator, whose condition may be left out.

        Raises:
            BadInput: if it has no classes, or does not tell the shape of a sample.
        """
        classes = getattr(operator, "classes", None)
        if not isinstance(classes, int):
            raise BadInput(
                "enforcer 'union' needs an operator f(x, c) with classes c, and this one tells none",
                where="[enforcer] and [dataset], key 'condition'",
                expected="data with classes or clusters as the condition, and a model that takes them; a model of your own "
                "tells their number by its attribute 'classes'",
                next_step="set dataset.condition = training, or clusters for data without labels",
            )
        return United(operator, shape_of("union", operator), classes, balanced=self._balanced)


class United(nn.Module):
    """f(x) = f(x, c*), or f(x, c) if c is given, [B, *shape] -> [B, *shape]:

        c* = argmin_c w_c d(x, f(x, c)),   d(x, y) = |x - y|^2 / (|x|^2 + |y|^2).

    If each f(., c) is idempotent, then f is: at a point of the image of f(., c), the minimum is 0 for this c, whatever the
    weights w > 0, and f leaves the point where it is. The image of f is the union of the images.

    Why not |x - y|^2? For noise x of mean 0, and y that does not depend on it, its mean is |x|^2 + |y|^2. It would prefer
    outputs that are small in the square: images with little contrast. The mean of d is nearly 1 for all y.

    The weights are such that f sends standard normal inputs to the classes as often as these occur in the data. They follow
    from the parameters of the operator and are no part of its state: f finds them when it is first called without a class
    in evaluation mode, and again after training, loading, or a change in place. It does not see changes that torch does not
    count, such as `p.data = ...`: call `train()`, then `eval()`. In training mode all w are 1.

    Args:
        operator: f(x, c).
        shape: of a sample.
        classes: their number, K.
        balanced: otherwise all w are 1.

    f costs K + 1 calls of the operator, and once K calls with 1024 samples.

    Source: *derived*.
    """

    shares: Tensor
    """Of the classes in the data, [K]."""
    _found: tuple[Tensor, list[int]] | None = None
    """The weights w, [K], and the versions of the tensors that they were found for."""

    def __init__(self, operator: Operator, shape: tuple[int, ...], classes: int, *, balanced: bool) -> None:
        super().__init__()
        self.operator, self.shape, self.classes = operator, shape, classes
        self._balanced = balanced
        self.register_buffer("shares", torch.full((classes,), 1 / classes))

    @torch.no_grad()
    def start_from(self, dataset: Dataset) -> None:
        """Take the shares of the classes from the training samples, and let the operator start from them.

        Raises:
            BadInput: if the condition of the data is no class number.
        """
        check_shape("union", self.shape, dataset)
        start = getattr(self.operator, "start_from", None)
        if callable(start):
            start(dataset)
        total = len(dataset.train)
        count = min(total, _ROWS)
        counts = torch.zeros(self.classes)
        for first in range(0, count, 1024):  # a part at a time: the samples come with their classes
            indices = [i * total // count for i in range(first, min(first + 1024, count))]
            counts += self._counted(dataset.train.__getitems__(indices))
        if counts.sum() > 0:
            self.shares.copy_(counts / counts.sum())

    def _counted(self, batch: Batch) -> Tensor:
        """How often each class occurs in a batch, [K]; nothing without a condition."""
        c = batch.condition
        if c is None:
            return torch.zeros(self.classes)
        if c.ndim != 1 or c.is_floating_point() or c.is_complex() or bool(((c < 0) | (c >= self.classes)).any()):
            raise BadInput(
                "enforcer 'union' tries every class, and the condition of the data is no class of the operator",
                where="[enforcer] and [dataset]",
                expected=f"class numbers from 0 to {self.classes - 1} as the condition, [N]",
                next_step="number the classes from 0, and let the attribute 'classes' of the model be their number",
            )
        return torch.bincount(c.long().cpu(), minlength=self.classes).float()

    def train(self, mode: bool = True) -> United:
        if mode:
            self._found = None  # a fused optimiser changes parameters without changing their versions
        return super().train(mode)

    def _load_from_state_dict(self, *given: Any) -> None:
        self._found = None
        super()._load_from_state_dict(*given)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        if condition is None:
            with torch.no_grad():
                condition = (self._apart(x) * self._weights().to(x.device, torch.float32)).argmin(1)
        return self.operator(x, condition)  # type: ignore[no-any-return]

    def _apart(self, x: Tensor) -> Tensor:
        """d(x, f(x, c)) for each class, [B, K]."""
        K = self.classes
        # In one call, so that an exported file holds the operator once, not K times.
        if torch.compiler.is_exporting():
            c = torch.arange(K, device=x.device)[None].expand(x.shape[0], K).flatten()
            return self._apart_at(x[:, None].expand(-1, K, *x.shape[1:]).flatten(0, 1), c).view(-1, K)
        return torch.stack([self._apart_at(x, x.new_full(x.shape[:1], c, dtype=torch.long)) for c in range(K)], 1)

    def _apart_at(self, x: Tensor, c: Tensor) -> Tensor:
        """d(x, f(x, c)), [B]."""
        y = self.operator(x.clone(), c)
        scale = rows(x).square().mean(1) + rows(y).square().mean(1)
        return l2(x, y) / scale.clamp_min(torch.finfo(scale.dtype).tiny)

    @torch.no_grad()
    def _weights(self) -> Tensor:
        """w, [K]."""
        if not self._balanced or self.training:
            return torch.ones_like(self.shares)
        if self._found is not None and (torch.compiler.is_compiling() or self._found[1] == self._versions()):
            return self._found[0]
        like = next((p for p in self.operator.parameters()), self.shares)
        z = np.random.default_rng(_SEED).standard_normal((_POINTS, *self.shape), dtype=np.float32)
        parts = torch.from_numpy(z).to(like).chunk(_POINTS // _CHUNK)
        apart = torch.cat([self._apart(part) for part in parts]).cpu().double()  # not all devices have float64
        w = _balancing(apart, self.shares.cpu().double()).exp()
        self._found = w, self._versions()
        return w

    def _versions(self) -> list[int]:
        """How often each tensor of the operator was changed in place, as far as torch counts it."""
        tensors = (*self.operator.parameters(), *self.operator.buffers())
        return [-1 if t.is_inference() else t._version for t in tensors]


def _balancing(apart: Tensor, shares: Tensor) -> Tensor:
    """log w [K], with which argmin_c w_c apart_c is each c as often as the shares say, as nearly as points allow."""
    apart = apart[apart.isfinite().all(1)]
    if not len(apart):
        return torch.zeros_like(shares)
    logs = apart.clamp_min(1e-6 * apart.median().clamp_min(1e-30)).log()
    scale = (logs - logs.mean(1, keepdim=True)).std()
    log_w = torch.zeros_like(shares)
    for i in range(_ROUNDS):
        found = torch.bincount((logs + log_w).argmin(1), minlength=len(shares)) / len(logs)
        log_w += _STEP * 0.01 ** (i / _ROUNDS) * scale * (found - shares) * len(shares)
    return log_w - log_w.mean()
