"""Settings of enforcers, models and sources that could do nothing, or would fail only later, are refused with a way out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import idemlab
from idemlab import IdemlabError
from idemlab.objective.given import resolved
from idemlab.objective.parts import assemble
from idemlab.objective.preflight import preflight

BASE: dict[str, Any] = {
    "dataset": {"name": "gaussian", "shape": [4], "train": 64, "test": 32},
    "model": {"name": "mlp", "width": 8, "depth": 1},
    "training": {"steps": 12, "batch_size": 16},
}
COUPLING = {"name": "coupling", "width": 8}
SINGLE = {"name": "gaussian", "shape": [1], "train": 64, "test": 32}


class Told(nn.Linear):
    """A model that tells a shape, and an inverse and codes of a sort."""

    def __init__(self, *shape: int) -> None:
        super().__init__(4, 4)
        self.shape = shape

    def inverse(self, z: torch.Tensor) -> torch.Tensor:
        return z

    encode = decode = inverse


def test_seeds_and_small_tolerances_are_no_suspects() -> None:
    usual = {"dataset": {"name": "torus", "seed": 2**31 - 1}, "enforcer": {"name": "limit", "tolerance": 1e-9}}
    experiment = idemlab.resolve(BASE | usual)
    assert [text for thing in experiment.things for text in thing.extremes()] == []


@pytest.mark.parametrize(
    ("changes", "model", "words"),
    [
        ({"enforcer": {"name": "section", "rank": 2}}, Told(5), "whose attribute 'shape' is [5]"),
        ({"enforcer": {"name": "linearizer", "rank": 2}}, Told(2, 3), "correct the attribute: model.shape = (4,)"),
        ({"enforcer": {"name": "truncation", "rank": 2}}, Told(1, 4), "samples have the shape [4]"),
        ({"enforcer": {"name": "linearizer", "rank": 1}}, Told(1), "samples of a single number"),
        ({"enforcer": {"name": "linearizer", "rank": 4}, "model": COUPLING}, None, "f would be the identity"),
        ({"enforcer": {"name": "limit", "depth": 2, "most": 3}}, None, "with 'depth' there is no fixed point"),
        ({"enforcer": {"name": "limit", "depth": 10**9}}, None, "less than or equal to 1000"),
        ({"enforcer": {"name": "log-relative", "scale": 1e-25}}, None, "'scale' cannot be 1e-25"),
        ({"enforcer": {"name": "gradient", "depth": 10**6}}, None, "less than or equal to 1000"),
        ({"enforcer": {"name": "rank", "rank": 2, "every": 2**63 - 1}}, None, "less than or equal to 1000000"),
        ({"enforcer": {"name": "rank", "rank": 2, "weight": 1e308}}, None, "ordinary value than weight = 1e+308 of"),
        ({"enforcer": {"name": "ign", "tightness": 1e-308}}, None, "ordinary value than tightness = 1e-308 of"),
        ({"enforcer": {"name": "log-relative", "scale": 1e308}}, None, "ordinary value than scale = 1e+308 of"),
        (
            {"source": {"name": "gaussian", "scale": 1e30}, "enforcer": "gradient"},
            None,
            "ordinary value than scale = 1e+30 of",
        ),
        ({"source": {"name": "transport", "pool": 2**63 - 1}}, None, "ordinary value than pool = 9223372036854775807"),
        ({"model": COUPLING | {"mixing": 10**18}}, None, "less than or equal to 1000"),
        ({"model": {"name": "mlp", "depth": 10**6}}, None, "less than or equal to 1000"),
        ({"enforcer": "alignment"}, nn.Linear(4, 4), "module that you gave, or give model='"),
        (
            {"enforcer": "purification"},
            nn.Sequential(nn.Linear(4, 4), nn.Tanh()),
            "give model='linear' in place of the object",
        ),
        ({"model": COUPLING | {"bound": 1e3}}, None, "'bound' cannot be 1000.0"),
        ({"model": {"name": "biorthogonal", "cell": 1e-300}}, None, "'cell' cannot be 1e-300"),
        ({"model": {"name": "biorthogonal"}, "dataset": SINGLE}, None, "choose another model"),
        ({"source": {"name": "transport", "pool": 16, "noise": "imle"}}, None, "cannot be matched again"),
        ({"evaluation": {"reject": 0.1}}, None, "no metric measures the generated samples at noise"),
        (
            {"evaluation": {"reject": 0.1, "metrics": ["reconstruction-error"]}},
            None,
            "no metric measures the generated",
        ),
    ],
)
def test_it_is_refused_before_training(changes: dict[str, Any], model: nn.Module | None, words: str) -> None:
    def started() -> None:
        experiment, _ = resolved(BASE | changes, [], {"model": model} if model else {}, idemlab.installed())
        preflight(experiment, assemble(experiment), device=torch.device("cpu"))

    with pytest.raises(IdemlabError) as caught:
        started()
    assert words in str(caught.value)


class Masked(nn.Linear):
    """Has a mask among its parameters, which is not trained."""

    def __init__(self) -> None:
        super().__init__(4, 4)
        self.mask = nn.Parameter(torch.full((4, 4), -torch.inf).triu(1), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) @ self.mask.exp()


def test_a_mask_may_be_infinite() -> None:
    experiment, _ = resolved(BASE, [], {"model": Masked()}, idemlab.installed())
    assert preflight(experiment, assemble(experiment), device=torch.device("cpu")).steps == 12
