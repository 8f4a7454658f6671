"""Private parts of Optuna that a sweep needs. No other module uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial

__all__ = ["CREATE_STUDY", "CREATE_TRIAL", "SET_TRIAL_ATTRIBUTE", "identity", "record_heartbeat", "stale"]

CREATE_STUDY, CREATE_TRIAL, SET_TRIAL_ATTRIBUTE = 0, 4, 8
"""Optuna's codes of operations in a journal."""


def identity(trial: FrozenTrial) -> int:
    """Identity of a trial within its storage; its number counts within one sweep only."""
    return trial._trial_id


def record_heartbeat(storage: BaseStorage, trial: int) -> None:
    """Send a heartbeat for a running trial in a database."""
    heart: Any = storage
    heart.record_heartbeat(trial)


def stale(storage: BaseStorage, study: Study) -> list[int]:
    """Identities of the running trials in a database without a recent heartbeat."""
    heart: Any = storage
    found: list[int] = heart._get_stale_trial_ids(study._study_id)
    return found
