"""The union of the images of f(., c) over the classes c: an operator f(x) that needs no class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from idemlab import BadInput, Dataset, Enforcer, Operator, l2, rows

from .shapes import check_shape, shape_of

__all__ = ["Union", "United"]

_POINTS = 1024
"""Standard normal inputs at which the classes are balanced."""
_ROWS = 8192
"""Training samples whose labels give the share of each class."""
_ROUNDS = 500
"""Of the balancing. Its steps fall from `_STEP` to a hundredth."""
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
                "enforcer 'union' needs an operator f(x, c) with classes c, and this one is f(x)",
                where="[enforcer] and [dataset], key 'condition'",
                expected="data with labels, and a model that takes a condition",
                next_step="set dataset.condition = training",
            )
        return United(operator, shape_of("union", operator), classes, balanced=self._balanced)


class United(nn.Module):
    """f(x) = f(x, c*), or f(x, c) if c is given, [B, *shape] -> [B, *shape]:

        c* = argmin_c w_c d(x, f(x, c)),   d(x, y) = |x - y|^2 / (|x|^2 + |y|^2).

    If each f(., c) is idempotent, then f is: at a point of the image of f(., c), the minimum is 0 for this c, whatever the
    weights w > 0, and f leaves the point where it is. The image of f is the union of the images.

    Why not |x - y|^2? At noise, whose mean is 0, d(x, y) is 1 in the mean for every y, and |x - y|^2 is |x|^2 + |y|^2: it
    would prefer outputs that are small in the square, images with little contrast.

    The weights are such that f sends standard normal inputs to the classes as often as these occur in the data. They follow
    from the parameters of the operator: they are found when f is first called without a class, again if the parameters
    have changed, and are no part of its state. In training they stay as they are.

    Args:
        operator: f(x, c).
        shape: of a sample.
        classes: their number, K.
        balanced: otherwise all w are 1.

    f costs K + 1 calls of the operator.

    Source: *derived*.
    """

    shares: Tensor
    """Of the classes in the data, [K]."""
    _kept: tuple[object, Tensor] | None = None

    def __init__(self, operator: Operator, shape: tuple[int, ...], classes: int, *, balanced: bool) -> None:
        super().__init__()
        self.operator, self.shape, self.classes = operator, shape, classes
        self._balanced = balanced
        self.register_buffer("shares", torch.full((classes,), 1 / classes))

    @torch.no_grad()
    def start_from(self, dataset: Dataset) -> None:
        """Take the shares of the classes from the first training samples, and let the operator start from them."""
        check_shape("union", self.shape, dataset)
        start = getattr(self.operator, "start_from", None)
        if callable(start):
            start(dataset)
        label = dataset.train.__getitems__(list(range(min(len(dataset.train), _ROWS)))).label
        if label is not None:
            counts = torch.bincount(label.long().cpu(), minlength=self.classes)
            self.shares.copy_(counts / counts.sum())

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        if condition is None:
            with torch.no_grad():
                condition = (self._apart(x) * self._weights().to(x.device)).argmin(1)
        return self.operator(x, condition)  # type: ignore[no-any-return]

    def _apart(self, x: Tensor) -> Tensor:
        """d(x, f(x, c)) for each class, [B, K]."""
        apart = []
        for c in range(self.classes):
            y = self.operator(x.clone(), x.new_full(x.shape[:1], c, dtype=torch.long))
            scale = rows(x).square().mean(1) + rows(y).square().mean(1)
            apart.append(l2(x, y) / scale.clamp_min(torch.finfo(scale.dtype).tiny))
        return torch.stack(apart, 1)

    def _weights(self) -> Tensor:
        """w, [K]."""
        if not self._balanced:
            return torch.ones_like(self.shares)
        key = tuple((id(t), t._version) for t in (*self.operator.parameters(), *self.operator.buffers()))
        if self._kept is None or (self._kept[0] != key and not self.training):
            like = next(self.operator.parameters())
            z = torch.randn(_POINTS, *self.shape, generator=torch.Generator().manual_seed(0)).to(like)
            self._kept = key, _balancing(self._apart(z).double().cpu(), self.shares.double().cpu()).exp()
        return self._kept[1]


def _balancing(apart: Tensor, shares: Tensor) -> Tensor:
    """log w [K], with which argmin_c w_c apart_c is each c as often as the shares say, as nearly as points allow."""
    logs = apart.clamp_min(torch.finfo(apart.dtype).tiny).log()
    scale = (logs - logs.mean(1, keepdim=True)).std()
    log_w = torch.zeros_like(shares)
    for i in range(_ROUNDS):
        found = torch.bincount((logs + log_w).argmin(1), minlength=len(shares)) / len(logs)
        log_w += _STEP * 0.01 ** (i / _ROUNDS) * scale * (found - shares) * len(shares)
    return log_w - log_w.mean()
