"""Each construction takes a step with every source, reconstruction and data set; what is not possible is refused."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

import idemlab
from idemlab import BadInput, Dataset, TensorRows
from idemlab.objective.parts import assemble
from idemlab.objective.preflight import preflight

DATASETS: dict[str, dict[str, Any]] = {
    "torus": {"name": "torus", "ambient": 6, "train": 64, "test": 16},
    "digits": {"name": "digits"},
    "faces": {"name": "faces", "size": 8},
}
COUPLING = {"name": "coupling", "width": 8, "mixing": 1, "layers": 1, "leading": 3}
SMALL = {"name": "biorthogonal", "latent": 3, "widths": []}
ARMS: dict[str, dict[str, Any]] = {
    "linearizer": {"model": COUPLING, "enforcer": {"name": "linearizer", "rank": 3}},
    "linearizer, learned": {"model": COUPLING, "enforcer": {"name": "linearizer", "learned": True}},
    "biorthogonal": {"model": SMALL, "enforcer": {"name": "none"}},
    "quantised": {"model": SMALL | {"cell": 0.25}, "enforcer": {"name": "none"}},
    "section": {"model": {"name": "mlp", "width": 8}, "enforcer": {"name": "section", "rank": 3}},
    "section of biorthogonal": {"model": SMALL, "enforcer": {"name": "section", "rank": 2}},
    "truncation": {"model": SMALL, "enforcer": {"name": "truncation", "rank": 2}},
    "alignment": {"model": SMALL, "enforcer": {"name": "alignment"}},
    "alignment of section": {
        "model": {"name": "mlp", "width": 8},
        "enforcer": {"name": "hybrid", "enforcers": [{"name": "section", "rank": 3}, {"name": "alignment"}]},
    },
    "limit": {"model": {"name": "mlp", "width": 8}, "enforcer": {"name": "limit", "most": 3, "terms": 2}},
}
SOURCES: list[dict[str, Any]] = [
    {"name": "data"},
    {"name": "gaussian"},
    {"name": "fourier", "samples": 16},
    {"name": "corrupted", "blur": 1.0},
    {"name": "corrupted", "mask": 0.3},
    {"name": "augmented", "transforms": [{"name": "RandomAffine", "degrees": 10}]},
    {"name": "imle", "pool": 16},
    {"name": "transport", "pool": 16},
    {"name": "transport", "pool": 16, "debiased": True},
]
IMAGES_ONLY = [{"name": "corrupted", "blur": 1.0}, SOURCES[5]]


@cache
def dataset(name: str) -> Dataset:
    """The first 64 training samples and 16 test samples."""
    whole = idemlab.installed().check("dataset", DATASETS[name], "here").build()
    train, test = whole.train.__getitems__(list(range(64))), whole.test.__getitems__(list(range(16)))
    return replace(
        whole, train=TensorRows(train.input, label=train.label), test=TensorRows(test.input, label=test.label)
    )


def step(data: str, arm: str, **tables: Any) -> int:
    """FLOPs of one step, forward and backward, of this experiment."""
    table = ARMS[arm] | {"dataset": DATASETS[data], "training": {"steps": 1, "batch_size": 8}} | tables
    experiment = idemlab.resolve(table | {"evaluation": {"rank_points": 0, "metrics": []}})
    parts = assemble(experiment, dataset(data))
    return preflight(experiment, parts, device=torch.device("cpu")).flops_per_step


def test_every_construction_takes_a_step() -> None:
    for arm in ("linearizer", "quantised", "alignment", "truncation"):
        assert step("torus", arm, source=SOURCES[-2]) > 0, arm


@pytest.mark.long
@pytest.mark.parametrize("arm", list(ARMS))
@pytest.mark.parametrize("data", list(DATASETS))
def test_every_source_and_reconstruction(data: str, arm: str) -> None:
    for source in SOURCES:
        # As the points of the enforcer beside plain data, and as what the data term starts from.
        for tables in ({"source": source}, {"reconstruction": {"input": source, "distance": "l1"}}):
            if data == "torus" and source in IMAGES_ONLY:
                with pytest.raises(BadInput, match="image"):
                    step(data, arm, **tables)
            else:
                assert step(data, arm, **tables) > 0, (source, tables)


class _Scaling(torch.nn.Module):
    """An invertible network whose inverse is right, or the identity."""

    shape = (4,)

    def __init__(self, right: bool) -> None:
        super().__init__()
        self.right, self.scale = right, torch.nn.Parameter(torch.full((4,), 0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale

    def inverse(self, z: torch.Tensor) -> torch.Tensor:
        return z / self.scale if self.right else z


def test_a_construction_that_does_not_hold_is_refused_before_training(tmp_path: Any) -> None:
    linearizer = {"name": "linearizer", "rank": 2}
    table = {"dataset": {"name": "gaussian", "shape": [4], "train": 32, "test": 8}, "enforcer": linearizer}
    table["training"] = {"steps": 1, "batch_size": 8}
    twice = {"name": "hybrid", "enforcers": [{"name": "linearizer", "rank": 3}, linearizer]}
    for name, changed, model in (
        ("wrong", table, _Scaling(right=False)),
        ("twice", table | {"enforcer": twice}, _Scaling(right=True)),
    ):
        with pytest.raises(BadInput, match=r"by construction, and it is off by \d+ % of the spread before training"):
            idemlab.train(changed, tmp_path / name, model=model, progress=False)
        assert not (tmp_path / name).exists()
