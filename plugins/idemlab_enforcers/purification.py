"""Weight projection by the purification family."""

from __future__ import annotations

from torch import Tensor

from idemlab import BadInput, Enforcer, Purifier

__all__ = ["Purify"]


class Purify(Enforcer):
    """K <- (1-s) K + s p(K), p one step of a method of the family: by default 3 K^2 - 2 K^3, in two matrix products.

    Args:
        purifier: the method.
        step: s in (0, 1].
    """

    def __init__(self, purifier: Purifier, step: float = 1.0) -> None:
        super().__init__()
        if purifier.steers and purifier.rank is None:
            raise BadInput(
                f"method '{purifier.method}' needs a rank here, because training changes the trace",
                next_step="set 'rank'",
            )
        if purifier.method == "optimal" and purifier.gap is None:
            raise BadInput("method 'optimal' needs the gap, which no projection measures", next_step="set 'gap'")
        self._purifier = purifier
        self._step = step

    def project(self, matrix: Tensor) -> Tensor:
        purified = self._purifier.step(matrix)
        return purified if self._step == 1 else (1 - self._step) * matrix + self._step * purified
