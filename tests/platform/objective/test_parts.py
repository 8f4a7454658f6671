"""From names to objects: optimisers by name, and plugins that return the wrong thing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import idemlab
from idemlab.catalog.muon import Muon
from idemlab.catalog.named import Named
from idemlab.experiment.settings import OptimizerSettings
from idemlab.objective.optimizers import build_optimizers
from idemlab.objective.parts import assemble, build_operator

Make = Callable[..., dict[str, Any]]


def _parameters() -> list[nn.Parameter]:
    return list(nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)).parameters())


@pytest.mark.parametrize("name", ["adam", "Adam", "SGD", "adamw", "rmsprop", "nadam"])
def test_any_class_of_torch_optim_by_name(name: str) -> None:
    (optimizer,) = build_optimizers(OptimizerSettings(name=name, lr=0.5), _parameters())
    assert type(optimizer).__name__.lower() == name.lower()
    assert [group["initial_lr"] for group in optimizer.param_groups] == [0.5]


def test_muon_takes_the_matrices_and_adamw_the_rest() -> None:
    settings = OptimizerSettings.model_validate({"name": "muon", "lr": 0.5, "weight_decay": 0.0, "adamw": {"lr": 0.1}})
    muon, adamw = build_optimizers(settings, _parameters())
    assert type(muon) is Muon
    assert isinstance(adamw, torch.optim.AdamW)
    assert [p.ndim for group in muon.param_groups for p in group["params"]] == [2]
    assert [p.ndim for group in adamw.param_groups for p in group["params"]] == [1, 1, 1]
    assert muon.param_groups[0]["weight_decay"] == 0.0
    assert adamw.param_groups[0]["initial_lr"] == 0.1
    assert len(build_optimizers(OptimizerSettings(name="muon"), [nn.Parameter(torch.ones(2, 2))])) == 1
    assert len(build_optimizers(OptimizerSettings(name="muon"), [nn.Parameter(torch.ones(2))])) == 1


def test_nothing_to_train_needs_no_optimizer() -> None:
    assert build_optimizers(OptimizerSettings(), []) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "adem"}, "did you mean: adam"),
        ({"name": "adam", "momentum": 0.9}, "no argument 'momentum'"),
        ({"name": "adam", "beta": [0.9, 0.99]}, "did you mean: betas"),
        ({"name": "sgd", "momentum": -1.0}, "Invalid momentum"),
        ({"name": "muon", "adamw": 3}, "must be a table"),
        ({"name": "muon", "adamw": {"learning_rate": 1.0}}, "no argument 'learning_rate'"),
    ],
)
def test_wrong_settings_are_bad_input(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(idemlab.BadInput) as caught:
        build_optimizers(OptimizerSettings.model_validate(settings), _parameters())
    assert message in str(caught.value)


def test_a_run_starts_from_the_same_weights_whatever_was_drawn_before(tiny: Make) -> None:
    experiment = idemlab.resolve(tiny())
    torch.manual_seed(5)
    first = assemble(experiment).objective.state_dict()
    torch.manual_seed(6)
    again = assemble(experiment).objective.state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)


def _answering(experiment: idemlab.Experiment, kind: str, answer: object) -> idemlab.Experiment:
    """The same experiment, but for one kind whose factories return something else."""

    def other(named: Named) -> Named:
        spec = dataclasses.replace(named.spec, factory=lambda *_, **__: answer)
        return dataclasses.replace(named, provided=dataclasses.replace(named.provided, spec=spec))

    if kind == "source":
        return dataclasses.replace(experiment, sources=tuple(other(named) for named in experiment.sources))
    return dataclasses.replace(experiment, **{kind: other(getattr(experiment, kind))})


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("dataset", "idemlab.Dataset"),
        ("enforcer", "idemlab.Enforcer"),
        ("source", "idemlab.Source"),
        ("model", "torch.nn.Module"),
    ],
)
def test_a_plugin_that_returns_the_wrong_thing_is_named(tiny: Make, kind: str, expected: str) -> None:
    with pytest.raises(idemlab.BadInput, match=f"returned str, not an? {expected}") as caught:
        assemble(_answering(idemlab.resolve(tiny(source="gaussian")), kind, "nonsense"))
    assert "idemlab 0" in str(caught.value)


def test_the_operator_alone(tiny: Make) -> None:
    operator = build_operator(idemlab.resolve(tiny()), (4,))
    assert operator(torch.zeros(2, 4)).shape == (2, 4)
