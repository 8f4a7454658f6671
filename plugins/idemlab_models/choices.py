"""Choices that the factories and their implementations share. Torch-free."""

from __future__ import annotations

from typing import Literal

__all__ = ["Activation"]

Activation = Literal["relu", "leaky-relu", "gelu", "silu", "elu", "tanh"]
