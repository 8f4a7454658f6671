"""Objects that cannot be trained are refused in one screen, before anything is written."""

from __future__ import annotations

import runpy
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import idemlab
from idemlab import BadInput, Enforcement, Enforcer, Orbit, Step, Traits

_OWN = runpy.run_path(str(Path(__file__).parents[1] / "own_parts.py"), run_name="own_parts")
Pull, Size, network = (_OWN[name] for name in ("Pull", "Size", "network"))
LEAST = {"training": {"steps": 4, "batch_size": 16}, "evaluation": {"rank_points": 1, "points": 16}}


class Locked(nn.Linear):
    """Cannot be copied."""

    def __init__(self) -> None:
        super().__init__(4, 4)
        self.lock = threading.Lock()


def _on_two_devices() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, device="meta", affine=False))


def _spoil(module: nn.Module) -> None:
    nn.init.constant_(module.weight, torch.nan)


class Narrow(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 3)


class Elsewhere(nn.Linear):
    """Returns what lies on another device."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).to("meta")


class DropsOne(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[1:]


class Undeclared(Pull):
    pass


class WronglyDeclared(Pull):
    traits = "loss"


class TwoSided(Enforcer):
    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        raise KeyError("nothing here")


BAD: list[tuple[dict[str, Any], str]] = [
    ({"model": Narrow()}, r"model 'given:narrow' changes the shape of a sample: \[4\] became \[3\]"),
    ({"model": Elsewhere(4, 4)}, "model 'given:elsewhere' moves a sample from cpu to meta"),
    ({"model": DropsOne(4, 4)}, "model 'given:drops-one' makes 15 results of 16 samples"),
    ({"model": nn.Identity()}, "model 'given:identity' has no parameters"),
    ({"model": network().requires_grad_(False)}, "has frozen all of its 4 parameters"),
    (
        {"model": network().double()},
        "model 'given:sequential' has parameters in float64, and the run trains in float32",
    ),
    ({"model": network().half()}, "has parameters in float16, and the run trains in float32"),
    ({"model": nn.Linear(4, 4, device="meta")}, "has no values for 'weight': it lies on the meta device"),
    ({"model": _on_two_devices()}, "has no values for '1.running_mean': it lies on the meta device"),
    ({"model": nn.LazyLinear(4)}, "has no shape yet for 'weight'"),
    ({"model": nn.Linear(4, 4).apply(_spoil)}, "weight of model 'given:linear' starts with values that are not finite"),
    ({"model": torch.jit.ScriptModule()}, "has a TorchScript module"),
    ({"model": nn.Sequential(nn.Linear(4, 4), torch.jit.ScriptModule())}, "has a TorchScript module"),
    ({"model": nn.Linear(5, 5)}, "model 'given:linear' cannot take the samples of dataset 'given:tensors'"),
    ({"model": Locked()}, "cannot be copied: cannot pickle '_thread.lock' object"),
    ({"model": Locked}, "cannot be copied: cannot pickle '_thread.lock' object"),
    ({"model": torch.zeros(3)}, "a model cannot be a Tensor"),
    ({"model": lambda x: x}, "which cannot be called without x"),
    ({"model": partial(nn.Linear, 4)}, "cannot be called without out_features"),
    ({"model": lambda: 3}, "returned int, not a torch.nn.Module"),
    ({"model": 3}, "a model is a table with a 'name', not 3"),
    ({"enforcer": nn.Linear(4, 4)}, "an enforcer cannot be a Linear"),
    ({"enforcer": WronglyDeclared()}, "the traits of the given enforcer are a str"),
    (
        {"enforcer": Undeclared(), "overrides": ["training.micro_batches=2"]},
        "does not say whether it couples the samples",
    ),
    ({"enforcer": lambda: network()}, "returned a Sequential, not an idemlab.Enforcer"),
    ({"enforcer": Pull(), "overrides": ["enforcer.weight=2.0"]}, "is an object, so that 'weight' cannot be set"),
    ({"metrics": Size()}, "`metrics` is a list"),
    ({"metrics": [lambda orbit, batch: {}]}, "cannot be called without orbit and batch"),
    ({"source": Size()}, "cannot be called without orbit and batch"),
]


@pytest.mark.parametrize(("parts", "message"), BAD, ids=[message[:50] for _, message in BAD])
def test_what_cannot_be_trained_is_refused_and_leaves_nothing(
    parts: dict[str, Any], message: str, module: nn.Module, data: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        idemlab.train(LEAST, tmp_path / "run", **({"model": module, "dataset": data} | parts))
    assert len(str(caught.value).splitlines()) <= 6
    assert "idemlab show given" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_fault_in_a_given_part_points_to_the_callers_code(
    module: nn.Module, data: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    with pytest.raises(idemlab.Failure, match="KeyError") as caught:
        idemlab.train(LEAST, tmp_path / "run", model=module, dataset=data, enforcer=TwoSided())
    assert "test_given_faults.py, line" in str(caught.value.where)
    assert "correct it there" in str(caught.value.next_step)
    assert "authors" not in str(caught.value)


def test_declared_traits_are_used(module: nn.Module, data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    class Declared(Pull):
        traits = Traits(batch_coupled=True)

    with pytest.raises(BadInput, match="couples the samples of a batch, so cutting"):
        idemlab.train(
            LEAST,
            tmp_path / "run",
            model=module,
            dataset=data,
            enforcer=Declared(),
            overrides=["training.micro_batches=2"],
        )


def test_an_object_in_a_call_that_takes_none_is_refused() -> None:
    with pytest.raises(BadInput, match="cannot be part of an experiment") as caught:
        idemlab.resolve({"model": nn.Linear(4, 4), "dataset": "gaussian"})
    assert "idemlab.train" in str(caught.value.next_step)
