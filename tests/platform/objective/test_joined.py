"""Orbits that share a call of the operator have the values and gradients of single orbits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import idemlab
from idemlab import Enforcement, Enforcer, Orbit, l2
from idemlab.contracts.dataset import Batch
from idemlab.contracts.joined import Joined
from idemlab.contracts.step import Step
from idemlab.objective.modules import keeps_samples_apart
from idemlab.objective.objective import Objective
from idemlab.objective.parts import assemble
from idemlab.objective.preflight import preflight

ENFORCERS: list[dict[str, Any]] = [
    {"name": "cubic"},
    *({"name": "gradient", "routing": routing} for routing in ("full", "inner", "outer")),
    {"name": "gradient", "depth": 3},
    {"name": "relative"},
    *({"name": "ign", "routing": routing} for routing in ("reversal", "surrogate", "cubic")),
    {"name": "ign", "tightness": 0.0},
    {"name": "ign", "tightness": 0.0, "routing": "cubic"},
    {"name": "hybrid", "enforcers": [{"name": "cubic"}, {"name": "gradient"}]},
    {"name": "hybrid", "enforcers": [{"name": "cubic"}, {"name": "relative"}], "mode": "switch", "threshold": 0.1},
    {"name": "none"},
]
SOURCES = [["gaussian", "corrupted"], ["data", "gaussian"], ["data", "gaussian", "transport"]]


def objective_for(enforcer: dict[str, Any], sources: list[str], **model: Any) -> tuple[Objective, Batch]:
    experiment = idemlab.resolve(
        {
            "dataset": {"name": "gaussian", "shape": [6], "train": 64, "test": 8},
            "model": {"name": "mlp", "width": 8, "depth": 2, **model},
            "enforcer": enforcer,
            "source": [{"name": name} | ({"pool": 12} if name == "transport" else {}) for name in sources],
            "reconstruction": {"input": {"name": "corrupted"}},
            "training": {"steps": 1, "dtype": "float64"},
        }
    )
    parts = assemble(experiment)
    rows = parts.dataset.train.__getitems__(list(range(12)))
    return parts.objective, rows.to("cpu", torch.float64, parts.dataset.range)


def outcome(objective: Objective, batch: Batch) -> tuple[dict[str, Tensor], list[Tensor | None]]:
    objective.zero_grad()
    loss, values = objective(batch, Step(index=3))
    if loss.requires_grad:
        loss.backward()
    return values, [p.grad for p in objective.parameters()]


@pytest.mark.parametrize(
    "enforcer", ENFORCERS, ids=lambda e: "-".join(str(v) for v in e.values() if not isinstance(v, list))
)
def test_joined_orbits_change_nothing_but_rounding(enforcer: dict[str, Any]) -> None:
    for sources in SOURCES:
        objective, batch = objective_for(enforcer, sources)
        values, gradients = outcome(objective, batch)
        objective, batch = objective_for(enforcer, sources)
        objective.joins = True
        torch.testing.assert_close(outcome(objective, batch), (values, gradients), rtol=1e-10, atol=1e-12)


def test_they_share_the_calls_and_an_orbit_without_an_enforcer_asks_for_its_output_alone() -> None:
    sizes: list[int] = []

    def f(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return x.square()

    x = torch.arange(1.0, 7.0)[:, None]
    points = [(x[:3], None, True, False), (x[3:5], None, True, False), (x[5:], None, False, True)]
    group = Joined(f, points)  # type: ignore[arg-type]
    one, two, three = group.orbits
    with group.enforced():
        assert torch.equal(two.output, x[3:5] ** 2)
        assert torch.equal(one.ahead(1), x[:3] ** 4)
        assert torch.equal(two.ahead(1), x[3:5] ** 4)
        assert torch.equal(three.ahead(1), x[5:] ** 4)
        assert sizes == [6, 5, 1]
        one.note(3, x[:3])
        assert torch.equal(two.ahead(2), x[3:5] ** 8)
        assert torch.equal(one.ahead(2), x[:3])
        assert sizes == [6, 5, 1, 2]
        assert torch.equal(two.live(2), x[3:5] ** 4)
        assert torch.equal(one.live(2), x[:3] ** 4)


@pytest.mark.parametrize(
    ("enforcer", "sources", "calls"),
    [
        ("none", ["gaussian"], [12]),
        ("none", ["data", "gaussian"], [12]),
        ("relative", ["gaussian"], [24, 12]),
        ("idle", ["gaussian"], [12]),
        ("late", ["gaussian"], [12, 24, 12]),
        ("scaled", ["gaussian"], [24, 12]),
        ("outer", ["gaussian"], [12, 12, 12]),
        ("outer", ["data", "gaussian"], [24, 12, 12]),
    ],
)
def test_points_for_which_no_enforcer_asks_are_not_computed(
    enforcer: str, sources: list[str], calls: list[int]
) -> None:
    """Otherwise a control would pay for orbits that nobody uses, and train half as long with the same counted FLOPs."""
    named = {"name": "none"} if enforcer in OWN else {"name": enforcer}
    named |= {"name": "gradient", "routing": "outer"} if enforcer == "outer" else {}
    objective, batch = objective_for(named, sources)
    if enforcer in OWN:
        objective.enforcer = OWN[enforcer]()
    objective.joins = True
    sizes: list[int] = []
    objective.operator.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    values, gradients = outcome(objective, batch)
    assert sizes == calls
    assert all(gradient is not None for gradient in gradients)
    if enforcer == "scaled":  # what was read without gradient trains all the same
        alone, batch = objective_for({"name": "none"}, ["gaussian"])
        alone.enforcer = OWN[enforcer]()
        torch.testing.assert_close(outcome(alone, batch), (values, gradients), rtol=1e-10, atol=1e-12)


class Idle(Enforcer):
    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        return Enforcement()


class Late(Enforcer):
    """It looks at other points first, and asks for its orbit in the end."""

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        other = orbit.apply(orbit.input + step.normal(orbit.input))
        return Enforcement(loss=l2(orbit.output, other) + l2(orbit.ahead(1), orbit.output))


class Scaled(Enforcer):
    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        with torch.no_grad():
            scale = step.reconstruction.clamp(0, 1)
        return Enforcement(loss=scale * l2(orbit.ahead(1), orbit.output))


OWN: dict[str, type[Enforcer]] = {"idle": Idle, "late": Late, "scaled": Scaled}


def test_conditions_go_with_their_samples() -> None:
    x, c = torch.arange(4.0)[:, None], torch.arange(4)
    group = Joined(lambda x, c: x + c[:, None], [(x[:3], c[:3], True, False), (x[3:], c[3:], True, False)])  # type: ignore[arg-type]
    with group.enforced():
        assert [orbit.live(2).flatten().tolist() for orbit in group.orbits] == [[0.0, 3.0, 6.0], [9.0]]


class Centred(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


OPERATORS: list[tuple[str, bool, Callable[[], nn.Module]]] = [
    ("linear", True, lambda: nn.Linear(4, 4)),
    ("layer norm", True, lambda: nn.LayerNorm(4)),
    ("in place", True, lambda: nn.ReLU(inplace=True)),
    ("batch norm", False, lambda: nn.BatchNorm1d(4)),
    ("batch norm without buffers", False, lambda: nn.BatchNorm1d(4, track_running_stats=False)),
    ("dropout", False, lambda: nn.Dropout(0.5)),
    ("centred over the batch", False, Centred),
    ("power iteration", False, lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))),
]


@pytest.mark.parametrize(("apart", "make"), [row[1:] for row in OPERATORS], ids=[row[0] for row in OPERATORS])
def test_only_operators_that_keep_samples_apart_are_joined(apart: bool, make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)  # some weights need no further power iteration
    operator = make()
    x = torch.randn(8, 4, generator=idemlab.generator(0))
    assert keeps_samples_apart(operator, x) is apart
    assert not keeps_samples_apart(operator, x[:1])


@pytest.mark.parametrize(("norm", "joins"), [("group", True), ("batch", False)])
def test_the_preflight_decides(norm: str, joins: bool) -> None:
    experiment = idemlab.resolve(
        {
            "dataset": {"name": "digits"},
            "model": {"name": "autoencoder", "channels": 2, "norm": norm},
            "enforcer": {"name": "relative"},
            "source": {"name": "gaussian"},
            "training": {"steps": 1, "batch_size": 4},
        }
    )
    assert preflight(experiment, assemble(experiment), device=torch.device("cpu")).joins is joins
