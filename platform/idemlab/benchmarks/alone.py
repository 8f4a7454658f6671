"""Refuse to measure one process of several."""

from __future__ import annotations

from ..errors import BadInput
from ..objective.engines import expected_processes

__all__ = ["check_alone"]


def check_alone() -> None:
    """Refuse a launcher of several processes.

    Raises:
        BadInput: if there is one.
    """
    if expected_processes() > 1:
        raise BadInput(
            f"{expected_processes()} processes were launched, and only one can be measured",
            next_step="start the command without torchrun or accelerate launch",
        )
