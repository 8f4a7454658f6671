"""The learning rate over a run: the warm-up, each schedule, and what a schedule of a plugin must return."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from idemlab import Failure, ScheduleSpec, installed, resolve
from idemlab.objective.rates import Rates

Make = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("settings", "shares"),
    [
        ({}, {0.0: 1.0, 0.9: 1.0}),
        ({"warmup": 0.5}, {0.0: 0.0, 0.25: 0.5, 0.5: 1.0, 0.9: 1.0}),
        ({"schedule": "cosine", "warmup": 0.5, "final": 0.1}, {0.0: 0.0, 0.25: 0.5, 0.5: 1.0, 0.75: 0.55, 1.0: 0.1}),
        ({"schedule": "linear", "final": 0.5}, {0.0: 1.0, 0.5: 0.75, 1.0: 0.5}),
        ({"schedule": "step"}, {0.0: 1.0, 0.49: 1.0, 0.5: 0.1, 0.75: 0.01}),
        ({"schedule": {"name": "step", "at": [0.25], "factor": 0.5}, "warmup": 0.2}, {0.1: 0.5, 0.39: 1.0, 0.4: 0.5}),
    ],
)
def test_the_share_of_the_rate(settings: dict[str, Any], shares: dict[float, float], tiny: Make) -> None:
    rates = Rates(resolve(tiny(optimizer={"lr": 2.0} | settings)))
    assert {progress: rates.share(progress) for progress in shares} == pytest.approx(shares)
    assert rates.rate(1.0) == 2.0 * rates.share(1.0)


@pytest.mark.parametrize(
    ("curve", "what"),
    [
        (3, "returned int"),
        (lambda progress: -progress, "gives the rate -0.01 after 1 % of the run"),
        (lambda progress: float("nan"), "gives the rate nan after 0 % of the run"),
        (lambda progress: None, "gives the rate None after 0 % of the run"),
        (lambda progress: 1 / progress, "the schedule raised ZeroDivisionError"),
    ],
)
def test_a_schedule_that_gives_no_rates_is_refused(curve: Any, what: str, tiny: Make) -> None:
    def odd() -> Any:
        return curve

    catalog = installed().including(ScheduleSpec(name="odd", factory=odd, summary=""))
    with pytest.raises(Failure) as caught:
        Rates(resolve(tiny(optimizer={"schedule": "odd"}), catalog=catalog))
    assert what in caught.value.what
