"""What Optuna keeps to itself and a sweep cannot do without. Nothing else in the house touches it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial

__all__ = ["CREATE_STUDY", "CREATE_TRIAL", "SET_TRIAL_ATTRIBUTE", "identity", "record_heartbeat", "stale"]

CREATE_STUDY, CREATE_TRIAL, SET_TRIAL_ATTRIBUTE = 0, 4, 8
"""Optuna's numbers of the operations in a journal."""


def identity(trial: FrozenTrial) -> int:
    """By what the storage knows a trial: its number counts within the sweep, this one within the storage."""
    return trial._trial_id


def record_heartbeat(storage: BaseStorage, trial: int) -> None:
    """Let a running trial of a data base give a sign of life."""
    heart: Any = storage
    heart.record_heartbeat(trial)


def stale(storage: BaseStorage, study: Study) -> list[int]:
    """Identities of the running trials of a data base that have long given no sign of life."""
    heart: Any = storage
    found: list[int] = heart._get_stale_trial_ids(study._study_id)
    return found
