"""Rejection by the norm of the Jacobian: what is left out, what stays as it is, and that it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import idemlab
from idemlab import Orbit
from idemlab.contracts.metric import Metric
from idemlab.errors import BadInput
from idemlab.objective.evaluation import Evaluation, evaluate
from idemlab.objective.parts import assemble
from idemlab.objective.preflight import preflight
from idemlab.objective.rejection import slopes

Make = Callable[..., dict[str, Any]]


def bridge(x: torch.Tensor) -> torch.Tensor:
    """Two plateaus, at -1 and 1 in every entry, and a steep way between them where the first entry is near 0."""
    return torch.tanh(20 * x[:, :1]).expand_as(x).clone()


class Firsts(Metric):
    """Mean |first entry of the input|, and how many there were."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def __call__(self, orbit: Orbit, batch: idemlab.Batch) -> dict[str, torch.Tensor]:
        assert torch.equal(orbit.output, bridge(batch.input))
        self.seen.append(batch.input[:, 0])
        return {"first": batch.input[:, 0].abs()}

    def compute(self) -> dict[str, float]:
        seen, self.seen = torch.cat(self.seen), []
        return {"count": float(len(seen)), "least": float(seen.abs().min())}


def evaluated(table: dict[str, Any]) -> Evaluation:
    experiment = idemlab.resolve(table)
    parts = assemble(experiment)
    parts.metrics.append(((), Firsts()))
    return evaluate(experiment, parts, bridge, torch.device("cpu"), rank_points=0)


def test_what_is_steepest_is_left_out_of_a_second_set_of_values_and_the_first_stays(tiny: Make) -> None:
    settings = {"inputs": {"noise": "gaussian", "corrupted": "corrupted"}, "points": 32, "batch_size": 7}
    plain, rejecting = (evaluated(tiny(evaluation=settings | more)) for more in ({}, {"reject": 0.25}))
    values = rejecting.metrics["noise"]
    assert {key: values[key] for key in plain.metrics["noise"]} == plain.metrics["noise"]
    assert rejecting.certificates == plain.certificates
    assert (values["kept_count"], values["rejected"]) == (24, 0.25)
    assert values["least"] < values["kept_least"]
    assert values["first"] < values["kept_first"]
    assert not [key for name in ("data", "corrupted") for key in rejecting.metrics[name] if key.startswith("kept")]
    assert "At noise the values named kept_... leave out the 8 of 32 samples" in rejecting.sentence
    assert "leave out" not in plain.sentence
    assert "leave out" not in evaluated(tiny(evaluation=settings | {"reject": 0.01})).sentence, "nothing was left out"
    few = evaluated(tiny(evaluation=settings | {"reject": 0.99})).metrics["noise"]
    assert few["kept_count"] == 2


def test_the_norm_is_that_of_the_jacobian_whatever_the_batches() -> None:
    def f(x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x.square()  # J = diag(x)

    x = torch.randn(30, 400, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x *= torch.linspace(0.1, 10, 30)[:, None]
    found = slopes(f, [Orbit(f, part) for part in x.split(11)])
    torch.testing.assert_close(found, x.norm(dim=1), rtol=0.15, atol=0)
    conditions = torch.arange(30.0, dtype=torch.float64)[:, None]

    def under(x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return c * x

    found = slopes(under, [Orbit(under, x, conditions)])
    torch.testing.assert_close(found, 20 * conditions[:, 0], rtol=0.15, atol=1e-6)


def test_an_operator_in_half_precision_is_looked_at_from_farther_away() -> None:
    def f(x: torch.Tensor) -> torch.Tensor:
        return (3 * x.bfloat16()).float()

    x = torch.randn(20, 50)
    found = slopes(f, [Orbit(f, x)], eps=torch.finfo(torch.bfloat16).eps)
    torch.testing.assert_close(found, torch.full((20,), 3 * 50**0.5, dtype=torch.float64), rtol=0.15, atol=0)


def test_without_generated_samples_there_is_nothing_to_reject(tiny: Make) -> None:
    experiment = idemlab.resolve(tiny(evaluation={"inputs": {"corrupted": "corrupted"}, "reject": 0.1}))
    with pytest.raises(BadInput, match="no generated samples are evaluated"):
        preflight(experiment, assemble(experiment), device=torch.device("cpu"))


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_out_of_range_is_refused(tiny: Make, share: float) -> None:
    with pytest.raises(BadInput, match="reject"):
        idemlab.resolve(tiny(evaluation={"reject": share}))
