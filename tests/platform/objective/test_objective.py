"""One batch into one loss: which terms there are, what they share, and what is reported."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from idemlab import Batch, Enforcement, Enforcer, Objective, Orbit, Points, Source, Step
from idemlab.contracts.enforcer import half_squared_distance, l1, l2


class _Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.map = nn.Linear(4, 4).double()
        self.calls = 0

    def forward(self, x: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        self.calls += 1
        out: torch.Tensor = self.map(x)
        return out if condition is None else out + condition


class _Squared(Enforcer):
    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        error = l2(orbit.live(2), orbit.output)
        return Enforcement(loss=error, reported={"squared": error})


class _Shifted(Source):
    """The batch moved by one, with the batch as target where `targets`."""

    def __init__(self, targets: bool) -> None:
        super().__init__()
        self.targets = targets

    def sample(self, batch: Batch, step: Step, operator: nn.Module) -> Points:
        return Points(batch.input + 1, batch.input if self.targets else None)


X = torch.randn(6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
BATCH = Batch(X, X)


class _Operations(TorchFunctionMode):
    """Counts the functions of torch that are called, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count[func.__name__] += 1
        return func(*args, **(kwargs or {}))


def test_what_only_several_terms_need_is_left_out_where_there_is_one() -> None:
    """On a small network each operation is a share of the step."""
    objective = Objective(_Counting(), _Squared(), [None], distance=l1)
    objective.joins = True
    with _Operations() as operations:
        loss, _ = objective(BATCH, Step())
        loss.backward()
    assert operations.count["abs"] == 2
    assert not {"cat", "stack", "split", "mul", "rmul"} & {name.strip("_") for name in operations.count}


def test_reconstruction_and_enforcer_share_the_orbit_at_the_data() -> None:
    f = _Counting()
    loss, values = Objective(f, _Squared(), [None], weight=3.0, distance=l1)(BATCH, Step())
    assert f.calls == 2
    y = f.map(X)
    expected = 3 * l1(y, X).mean() + l2(f.map(y), y).mean()
    assert torch.allclose(loss, expected, rtol=1e-14)
    assert torch.allclose(values["reconstruction"], l1(y, X).mean())
    assert torch.allclose(values["squared"], l2(f.map(y), y).mean())
    assert torch.allclose(values["idempotence"], (f.map(y) - y).abs().mean(), rtol=1e-6)
    assert torch.allclose(values["relative"], (f.map(y) - y).norm() / (y - y.mean(0)).norm(), rtol=1e-6)
    assert torch.allclose(values["spread"], (y - y.mean(0)).norm() / (X - X.mean(0)).norm(), rtol=1e-6)
    assert not any(value.requires_grad for value in values.values())


def test_a_source_with_targets_joins_the_reconstruction() -> None:
    f = _Counting()
    loss, _ = Objective(f, Enforcer(), [_Shifted(True)], weight=2.0, distance=l2)(BATCH, Step())
    assert torch.allclose(loss, 2 * (l2(f.map(X), X) + l2(f.map(X + 1), X)).mean(), rtol=1e-14)


def test_several_sources_add_up() -> None:
    f = _Counting()
    loss, values = Objective(f, _Squared(), [None, _Shifted(False)], weight=0.0, distance=l2)(BATCH, Step())
    y, z = f.map(X), f.map(X + 1)
    assert torch.allclose(loss, (l2(f.map(y), y) + l2(f.map(z), z)).mean(), rtol=1e-14)
    assert torch.allclose(values["squared"], loss / 2)  # reported values are means over the sources
    assert "reconstruction" not in values


def test_without_reconstruction_the_data_is_not_forwarded() -> None:
    f = _Counting()
    Objective(f, _Squared(), [_Shifted(False)], weight=0.0, distance=l2)(BATCH, Step())
    assert f.calls == 2


def test_corrupted_inputs_keep_their_clean_targets() -> None:
    f = _Counting()
    loss, _ = Objective(f, Enforcer(), [None], corruption=_Shifted(False), distance=l2)(BATCH, Step())
    assert torch.allclose(loss, l2(f.map(X + 1), X).mean(), rtol=1e-14)


def test_nothing_to_learn_is_a_zero_without_gradient() -> None:
    loss, values = Objective(_Counting(), Enforcer(), [None], weight=0.0, distance=l2)(BATCH, Step())
    assert loss.item() == 0
    assert not loss.requires_grad
    assert "idempotence" not in values


def test_apply_gives_the_output_under_the_condition() -> None:
    f = _Counting()
    condition = torch.ones(6, 4, dtype=torch.float64)
    out, values = Objective(f, Enforcer(), [None], distance=l2)(Batch(X, X, condition), mode="apply")
    assert torch.equal(out, f(X, condition))
    assert values == {}


def test_the_enforcer_sees_the_reconstruction_of_its_rows() -> None:
    seen = {}

    class Looking(Enforcer):
        def forward(self, orbit: Orbit, step: Step) -> Enforcement:
            seen["r"] = step.reconstruction
            return Enforcement()

    f = _Counting()
    Objective(f, Looking(), [_Shifted(False)], weight=5.0, distance=l1)(BATCH, Step())
    assert torch.equal(seen["r"], l1(f.map(X), X))
    assert seen["r"].requires_grad


def test_an_architecture_enforcer_wraps_the_operator() -> None:
    class Wrapping(Enforcer):
        def wrap(self, operator: nn.Module) -> nn.Module:
            return nn.Sequential(operator, nn.Identity())

    assert len(Objective(_Counting(), Wrapping(), [None], distance=l2).operator) == 2


@pytest.mark.parametrize(("distance", "expected"), [(l1, 1.5), (l2, 2.5), (half_squared_distance, 2.5)])
def test_distances_are_per_sample(distance: object, expected: float) -> None:
    a = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    assert distance(a, torch.zeros(2, 2)).tolist() == [expected, 0.0]  # type: ignore[operator]


def test_distances_of_half_precision_are_taken_in_single() -> None:
    a = torch.full((1, 4096), 0.01, dtype=torch.bfloat16)
    assert l2(a, torch.zeros_like(a)).dtype == torch.float32
    assert half_squared_distance(a, torch.zeros_like(a)).item() == pytest.approx(
        0.5 * 4096 * a[0, 0].item() ** 2, rel=1e-5
    )


@pytest.mark.parametrize("autocast", [False, True])
def test_sources_work_outside_of_autocast_and_know_of_it(autocast: bool) -> None:
    seen: list[object] = []

    class Looking(Source):
        def sample(self, batch: Batch, step: Step, operator: nn.Module) -> Points:
            seen.append((torch.is_autocast_enabled("cpu"), step.autocast, operator(batch.input).dtype))
            return Points(batch.input, batch.target)

    f = nn.Linear(4, 4)
    objective = Objective(f, Enforcer(), [Looking()], corruption=Looking(), weight=1.0, distance=l2)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        objective(Batch(X.float(), X.float()), Step())
    assert seen == 2 * [(False, torch.bfloat16 if autocast else None, torch.float32)]
