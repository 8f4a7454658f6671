"""Checks of schedules: a number for each completed share of the run, the same at every call."""

from __future__ import annotations

import math

import torch

from ..kit import check, must
from ..subject import Subject

__all__: list[str] = []

_SHARES = [i / 256 for i in range(256)]


@check("schedule", cause="a logarithm, root or power that is not defined at 0 or near 1")
def rates_are_finite(subject: Subject) -> None:
    """The rate is a finite number and at least 0, everywhere in [0, 1)."""
    curve = subject.build()
    for progress in _SHARES:
        rate = curve(progress)
        plain = isinstance(rate, (int, float)) and math.isfinite(rate) and rate >= 0
        must(plain, f"at {progress:g} it gives {rate!r}, not a finite number that is at least 0")


@check("schedule", cause="it divides whole numbers, or counts steps where it gets a share of the run")
def it_trains(subject: Subject) -> None:
    """The rate is above 0 somewhere."""
    curve = subject.build()
    must(any(curve(progress) > 0 for progress in _SHARES), "the rate is 0 throughout, so nothing is trained")


@check("schedule", cause="it counts its calls, or draws random numbers: a resumed run would get other rates")
def rates_follow_progress_alone(subject: Subject) -> None:
    """The rate depends on the share of the run that is done, and on nothing else."""
    curve, twin = subject.build(), subject.build()
    before = torch.get_rng_state()
    forward = [curve(progress) for progress in _SHARES]
    backward = [curve(progress) for progress in reversed(_SHARES)][::-1]
    resumed = [twin(progress) for progress in _SHARES[128:]]
    must(torch.equal(torch.get_rng_state(), before), "it drew from the global generator")
    must(forward == backward, "asked again, it gives another rate")
    must(resumed == forward[128:], "a new one that begins in the middle gives other rates")
