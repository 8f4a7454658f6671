"""One batch before training: each combination that cannot work is refused, with what would."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import idemlab
from idemlab.catalog.named import Named
from idemlab.errors import BadInput
from idemlab.experiment.settings import TrainingSettings
from idemlab.objective.given import resolved
from idemlab.objective.length import planned_steps
from idemlab.objective.parts import Parts, assemble
from idemlab.objective.preflight import Plan, blame, preflight

Make = Callable[..., dict[str, Any]]
CPU = torch.device("cpu")


def _preflight(table: dict[str, Any], **parts: Any) -> Plan:
    experiment = idemlab.resolve(table)
    assembled = dataclasses.replace(assemble(experiment), **parts)
    return preflight(experiment, assembled, device=CPU)


def _refusal(table: dict[str, Any], **parts: Any) -> str:
    with pytest.raises(idemlab.BadInput) as caught:
        _preflight(table, **parts)
    return str(caught.value)


def _with_operator(tiny: Make, operator: nn.Module, **changes: Any) -> str:
    experiment = idemlab.resolve(tiny(**changes))
    parts = assemble(experiment)
    parts.objective.operator = operator
    with pytest.raises(idemlab.BadInput) as caught:
        preflight(experiment, parts, device=CPU)
    return str(caught.value)


def test_a_plan_counts_parameters_steps_and_operations(tiny: Make) -> None:
    plan = _preflight(tiny())
    assert plan.parameters == 4 * 8 + 8 + 8 * 4 + 4
    assert plan.steps == 12
    # Two applications, forward and backward; the input needs no gradient: 2 * 64 multiply-adds * (2 + 4 - 1/2) * 16 rows
    assert plan.flops_per_step == 2 * 64 * 16 * 2 + 2 * 64 * 16 * 4 - 2 * 32 * 16
    assert _preflight(tiny(training__micro_batches=4)).flops_per_step == plan.flops_per_step


@pytest.mark.parametrize("length", [{"flops": 1e300}, {"steps": 10**13}, {"epochs": 10**400}], ids=str)
def test_a_run_that_never_ends_is_a_typing_error(length: dict[str, Any]) -> None:
    (given,) = length
    with pytest.raises(BadInput, match=r"never ends: the number of steps is 1\.0e") as caught:
        planned_steps(TrainingSettings(**length), steps_per_epoch=10, flops_per_step=1000)
    assert caught.value.where == f"[training], key '{given}'"
    assert planned_steps(TrainingSettings(flops=1e9), 10, 1000) == 10**6


def test_the_trial_changes_nothing(tiny: Make) -> None:
    experiment = idemlab.resolve(tiny())
    parts = assemble(experiment)
    before = {key: value.clone() for key, value in parts.objective.state_dict().items()}
    state = torch.get_rng_state()
    preflight(experiment, parts, device=CPU)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[key], value) for key, value in parts.objective.state_dict().items())
    assert all(p.grad is None for p in parts.objective.parameters())


def test_a_model_that_changes_the_shape(tiny: Make) -> None:
    message = _with_operator(tiny, nn.Linear(4, 3))
    assert "changes the shape of a sample: [4] became [3]" in message
    assert "f(f(x)) exists" in message


def test_a_model_that_cannot_take_the_samples(tiny: Make) -> None:
    message = _with_operator(tiny, nn.Linear(5, 5))
    assert "cannot take the samples of dataset 'gaussian', of shape [4]" in message


def test_a_model_that_returns_no_tensor(tiny: Make) -> None:
    class Pair(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    assert "became tuple" in _with_operator(tiny, Pair())


def test_a_dataset_that_misstates_its_shape(tiny: Make) -> None:
    dataset = idemlab.Dataset.of_tensors(train=torch.zeros(64, 5), test=torch.zeros(8, 5))
    wrong = dataclasses.replace(dataset, shape=(4,))
    assert "declares samples of shape [4], but they have shape [5]" in _refusal(tiny(), dataset=wrong)


def test_a_batch_larger_than_the_data(tiny: Make) -> None:
    assert "set training.batch_size = 64" in _refusal(tiny(training__batch_size=128))


def test_batch_coupled_enforcers_refuse_micro_batches(tiny: Make) -> None:
    message = _refusal(tiny(enforcer={"name": "relative"}, training__micro_batches=2))
    assert "couples the samples" in message
    assert "set training.micro_batches = 1" in message


def test_a_clamp_by_the_reconstruction_needs_one(tiny: Make) -> None:
    assert "weight 0" in _refusal(tiny(enforcer={"name": "ign"}, reconstruction={"weight": 0.0}))


def test_batch_statistics_are_refused_where_they_are_not_exact(tiny: Make) -> None:
    images = {
        "dataset": {"name": "gaussian", "shape": [1, 8, 8], "train": 32, "test": 8},
        "model": {"name": "autoencoder", "norm": "batch", "channels": 4, "latent": 4, "depth": 1},
    }
    message = _refusal(tiny(**images, enforcer={"name": "ign"}))
    assert "batch statistics" in message
    assert "set model.norm = group" in message
    _preflight(tiny(**images, enforcer={"name": "ign", "routing": "surrogate"}))
    for changes in ({"enforcer": {"name": "ign"}}, {"training__micro_batches": 2}):
        given = {"model": nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))}
        experiment, _ = resolved(tiny(**changes), [], given, idemlab.installed())
        with pytest.raises(idemlab.BadInput, match="batch statistics") as caught:
            preflight(experiment, assemble(experiment), device=CPU)
        assert "put torch.nn.GroupNorm in the place" in str(caught.value.next_step), "a given module has no key 'norm'"


def test_weight_projection_needs_a_linear_operator_with_square_maps(tiny: Make) -> None:
    table = {"enforcer": {"name": "purification"}}
    assert "works on linear maps only, and model 'mlp' is not linear" in _refusal(tiny(**table))
    affine = nn.Linear(4, 4)
    assert "not linear" in _with_operator(tiny, affine, **table)
    narrow = nn.Sequential(nn.Linear(4, 2, bias=False), nn.Linear(2, 4, bias=False))
    assert "has none" in _with_operator(tiny, narrow, **table)


def test_double_backward_and_compile_do_not_go_together(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    traits = idemlab.Traits(needs_double_backward=True)
    monkeypatch.setattr(Named, "traits", lambda self: traits)
    assert "set training.compile = false" in _refusal(tiny(training__compile=True))


def test_a_domain_is_looked_up_in_the_spectrum(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    traits = idemlab.Traits(linear_only=True, domain=(0.0, 1.0))
    monkeypatch.setattr(Named, "traits", lambda self: traits)
    inside, outside = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    inside.weight.data.copy_(torch.diag(torch.tensor([0.0, 0.2, 0.7, 1.0])))
    outside.weight.data.copy_(torch.diag(torch.tensor([0.0, 0.2, 0.7, 1.2])))
    assert "needs real eigenvalues in [0, 1]" in _with_operator(tiny, outside)
    broken = nn.Linear(4, 4, bias=False)
    broken.weight.data.fill_(math.inf)
    assert "values that are not finite" in _with_operator(tiny, broken)
    experiment = idemlab.resolve(tiny())
    parts = assemble(experiment)
    parts.objective.operator = inside
    assert preflight(experiment, parts, device=CPU).traits is traits


def test_what_only_mixed_precision_cannot_do_is_told_before_training(tiny: Make) -> None:
    class Solving(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = super().forward(x)
            return torch.linalg.solve_triangular(torch.eye(4, dtype=h.dtype), h.mT, upper=False).mT.to(x.dtype)

    for precision, fails in (("full", False), ("bf16", True)):
        experiment = idemlab.resolve(tiny(training__precision=precision, training__dtype="float32"))
        parts = assemble(experiment)
        parts.objective.operator = Solving(4, 4).float()
        if fails:
            with pytest.raises(idemlab.Failure, match="BFloat16"):
                preflight(experiment, parts, device=CPU)
        else:
            preflight(experiment, parts, device=CPU)


def test_float64_is_refused_on_mps(tiny: Make) -> None:
    experiment = idemlab.resolve(tiny(training__dtype="float64"))
    with pytest.raises(idemlab.BadInput, match="no float64"):
        preflight(experiment, assemble(experiment), device=torch.device("mps"))


class _Bad(idemlab.Enforcer):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def forward(self, orbit: idemlab.Orbit, step: idemlab.Step) -> idemlab.Enforcement:
        if self.what == "raises":
            raise KeyError("oops")
        if self.what == "bad input":
            raise idemlab.BadInput("not like this")
        return idemlab.Enforcement(loss=orbit.output.flatten(1).mean(1) * float("nan"))


def _with_enforcer(tiny: Make, what: str) -> Parts:
    parts = assemble(idemlab.resolve(tiny()))
    parts.objective.enforcer = _Bad(what)
    return parts


@pytest.mark.parametrize(("what", "message"), [("nan", "a loss of nan at finite points"), ("raises", "KeyError")])
def test_what_a_plugin_does_wrong_at_the_first_batch_is_told_as_its_fault(tiny: Make, what: str, message: str) -> None:
    with pytest.raises(idemlab.Failure, match=message) as caught:
        preflight(idemlab.resolve(tiny()), _with_enforcer(tiny, what), device=CPU)
    assert "enforcer 'gradient'" in str(caught.value)
    assert "idemlab 0" in str(caught.value)


def test_a_model_that_raises_where_exactness_is_checked_is_told(tiny: Make) -> None:
    class Training(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not self.training:
                raise KeyError("oops")
            return super().forward(x)

    experiment = idemlab.resolve(tiny(enforcer={"name": "section", "rank": 2}))
    parts = assemble(experiment)
    parts.objective.operator = Training(4, 4)
    with pytest.raises(idemlab.Failure, match=r"f\(f\(x\)\) in eval mode raised KeyError"):
        preflight(experiment, parts, device=CPU)


def test_a_message_meant_for_the_user_is_passed_on(tiny: Make) -> None:
    with pytest.raises(idemlab.BadInput, match="not like this"):
        preflight(idemlab.resolve(tiny()), _with_enforcer(tiny, "bad input"), device=CPU)


def test_blame_passes_results_through(tiny: Make) -> None:
    assert blame(idemlab.resolve(tiny()), lambda: 3) == 3


def test_a_failure_of_the_compiler_is_no_fault_of_a_plugin(tiny: Make) -> None:
    from torch._dynamo.exc import TorchDynamoException

    def compiled() -> None:
        raise TorchDynamoException("g++ said\nmuch " * 100)

    experiment = idemlab.resolve(tiny(training__compile=True))
    with pytest.raises(
        idemlab.Failure, match=r"torch.compile could not compile the training step: TorchDynamo"
    ) as caught:
        blame(experiment, compiled)
    assert str(caught.value.next_step).startswith("set training.compile = false")
    assert len(str(caught.value)) < 600
    with pytest.raises(idemlab.Failure, match="the training step raised"):
        blame(idemlab.resolve(tiny()), compiled)


def test_too_little_memory_is_no_fault_of_a_plugin(tiny: Make) -> None:
    with pytest.raises(idemlab.Failure) as caught:
        blame(idemlab.resolve(tiny()), lambda: torch.empty(10**15))
    assert "too little memory" in str(caught.value.next_step)
    source = idemlab.resolve(tiny(source={"name": "transport", "pool": 10**14})).sources[0]
    with pytest.raises(idemlab.Failure) as caught:
        source.build()
    assert "smaller sizes" in str(caught.value.next_step)
    assert "report" not in str(caught.value.next_step)


def test_a_single_test_sample_has_no_spread(tiny: Make) -> None:
    message = _refusal(tiny(dataset__test=1))
    assert "the test set of dataset 'gaussian' has 1 sample(s), and a spread needs two" in message
    assert _preflight(tiny(dataset__test=2)).steps == 12
