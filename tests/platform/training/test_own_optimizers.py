"""Optimisers and schedules of plugins train a run, and what is no optimiser is refused before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import idemlab
from idemlab import OptimizerSpec, ScheduleSpec
from idemlab.errors import Interrupted
from idemlab.watching.watcher import Watcher

Make = Callable[..., dict[str, Any]]


def heavy_ball(parameters: list[Any], lr: float = 0.1, mass: float = 0.5) -> Any:
    return torch.optim.SGD(parameters, lr=lr, momentum=mass)


def halving() -> Any:
    return lambda progress: 0.5 if progress >= 0.5 else 1.0


OWN = (
    idemlab.installed()
    .including(OptimizerSpec(name="heavy-ball", factory=heavy_ball, summary="SGD with momentum."))
    .including(ScheduleSpec(name="halving", factory=halving, summary="Half the rate in the second half."))
)


class _StopAfter(Watcher):
    def stepped(self, step: int) -> None:
        if step == 5:
            raise Interrupted("enough")


def test_they_train_as_those_of_torch_do_and_resume(tmp_path: Path, tiny: Make) -> None:
    own = tiny(optimizer={"name": "heavy-ball", "lr": 0.05, "mass": 0.9, "schedule": "halving"})
    run = idemlab.train(own, tmp_path / "own", catalog=OWN, progress=False)
    same = tiny(
        optimizer={
            "name": "sgd",
            "lr": 0.05,
            "momentum": 0.9,
            "fused": False,
            "schedule": {"name": "step", "at": [0.5], "factor": 0.5},
        }
    )
    torchs = idemlab.train(same, tmp_path / "torch", progress=False)
    assert run.weights_file.read_bytes() == torchs.weights_file.read_bytes()
    table = run.experiment.table()["optimizer"]
    assert (table["name"], table["mass"], table["schedule"]) == ("heavy-ball", 0.9, "halving")
    with pytest.raises(Interrupted):
        idemlab.train(own, tmp_path / "cut", catalog=OWN, progress=False, watchers=[_StopAfter()])
    cut = idemlab.train(own, tmp_path / "cut", catalog=OWN, progress=False, resume=True)
    assert cut.weights_file.read_bytes() == run.weights_file.read_bytes()


def test_what_an_optimizer_remembers_in_another_precision_is_resumed_to_the_bit(tmp_path: Path, tiny: Make) -> None:
    table = tiny(optimizer={"name": "nadam", "lr": 0.05}, training__dtype="float64")
    run = idemlab.train(table, tmp_path / "whole", progress=False)
    with pytest.raises(Interrupted):
        idemlab.train(table, tmp_path / "cut", progress=False, watchers=[_StopAfter()])
    cut = idemlab.train(table, tmp_path / "cut", progress=False, resume=True)
    assert cut.weights_file.read_bytes() == run.weights_file.read_bytes()


def none_at_all(parameters: list[Any], lr: float = 0.1) -> Any:
    return "adam"


def forgetful(parameters: list[Any], lr: float = 0.1) -> Any:
    return torch.optim.SGD(parameters[:1], lr=lr)


@pytest.mark.parametrize(
    ("factory", "what"),
    [(none_at_all, "optimizer 'own' returned a str"), (forgetful, "optimizer 'own' takes 1 of 4 parameters")],
)
def test_what_is_no_optimizer_is_refused(tmp_path: Path, tiny: Make, factory: Any, what: str) -> None:
    catalog = idemlab.installed().including(OptimizerSpec(name="own", factory=factory, summary=""))
    with pytest.raises(idemlab.Failure) as caught:
        idemlab.train(tiny(optimizer={"name": "own"}), tmp_path / "run", catalog=catalog, progress=False)
    assert caught.value.what == what
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "what", "nearest"),
    [
        ({"name": "heavy-bal"}, "there is no optimizer 'heavy-bal'", "heavy-ball"),
        ({"name": "heavy-ball", "mas": 1}, "optimizer 'heavy-ball' has no argument 'mas'", "mass"),
        ({"schedule": "halvin"}, "there is no schedule 'halvin'", "halving"),
        ({"schedule": {"name": "step", "at": []}}, "schedule 'step': 'at' cannot be []", None),
    ],
)
def test_names_and_arguments_are_checked(settings: dict[str, Any], what: str, nearest: str | None, tiny: Make) -> None:
    with pytest.raises(idemlab.BadInput) as caught:
        idemlab.resolve(tiny(optimizer=settings), catalog=OWN)
    assert caught.value.what.startswith(what)
    assert caught.value.nearest == nearest
