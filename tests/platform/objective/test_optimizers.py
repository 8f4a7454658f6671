"""The optimisers: each that is offered trains, and what an argument cannot be is told with what it should be."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import idemlab
from idemlab.catalog.torch_optimizers import UNSUITABLE_OPTIMIZERS
from idemlab.experiment.settings import OptimizerSettings
from idemlab.objective.optimizers import build_optimizers, clear_gradients
from idemlab.testing import check_optimizer

Make = Callable[..., dict[str, Any]]

CLASSES = {
    name: value
    for name, value in vars(torch.optim).items()
    if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
}
USABLE = [name for name in CLASSES if name.lower() not in UNSUITABLE_OPTIMIZERS]
WRONG = ("(0.9,0.99)", {"a": 1}, [True])


def _parameters() -> list[nn.Parameter]:
    return [nn.Parameter(torch.ones(3, 3)), nn.Parameter(torch.ones(3))]


@pytest.mark.parametrize("name", CLASSES)
def test_what_is_offered_takes_a_step_and_the_rest_is_refused_when_resolved(name: str, tiny: Make) -> None:
    table = tiny(optimizer={"name": name})
    if name.lower() in UNSUITABLE_OPTIMIZERS:
        with pytest.raises(idemlab.BadInput, match=f"optimizer '{name}' cannot be used: it ") as caught:
            idemlab.resolve(table)
        assert caught.value.next_step == "set optimizer.name = adam"
        return
    parameters = _parameters()
    built = build_optimizers(idemlab.resolve(table).optimizer, parameters)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    for optimizer in built:
        optimizer.step()
    assert all(bool((parameter < 1).all()) for parameter in parameters)


def test_an_unknown_name_is_offered_only_what_works() -> None:
    with pytest.raises(idemlab.BadInput, match="there is no optimizer 'adan'") as caught:
        build_optimizers(OptimizerSettings(name="adan"), _parameters())
    assert {name.lower() for name in CLASSES} - UNSUITABLE_OPTIMIZERS.keys() == set(caught.value.choices)


@pytest.mark.parametrize(
    ("name", "given"), [("Muon", {"adamw": {"lr": 0.5}}), ("Muon", {}), ("Adam", {}), ("Adam", {"foreach": True})]
)
def test_what_the_kit_checks_is_what_a_run_trains_with(name: str, given: dict[str, Any]) -> None:
    run = build_optimizers(OptimizerSettings(name=name, lr=0.25, **given), _parameters())
    named = idemlab.installed().check("optimizer", {"name": name.lower(), "lr": 0.25, **given}, "here")
    made = named.build(_parameters())
    checked = made if isinstance(made, list) else [made]
    assert [type(each) for each in checked] == [type(each) for each in run]
    for one, other in zip(checked, run, strict=True):
        assert one.defaults == other.defaults


def test_arguments_that_a_class_refuses_are_no_fault_of_its_checks() -> None:
    with pytest.raises(idemlab.BadInput, match="Nesterov momentum requires"):
        check_optimizer("sgd", {"nesterov": True})


@pytest.mark.parametrize("name", USABLE)
def test_an_argument_of_a_wrong_type_is_told_with_the_right_one(name: str) -> None:
    keys = inspect.signature(CLASSES[name]).parameters.keys() - {"params", "lr"}
    for key, value in product(sorted(keys), WRONG):
        if key == "adjust_lr_fn" and isinstance(value, str):
            continue  # a text is right
        with pytest.raises(idemlab.BadInput) as caught:
            build_optimizers(OptimizerSettings.model_validate({"name": name, key: value}), _parameters())
        assert f"optimizer '{name.lower()}': '{key}'" in caught.value.what
        assert f"key '{key}'" in (caught.value.where or "")
        assert caught.value.expected


def test_the_expected_form_of_a_pair_is_a_list() -> None:
    with pytest.raises(idemlab.BadInput) as caught:
        build_optimizers(OptimizerSettings.model_validate({"betas": "(0.9,0.99)"}), _parameters())
    assert caught.value.expected == "[float, float]"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"betas": [0.9, 1.5]}, "1.5"),
        ({"betas": [0.9]}, "'betas'"),
        ({"name": "sgd", "nesterov": True}, "momentum"),
        ({"name": "adamax", "differentiable": True}, "leaf"),
        ({"name": "nadam", "capturable": True}, "capturable"),
        ({"name": "muon", "adjust_lr_fn": "nothing"}, "nothing"),
        ({"name": "muon", "adamw": {"betas": "x"}}, "'betas'"),
    ],
)
def test_what_fails_only_in_a_step_is_refused_before_anything_is_written(
    settings: dict[str, Any], message: str, tiny: Make, tmp_path: Path
) -> None:
    with pytest.raises(idemlab.BadInput, match=message):
        idemlab.train(tiny(optimizer=settings), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_numbers_are_kept_as_they_are() -> None:
    (built,) = build_optimizers(OptimizerSettings.model_validate({"betas": [0.9, 0.99], "eps": 1}), _parameters())
    assert built.param_groups[0]["betas"] == (0.9, 0.99)
    assert built.param_groups[0]["eps"] == 1


class _Own(torch.optim.SGD):
    """An optimiser whose gradients are cleared in its own way."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.full_like(parameter, 7.0)


@pytest.mark.parametrize("cls", [torch.optim.SGD, torch.optim.Adam, _Own])
def test_gradients_are_cleared_as_the_optimiser_does(cls: Callable[..., torch.optim.Optimizer]) -> None:
    def left(clear: Callable[[torch.optim.Optimizer], None]) -> list[float | None]:
        parameters = _parameters()
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        clear(cls([{"params": [parameter]} for parameter in parameters], lr=0.1))
        return [None if parameter.grad is None else parameter.grad.mean().item() for parameter in parameters]

    assert left(clear_gradients) == left(lambda optimizer: optimizer.zero_grad())
