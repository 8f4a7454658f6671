"""Tests of the tests: optimisers, schedules and trackers with one mistake each, and the checks that must catch it."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from accelerate.tracking import GeneralTracker
from torch import nn

from idemlab import BadInput, OptimizerSpec, ScheduleSpec, TrackerSpec, installed
from idemlab.testing import CheckFailed, check_optimizer, check_schedule, check_thing, check_tracker, conformance_checks
from idemlab.testing.kit import CHECKS

SPECS: dict[str, Any] = {"optimizer": OptimizerSpec, "schedule": ScheduleSpec, "tracker": TrackerSpec}
MUTANTS: dict[tuple[str, str], tuple[Callable[..., Any], tuple[str, ...]]] = {}


def mutant(kind: str, *caught_by: str) -> Callable[[Any], Any]:
    """Put a class (its instances are the mutants) or a function that builds one on the list."""

    def register(made: Any) -> Any:
        MUTANTS[kind, made.__name__] = (made, caught_by)
        return made

    return register


# -- optimisers ---------------------------------------------------------------------------------------------------------


class Descent(torch.optim.Optimizer):
    """Plain gradient descent, in pieces to change."""

    def __init__(self, parameters: list[nn.Parameter], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.move(p, p.grad, group["lr"])

    def move(self, p: Any, gradient: Any, rate: float) -> None:
        p.sub_(rate * gradient)


@mutant("optimizer", "takes-every-parameter")
class MatricesOnly(Descent):
    def __init__(self, parameters: list[nn.Parameter], lr: float) -> None:
        super().__init__([p for p in parameters if p.ndim == 2], lr)


@mutant("optimizer", "lowers-a-loss")
class Ascends(Descent):
    def move(self, p: Any, gradient: Any, rate: float) -> None:
        p.add_(rate * gradient)


@mutant("optimizer", "rate-scales-the-steps")
class RateOfItsOwn(Descent):
    def move(self, p: Any, gradient: Any, rate: float) -> None:
        super().move(p, gradient, self.defaults["lr"])


@mutant("optimizer", "state-round-trips")
class MeanInAnAttribute(Descent):
    def __init__(self, parameters: list[nn.Parameter], lr: float) -> None:
        super().__init__(parameters, lr)
        self.means: dict[Any, Any] = {}

    def move(self, p: Any, gradient: Any, rate: float) -> None:
        self.means[p] = self.means.get(p, 0) + gradient
        super().move(p, self.means[p], rate)


@mutant("optimizer", "state-round-trips")
class AnObjectInTheState(Descent):
    def move(self, p: Any, gradient: Any, rate: float) -> None:
        self.state[p]["history"] = {1.0, 2.0}
        super().move(p, gradient, rate)


@mutant("optimizer", "deterministic")
class Noisy(Descent):
    def move(self, p: Any, gradient: Any, rate: float) -> None:
        super().move(p, gradient + torch.randn_like(gradient), rate)


@mutant("optimizer", "leaves-what-has-no-gradient")
class DecaysAll(Descent):
    def step(self, closure: Any = None) -> None:
        super().step()
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    p.mul_(1 - group["lr"])


@mutant("optimizer", "finite-at-zero-gradients")
class Normalises(Descent):
    def move(self, p: Any, gradient: Any, rate: float) -> None:
        super().move(p, gradient / gradient.norm(), rate)


@mutant("optimizer", "every-precision")
class DoublePrecision(Descent):
    def move(self, p: Any, gradient: Any, rate: float) -> None:
        mean = self.state[p].setdefault("mean", torch.zeros_like(p, dtype=torch.float64))
        mean.lerp_(gradient, 0.5)  # of another precision: torch refuses
        super().move(p, mean, rate)


# -- schedules ----------------------------------------------------------------------------------------------------------


@mutant("schedule", "rates-are-finite")
def inverse() -> Any:
    return lambda progress: 1 / progress if progress else float("inf")


@mutant("schedule", "rates-are-finite")
def below_zero() -> Any:
    return lambda progress: 1 - 2 * progress


@mutant("schedule", "it-trains")
def nothing() -> Any:
    return lambda progress: 0 * progress


@mutant("schedule", "rates-follow-progress-alone")
class CountsItsCalls:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, progress: float) -> float:
        self.calls += 1
        return 1 / self.calls


@mutant("schedule", "rates-follow-progress-alone")
def jitters() -> Any:
    return lambda progress: float(torch.rand(()))


# -- trackers -----------------------------------------------------------------------------------------------------------


class Lines(GeneralTracker):  # type: ignore[misc]
    """A file of lines, in pieces to change."""

    name: Any = "lines"
    requires_logging_directory, tracker = False, None

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.write(values)

    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        self.write(values | {"step": step})

    def write(self, values: dict[str, Any]) -> None:
        with Path("lines.txt").open("a") as out:
            out.write(f"{values}\n")


@mutant("tracker", "has-a-name")
class Nameless(Lines):
    name = None


@mutant("tracker", "takes-a-whole-run")
class TakesTheStepOut(Lines):
    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        values["step"] = step
        self.write(values)


@mutant("tracker", "takes-what-is-not-finite")
class StrictJson(Lines):
    def write(self, values: dict[str, Any]) -> None:
        json.dumps(values, allow_nan=False)


@mutant("tracker", "ends-without-an-entry")
class ClosesWhatLogOpens(Lines):
    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        self.lines = io.StringIO()

    def finish(self) -> None:
        self.lines.close()


@mutant("tracker", "takes-pictures-and-files")
class FilesWithoutFolder(Lines):
    def log_artifact(self, path: str) -> None:
        self.write({"file": path})


@mutant("tracker", "takes-pictures-and-files")
class OnePictureAtATime(Lines):
    def log_images(self, name: str, pixels: Any) -> None:
        self.write({name: pixels})


@mutant("tracker", "randomness-is-left-alone")
class DrawsAName(Lines):
    def start(self) -> None:
        self.run = random.random()


@mutant("tracker", "randomness-is-left-alone")
class DrawsAColour(Lines):
    def start(self) -> None:
        self.colour = numpy.random.rand(3)


# -- all of them --------------------------------------------------------------------------------------------------------


def spec_of(kind: str, made: Callable[..., Any]) -> Any:
    def factory() -> Any:
        return made()

    def factory_of_parameters(parameters: list[Any], lr: float = 0.01) -> Any:
        return made(parameters, lr)

    chosen = factory_of_parameters if kind == "optimizer" else factory
    return SPECS[kind](name="mutant", factory=chosen, summary="")


@pytest.mark.parametrize(("kind", "name"), list(MUTANTS))
def test_the_mutant_is_caught_by_name(kind: str, name: str) -> None:
    made, caught_by = MUTANTS[kind, name]
    report = check_thing(kind, spec_of(kind, made))
    assert set(report.failed) >= set(caught_by), str(report)
    assert len(report.failed) < len(report.rows), "a mutant has one mistake"


def test_every_check_must_catch_a_mutant() -> None:
    named = {(kind, check) for (kind, _), (_, caught_by) in MUTANTS.items() for check in caught_by}
    assert named == {(check.kind, check.name) for check in CHECKS if check.kind in SPECS}


@pytest.mark.parametrize(("kind", "made"), [("optimizer", Descent), ("tracker", Lines)])
def test_without_the_mistake_it_passes(kind: str, made: Any) -> None:
    report = check_thing(kind, spec_of(kind, made))
    assert report.passed, str(report)


@pytest.mark.long
def test_what_torch_and_idemlab_ship_passes() -> None:
    for entry in installed().entries("optimizer"):
        report = check_optimizer(entry.spec.name)
        assert report.passed, str(report)
    for entry in installed().entries("schedule"):
        report = check_schedule(entry.spec.name)
        assert report.passed, str(report)


def test_what_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, expected in (
        ("optimizer", "optimizer 'mutant' is int, not a torch.optim.Optimizer or a list of them"),
        ("schedule", "schedule 'mutant' is int, not a function of the share of the run that is done"),
        ("tracker", "tracker 'mutant' is int, not an accelerate.tracking.GeneralTracker"),
    ):
        if kind == "optimizer":  # is built for parameters, in each check
            _, (case, *_) = conformance_checks(kind, [spec_of(kind, lambda *_: 3)]).mark.args  # type: ignore[attr-defined]
            with pytest.raises(CheckFailed, match=expected):
                case.values[0]()
        else:
            with pytest.raises(BadInput, match=expected):
                check_thing(kind, spec_of(kind, lambda: 3))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="tracker 'tensorboard' is Accelerate's own"):
        check_tracker("tensorboard")
    check_tracker(spec_of("tracker", Lines))
    assert list(tmp_path.iterdir()) == [], "what a tracker writes goes into a temporary folder"
