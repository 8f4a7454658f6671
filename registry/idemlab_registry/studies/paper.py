"""Numbers that the paper reports (Jensen and Vicary, ICML 2025); final errors are read off its poster, ±2 %."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COSINE", "HEADLINE", "NORM_RATIO", "POSTER", "RATES", "Poster"]

RATES = (9.54e-7, 8.51e-6, 7.60e-5, 6.78e-4, 6.05e-3, 0.07, 0.22, 0.37, 0.52, 0.67, 0.82, 0.97, 1.12, 1.27, 1.42)
"""Learning rates."""


@dataclass(frozen=True)
class Poster:
    """Mean absolute errors |f(f(x)) - f(x)| of one configuration after 2500 epochs.

    Args:
        name: on the poster.
        start: before training.
        gradient, cubic: learning rate -> final error; what is not drawn is left out.
    """

    name: str
    start: float
    gradient: dict[float, float]
    cubic: dict[float, float]

    @property
    def ratio(self) -> float:
        """Best error of the gradient over the best of the cubic iteration."""
        return min(self.gradient.values()) / min(self.cubic.values())


POSTER = (
    Poster(
        "B2",
        7.5e-3,
        {6.05e-3: 6.9e-3, 0.07: 5.5e-3, 0.22: 4.3e-3, 1.42: 2.6e-3},
        {6.05e-3: 3.5e-3, 0.07: 1.7e-3, 0.22: 1.1e-3, 1.42: 5.0e-4},
    ),
    Poster(
        "B3",
        1.13e-1,
        {6.05e-3: 1.03e-1, 0.07: 6.2e-2, 0.22: 4.5e-2, 1.42: 1.9e-2},
        {6.05e-3: 6.75e-3, 0.07: 1.2e-3, 0.22: 4.9e-4},
    ),
)
"""The milder configuration and the stronger one; at rate 1.42 the cubic iteration is not drawn for the latter."""

HEADLINE = 10.0
"""'More than 10x idempotent error improvement over the canonical gradient-based approach.'"""

NORM_RATIO = (25.0, 5.0)
"""Norm of the cubic cotangent's gradient over that of the loss, at the start and at the end."""
COSINE = (0.2, 0.8)
"""Between the two gradients, lowest and highest along a path."""
