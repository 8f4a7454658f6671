"""Replicas trained as one batched program come out as if trained one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from idemlab import Dataset, DatasetSpec, installed, load, resolve, train
from idemlab.contracts.step import Step
from idemlab.runs.run import Run
from idemlab.training.stacked import Stacked, StackedStep, cannot_be_stacked
from idemlab.training.stacked_loop import stackable, train_stacked

BASE: dict[str, Any] = {
    "dataset": {"name": "torus", "train": 256, "test": 64},
    "model": {"name": "mlp", "width": 8, "depth": 2},
    "source": "gaussian",
    "enforcer": {"name": "cubic"},
    "optimizer": {"name": "adam", "lr": 1e-3},
    "training": {"steps": 12, "batch_size": 32, "dtype": "float64", "log_every": 4},
    "evaluation": {"points": 50, "rank_points": 2},
}


def networks(count: int) -> list[nn.Module]:
    torch.manual_seed(0)
    return [nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3)).double() for _ in range(count)]


def test_each_block_of_rows_goes_through_its_own_replica() -> None:
    models = networks(4)
    x = torch.randn(4 * 7, 3, dtype=torch.float64)
    expected = torch.cat([model(rows) for model, rows in zip(models, x.chunk(4), strict=True)])
    assert torch.allclose(Stacked(models)(x), expected, rtol=0, atol=1e-14)


def test_parameters_of_a_replica_are_views_with_their_gradients() -> None:
    models = networks(3)
    stacked = Stacked(models)
    stacked.keep_gradients()
    views = [stacked.parameters_of(r) for r in range(3)]
    x = torch.randn(3 * 5, 3, dtype=torch.float64)
    for _ in range(2):  # the views stay those of the gradients that backward writes
        stacked.clear_gradients()
        (stacked(x).square().sum()).backward()
        for r, (model, rows) in enumerate(zip(models, x.chunk(3), strict=True)):
            model.zero_grad()
            model(rows).square().sum().backward()
            for name, parameter in model.named_parameters():
                gradient = views[r][name].grad
                assert gradient is not None
                assert torch.allclose(gradient, parameter.grad, rtol=1e-12, atol=1e-14)
    torch.optim.SGD(views[1].values(), lr=0.5).step()
    stacked.write_back(1, models[0])
    assert torch.equal(models[0][0].weight, views[1]["0.weight"])
    assert not torch.equal(models[0][0].weight, models[1][0].weight)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)), "batch statistics"),
        (nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1)), "drops at random"),
    ],
)
def test_what_mixes_replicas_is_refused(model: nn.Module, reason: str) -> None:
    assert reason in str(cannot_be_stacked(model))
    with pytest.raises(ValueError, match=reason):
        Stacked([model])


def test_shared_parameters_are_refused() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    assert cannot_be_stacked(model) == "parameters are shared between modules"


def test_draws_are_those_of_each_seed_alone() -> None:
    like = torch.empty(3 * 4, 2)
    drawn = StackedStep([5, 7, 5], index=3, progress=0.1).normal(like).chunk(3)
    alone = [Step(seed=seed, index=3).normal(torch.empty(4, 2)) for seed in (5, 7)]
    assert torch.equal(drawn[0], alone[0])
    assert torch.equal(drawn[1], alone[1])
    assert torch.equal(drawn[2], drawn[0])


@pytest.mark.parametrize(
    ("changes", "optimizers"),
    [
        pytest.param({}, [{"lr": 1e-3}, {"lr": 1e-2}], marks=pytest.mark.long),
        ({"enforcer": "gradient"}, [{"name": "sgd", "lr": 0.5}, {"name": "sgd", "lr": 0.1, "momentum": 0.9}]),
        pytest.param(
            {"source": [{"name": "data"}, {"name": "gaussian"}]},
            [{"name": "muon", "lr": 1e-2, "clip": 1e-3}],
            marks=pytest.mark.long,
        ),
        (
            {
                "enforcer": {"name": "ign", "distance": "l2"},
                "reconstruction": {"input": {"name": "corrupted", "noise": 0.5, "random_strength": True}},
            },
            [{"lr": 1e-3, "schedule": "cosine", "warmup": 0.3}, {"name": "adamw", "lr": 1e-2}],
        ),
    ],
)
def test_stacked_training_is_training_one_by_one(
    changes: dict[str, Any], optimizers: list[dict[str, Any]], tmp_path: Path
) -> None:
    catalog = installed()
    experiments = [
        resolve(BASE | changes | {"optimizer": optimizer, "training": BASE["training"] | {"seed": seed}})
        for seed in (0, 3)
        for optimizer in optimizers
    ]
    assert all(stackable(experiment) for experiment in experiments)
    outs = [tmp_path / f"stacked{i}" for i in range(len(experiments))]
    assert train_stacked(experiments, outs, catalog) == [""] * len(experiments)
    for i, (experiment, out) in enumerate(zip(experiments, outs, strict=True)):
        run = train(experiment, tmp_path / f"alone{i}")
        alone, together = load(run), load(out)
        for (name, a), b in zip(alone.named_parameters(), together.parameters(), strict=True):
            assert torch.allclose(a, b, rtol=1e-10, atol=1e-12), name
        assert run.certificate is not None
        for entry, other in zip(run.metrics, type(run)(out).metrics, strict=True):
            figures = {key: value for key, value in entry.items() if key not in ("time", "split")}
            assert {key: other[key] for key in figures} == pytest.approx(figures, rel=1e-8, abs=1e-12)
        certificate = type(run)(out).certificate
        assert certificate is not None
        assert certificate["verdict"] == run.certificate["verdict"]
        assert certificate["flops"] == run.certificate["flops"]


def test_parameters_that_no_gradient_reaches_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weight decay would shrink them if their gradient were zero; alone they have none."""
    catalog = installed()
    optimizer = {"name": "adamw", "lr": 0.1, "weight_decay": 0.5}
    experiment = resolve(BASE | {"enforcer": "gradient", "optimizer": optimizer})
    mlp = type(experiment.model.build((3,)))
    monkeypatch.setattr(mlp, "forward", lambda self, x: 0.5 * x + self.layers[-1].bias)  # nothing of the other layers
    train_stacked([experiment, experiment], [tmp_path / "stacked", tmp_path / "other"], catalog)
    train(experiment, tmp_path / "alone")
    together, alone = (dict(load(tmp_path / name).named_parameters()) for name in ("stacked", "alone"))
    for name, weight in alone.items():
        assert torch.allclose(together[name], weight, rtol=1e-10, atol=1e-12), name
    assert alone["layers.0.weight"].abs().max() > 0.2  # as drawn, up to 0.25, and not 0.95^12 of it


def test_gradients_come_back_when_parameters_are_reached_again() -> None:
    stacked = Stacked(networks(2))
    stacked.keep_gradients()
    assert stacked.unreached() == {"0.weight", "0.bias", "2.weight", "2.bias"}
    stacked(torch.randn(4, 3, dtype=torch.float64)).sum().backward()
    assert stacked.unreached() == set()
    stacked.clear_gradients()
    assert len(stacked.unreached()) == 4


def test_one_that_diverges_does_not_touch_the_others(tmp_path: Path) -> None:
    catalog = installed()
    training = BASE["training"] | {"steps": 40}
    wild, tame = (
        resolve(BASE | {"enforcer": "gradient", "training": training, "optimizer": {"name": "sgd", "lr": lr}})
        for lr in (1e6, 0.1)
    )
    errors = train_stacked([wild, tame], [tmp_path / "wild", tmp_path / "tame"], catalog)
    assert errors[0].startswith("the loss is not finite at step ")
    assert errors[1] == ""
    train_stacked([tame], [tmp_path / "alone"], catalog)
    for a, b in zip(load(tmp_path / "tame").parameters(), load(tmp_path / "alone").parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-10)
    assert not (tmp_path / "wild" / "certificate.json").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"enforcer": "relative"},
        {"model": {"name": "biorthogonal", "latent": 2}, "enforcer": "alignment"},
        {"source": "imle"},
        {"source": "transport"},
        {"model": {"name": "linear"}, "enforcer": "purification"},
        {"model": {"name": "mlp", "width": 512, "depth": 4}},
        {"training": {"steps": 2, "batch_size": 32, "micro_batches": 2}},
    ],
)
def test_what_couples_rows_is_not_stacked(changes: dict[str, Any]) -> None:
    assert not stackable(resolve(BASE | changes))


class Counting(nn.Module):
    """Counts in a buffer how often it was called, weighted by what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.add_(x.sum().detach())
        y: torch.Tensor = self.linear(x)
        return y


def test_buffers_that_change_are_written_back() -> None:
    models = [Counting() for _ in range(2)]
    stacked = Stacked(models)
    x = torch.tensor([[1.0, 2.0], [5.0, 6.0]])
    stacked(x)
    for replica, (model, expected) in enumerate(zip(models, (3.0, 11.0), strict=True)):
        stacked.write_back(replica, model)
        assert model.seen.item() == expected


def test_the_time_is_shared_alike(tmp_path: Path) -> None:
    experiments = [resolve(BASE | {"training": BASE["training"] | {"seed": seed}}) for seed in range(3)]
    outs = [tmp_path / str(i) for i in range(3)]
    train_stacked(experiments, outs, installed())
    seconds = {Run(out).metrics[-1]["time"]["seconds"] for out in outs}
    assert len(seconds) == 1


def test_what_was_understood_of_the_data_is_said_at_the_start(tmp_path: Path) -> None:
    told: list[str] = []

    def described() -> Dataset:
        points = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
        dataset = Dataset.of_tensors(train=points[:32], test=points[32:], range=None)
        return replace(dataset, description=("32 rows to train on", "left out: one row"))

    catalog = installed().including(DatasetSpec(name="described", factory=described, summary="Described."))
    changes = {"dataset": "described", "evaluation": {"points": 8, "rank_points": 0}}
    tables = [BASE | changes | {"training": BASE["training"] | {"seed": seed, "steps": 2}} for seed in (0, 1)]
    experiments = [resolve(table, catalog=catalog) for table in tables]
    train_stacked(experiments, [tmp_path / "a", tmp_path / "b"], catalog, message=told.append)
    assert told == ["32 rows to train on", "left out: one row"]


def test_one_that_collapses_ends_where_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = BASE | {"enforcer": "gradient", "evaluation": BASE["evaluation"] | {"every": 4}}
    asked, not_asked = (
        resolve(table | {"training": BASE["training"] | {"stop_on_collapse": asked}}) for asked in (True, False)
    )
    mlp = type(asked.model.build((3,)))
    monkeypatch.setattr(mlp, "forward", lambda self, x: 0.01 * x + self.layers[-1].bias)
    for name, experiment in (("asked", asked), ("not-asked", not_asked)):
        (error,) = train_stacked([experiment], [tmp_path / name], installed())
        steps = [entry["step"] for entry in Run(tmp_path / name).metrics if entry["split"] == "evaluation"]
        assert ("after 4 of 12 steps" in error, steps) == ((True, [4]) if experiment is asked else (False, [4, 8, 12]))
