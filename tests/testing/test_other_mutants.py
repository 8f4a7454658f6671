"""Tests of the tests: models, datasets, sources and metrics with one mistake each, and the checks that must catch it."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from idemlab import (
    BadInput,
    Batch,
    Dataset,
    DatasetSpec,
    Metric,
    MetricSpec,
    ModelSpec,
    Orbit,
    Points,
    Source,
    SourceSpec,
    Step,
    TensorRows,
)
from idemlab.contracts.orbit import Operator
from idemlab.testing.doors import check_thing
from idemlab.testing.kit import CHECKS

SPECS: dict[str, Any] = {"model": ModelSpec, "dataset": DatasetSpec, "source": SourceSpec, "metric": MetricSpec}
_models = runpy.run_path(str(Path(__file__).with_name("model_mutants.py")))
MUTANTS, mutant, Rounds = _models["MUTANTS"], _models["mutant"], _models["Rounds"]


# -- datasets -------------------------------------------------------------------------------------------------------------

ROWS = torch.rand(24, 3, generator=torch.Generator().manual_seed(0))


def of(train: Any, test: Any = None, **settings: Any) -> Dataset:
    return Dataset(train=train, test=test or TensorRows(ROWS[16:]), **({"shape": (3,)} | settings))


@mutant("dataset", "samples-have-the-shape")
def other_shape() -> Any:
    return of(TensorRows(ROWS[:16]), shape=(1, 3))


class Sorted(TensorRows):
    def __getitems__(self, indices: Any) -> Batch:
        return super().__getitems__(sorted(indices))


@mutant("dataset", "batches-follow-their-indices")
def sorts() -> Any:
    return of(Sorted(ROWS[:16]))


@mutant("dataset", "samples-are-in-range")
def out_of_range() -> Any:
    return of(TensorRows(ROWS[:16]), range=(0.0, 0.5))


@mutant("dataset", "no-test-sample-is-in-train")
def leaks() -> Any:
    return of(TensorRows(ROWS[:16]), TensorRows(ROWS[15:]))


@mutant("dataset", "deterministic")
def unseeded() -> Any:
    return of(TensorRows(torch.rand(16, 3)))


class Locked:
    """Not in memory, and with a function that cannot be sent to another process."""

    def __init__(self) -> None:
        self.decode = lambda rows: rows

    def __len__(self) -> int:
        return 16

    def __getitems__(self, indices: list[int]) -> Batch:
        rows = self.decode(ROWS[indices])
        return Batch(rows, rows)


@mutant("dataset", "workers-can-have-it")
def locked() -> Any:
    return of(Locked())


@mutant("dataset", "labels-and-distance-are-true")
def labels_from_one() -> Any:
    train, test = (TensorRows(rows, label=torch.arange(len(rows)) % 2 + 1) for rows in (ROWS[:16], ROWS[16:]))
    return of(train, test, classes=2)


@mutant("dataset", "labels-and-distance-are-true")
def conditions_from_one() -> Any:
    train, test = (TensorRows(rows, condition=torch.arange(len(rows)) % 2 + 1) for rows in (ROWS[:16], ROWS[16:]))
    return of(train, test, conditions=2)


@mutant("dataset", "labels-and-distance-are-true")
def labels_against_the_spec() -> Any:
    train, test = (TensorRows(rows, label=torch.arange(len(rows)) % 2) for rows in (ROWS[:16], ROWS[16:]))
    return of(train, test, classes=2)


labels_against_the_spec.labels = False  # type: ignore[attr-defined]


@mutant("dataset", "labels-and-distance-are-true")
def wrong_distance() -> Any:
    return of(TensorRows(ROWS[:16]), distance=lambda points: points.norm(dim=1))


@mutant("dataset", "labels-and-distance-are-true")
def wrong_projection() -> Any:
    return of(TensorRows(ROWS[:16]), projection=lambda points: points.flip(1))


# -- sources --------------------------------------------------------------------------------------------------------------


@mutant("source", "points-have-the-shape", "conditions-go-with-the-points")  # it calls the operator without one
class WithGradient(Source):
    def sample(self, batch: Batch, step: Step, operator: Operator) -> Points:
        return Points(operator(batch.input))


@mutant("source", "points-have-the-shape")
class SinglePrecision(Source):
    def sample(self, batch: Batch, step: Step, operator: Operator) -> Points:
        return Points(step.normal(batch.input).float())


@mutant("source", "randomness-through-step-only")
class GlobalGenerator(Source):
    def sample(self, batch: Batch, step: Step, operator: Operator) -> Points:
        return Points(torch.randn_like(batch.input))


@mutant("source", "deterministic")
class SameAtEveryStep(Source):
    def sample(self, batch: Batch, step: Step, operator: Operator) -> Points:
        return Points(0 * step.normal(batch.input) + 1)


@mutant("source", "cutting-the-batch-changes-nothing")
class LooksAtTheBatch(Source):
    def sample(self, batch: Batch, step: Step, operator: Operator) -> Points:
        return Points(batch.input - batch.input.mean(0))


@mutant("source", "conditions-go-with-the-points")
class OneConditionForAll(Source):
    def sample(self, batch: Batch, step: Step, operator: Operator) -> Points:
        return Points(batch.input, condition=None if batch.condition is None else batch.condition[:1])


@mutant("source", "fresh-points-need-no-operator")
class RemembersTheLast(Source):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("last", torch.zeros(()))

    def sample(self, batch: Batch, step: Step, operator: Operator) -> Points:
        points = step.normal(batch.input) + self.last
        with torch.no_grad():
            self.last.copy_(operator(batch.input).mean())
        return Points(points)


@mutant("source", "nothing-is-touched")
class ChangesTheBatch(Source):
    def sample(self, batch: Batch, step: Step, operator: Operator) -> Points:
        return Points(batch.input.add_(1).clone())


@mutant("source", "state-round-trips")
class MeanInAnAttribute(Source):
    def fit(self, dataset: Dataset) -> None:
        self.mean = dataset.train.__getitems__([0, 1, 2]).input.mean().item()

    def sample(self, batch: Batch, step: Step, operator: Operator) -> Points:
        return Points(self.mean + step.normal(batch.input))


@mutant("source", "points-have-the-shape")
class RefusesAll(Source):
    def fit(self, dataset: Dataset) -> None:
        raise BadInput("only for sounds")


# -- metrics --------------------------------------------------------------------------------------------------------------


@mutant("metric", "figures-are-per-sample")
class MeanOfTheBatch(Metric):
    def __call__(self, orbit: Orbit, batch: Batch) -> dict[str, Tensor]:
        return {"mean": orbit.ahead(0).mean()}


@mutant("metric", "figures-do-not-depend-on-the-batch")
class Centred(Metric):
    def __call__(self, orbit: Orbit, batch: Batch) -> dict[str, Tensor]:
        y = orbit.ahead(0).flatten(1)
        return {"spread": (y - y.mean(0)).norm(dim=1)}


@mutant("metric", "compute-forgets")
class NeverForgets(Metric):
    def __init__(self) -> None:
        self.sum = 0.0

    def __call__(self, orbit: Orbit, batch: Batch) -> dict[str, Tensor]:
        self.sum += float(orbit.ahead(0).sum())
        return {}

    def compute(self) -> dict[str, float]:
        return {"sum": self.sum}


@mutant("metric", "deterministic")
class DrawsGlobally(Metric):
    def __call__(self, orbit: Orbit, batch: Batch) -> dict[str, Tensor]:
        return {"noise": torch.rand(len(batch))}


@mutant("metric", "nothing-is-touched")
class ChangesTheOrbit(Metric):
    def __call__(self, orbit: Orbit, batch: Batch) -> dict[str, Tensor]:
        return {"figure": orbit.ahead(0).abs_().flatten(1).mean(1)}


@mutant("metric", "figures-are-per-sample")
class NothingToSay(Metric):
    pass


@mutant("metric", "figures-are-per-sample")
class RefusesAllData(Metric):
    def fit(self, dataset: Dataset) -> None:
        raise BadInput("only for sounds")


@pytest.mark.parametrize(("kind", "name"), list(MUTANTS))
def test_the_mutant_is_caught_by_name(kind: str, name: str) -> None:
    made, caught_by = MUTANTS[kind, name]

    def factory() -> Any:
        return made()

    def factory_of_shape(shape: tuple[int, ...]) -> Any:
        return made(shape)

    def factory_of_classes(shape: tuple[int, ...], classes: int | None) -> Any:
        return made(shape, classes)

    claims = {claim: getattr(made, claim) for claim in ("exact", "conditional", "labels") if hasattr(made, claim)}
    of_model = factory_of_classes if "conditional" in claims else factory_of_shape
    spec = SPECS[kind](name="mutant", factory=of_model if kind == "model" else factory, summary="", **claims)
    report = check_thing(kind, spec)
    assert set(caught_by) <= set(report.failed), str(report)


@pytest.mark.long
def test_a_cell_that_is_large_enough_passes() -> None:
    def factory(shape: tuple[int, ...]) -> Any:
        return Rounds(shape)

    report = check_thing("model", ModelSpec(name="rounds", factory=factory, summary="", exact=True))
    assert "exact-as-claimed" not in report.failed, str(report)


def test_every_check_must_catch_a_mutant() -> None:
    named = {(kind, check) for (kind, _), (_, caught_by) in MUTANTS.items() for check in caught_by}
    assert named == {(check.kind, check.name) for check in CHECKS if check.kind in SPECS}
