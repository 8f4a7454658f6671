"""Operators f(x, c): the labels become the condition, which model, points and certificate follow; faults are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import idemlab
from idemlab import BadInput, Dataset, TensorRows, Verdict
from idemlab.certificate.goal import Goal
from idemlab.contracts.orbit import Orbit
from idemlab.objective.data import build_dataset, classes_of, conditioned
from idemlab.objective.evaluation import Evaluation, evaluate, examples, worst_class
from idemlab.objective.given import resolved
from idemlab.objective.parts import assemble
from idemlab.objective.preflight import preflight
from idemlab.reports.application import apply
from idemlab.runs.run import Run
from idemlab.sharing.card import model_card
from idemlab.training.stacked import Stacked

CPU = torch.device("cpu")
CLASSES = 3
LABELLED = {"dataset": {"name": "digits", "condition": "label"}, "model": {"name": "mlp"}, "training": {"steps": 1}}


def rows(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points in R^4 near one of three places, and which."""
    label = torch.arange(count) % CLASSES
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return 0.3 * x + label[:, None], label


def points(**changes: Any) -> Dataset:
    (train, own), (test, other) = rows(60), rows(45, 1)
    made = {
        "train": TensorRows(train, label=own),
        "test": TensorRows(test, label=other),
        "shape": (4,),
        "classes": CLASSES,
    }
    return Dataset(**{**made, **changes})


def tiny(**changes: Any) -> dict[str, Any]:
    return {
        "dataset": points(),
        "model": {"name": "mlp", "width": 8, "depth": 1},
        "enforcer": {"name": "gradient"},
        "training": {"steps": 4, "batch_size": 12, "log_every": 2},
        "evaluation": {"every": 4, "points": 45, "rank_points": 0, "metrics": ["reconstruction-error"]},
    } | changes


# -- in the file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dataset.condition=lable"], "condition cannot be"),
        (["dataset.condition=3"], "condition cannot be 3"),
        (["dataset.name=torus"], "dataset 'torus' has no labels"),
        (["model.name=linear"], "model 'linear' takes no condition"),
    ],
)
def test_a_condition_that_cannot_be_is_refused_before_anything_is_loaded(overrides: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        idemlab.resolve(LABELLED, overrides)
    assert all([caught.value.where, caught.value.choices, caught.value.next_step])


def test_the_resolved_file_says_it_and_another_data_set_keeps_it() -> None:
    experiment = idemlab.resolve(LABELLED, ["dataset.name=mnist"])
    assert experiment.condition == "label"
    assert 'condition = "label"' in experiment.to_toml()
    assert idemlab.resolve(experiment.table()).table() == experiment.table()
    plain = idemlab.resolve(LABELLED, ["dataset.condition=none"])
    assert plain.condition == "none"
    assert "condition" not in plain.table()["dataset"]


# -- the labels of the data -----------------------------------------------------------------------------------------------


def test_labels_become_the_condition_in_memory_and_elsewhere(elsewhere: Callable[[Any], Any]) -> None:
    data = points(test=elsewhere(points().test))
    made = conditioned(data, "data set 'mine'")
    for before, after in ((data.train, made.train), (data.test, made.test)):
        batch = after.__getitems__([4, 2])
        assert torch.equal(batch.condition, batch.label)  # type: ignore[arg-type]
        assert torch.equal(batch.input, before.__getitems__([4, 2]).input)
    assert isinstance(made.train, TensorRows)
    assert made.train.input.data_ptr() == data.train.input.data_ptr()  # type: ignore[attr-defined]


X, C = rows(45)
FAULTS: dict[str, tuple[Dataset, str]] = {
    "none": (points(train=TensorRows(X)), "no labels"),
    "no number of classes": (points(classes=None), "how many classes"),
    "one too large": (points(test=TensorRows(X, label=C + 1)), "the label 3, and 3 classes"),
    "negative": (points(test=TensorRows(X, label=C - 1)), "the label -1"),
    "fractions": (points(test=TensorRows(X, label=C.float())), "float32"),
    "several a sample": (points(test=TensorRows(X, label=torch.stack([C, C], 1))), r"shape \[45, 2\]"),
    "a condition already": (points(train=TensorRows(X, condition=C, label=C)), "conditions of its own"),
}


@pytest.mark.parametrize("name", list(FAULTS))
def test_labels_that_are_no_classes_are_refused(name: str, elsewhere: Callable[[Any], Any]) -> None:
    data, message = FAULTS[name]
    with pytest.raises(BadInput, match=message) as caught:
        conditioned(data, "data set 'mine'")
    assert "condition" in str(caught.value.where)
    away = Dataset(**{**vars(data), "train": elsewhere(data.train), "test": elsewhere(data.test)})
    with pytest.raises(BadInput, match=message.replace("45", "1")):
        [conditioned(away, "data set 'mine'").test.__getitems__([row]) for row in range(3)]


# -- model and data -----------------------------------------------------------------------------------------------------


class Own(nn.Module):
    """f(x, c) of a caller."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.eye(CLASSES, 4))

    def forward(self, x: Tensor, kind: Tensor) -> Tensor:
        return 0.5 * (x + self.places[kind])


class Plain(nn.Module):
    """f(x) of a caller."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


@pytest.mark.parametrize(
    ("changes", "overrides", "message"),
    [
        ({"model": Own()}, [], r"takes a condition, f\(x, kind\), and the data set gives none"),
        ({"model": Plain()}, ["dataset.condition=label"], "takes no condition, and the data set gives one"),
        (
            {"dataset": points(train=TensorRows(X, condition=C), test=TensorRows(X, condition=C))},
            [],
            "takes no condition",
        ),
        ({"model": Own()}, ["dataset.condition=label"], None),
    ],
)
def test_an_operator_of_the_wrong_kind_is_refused_before_training(
    changes: dict[str, Any], overrides: list[str], message: str | None
) -> None:
    experiment, _ = resolved(tiny(**changes), overrides, {}, idemlab.installed())
    parts = assemble(experiment)
    if message is None:
        preflight(experiment, parts, device=CPU)
        return
    with pytest.raises(BadInput, match=message):
        preflight(experiment, parts, device=CPU)


# -- a whole run --------------------------------------------------------------------------------------------------------


def test_a_run_under_a_condition_can_be_loaded_applied_and_shared(tmp_path: Path) -> None:
    overrides = ["dataset.condition=label", "evaluation.rank_points=1"]
    run = idemlab.train(tiny(), tmp_path / "run", overrides=overrides, progress=False)
    assert run.classes == CLASSES
    f = idemlab.load(Run(run.path))
    x, c = rows(5)
    y = f(x, c)
    assert not torch.equal(y, f(x, (c + 1) % CLASSES))
    with pytest.raises(BadInput, match="takes a condition"):
        f(x)
    with pytest.raises(BadInput, match="class below 0 or above 2"):
        f(x, c + 1)
    certificate = run.certificate
    assert certificate is not None
    for one in certificate["inputs"].values():
        assert set(one["classes"]) == {"0", "1", "2"}
        assert one["worst_class"] in range(CLASSES)
        assert {"relative", "spread", "verdict", "points"} <= set(one["classes"]["0"])
    figures = certificate["inputs"]["data"]
    each = [of_class["figures"]["reconstruction_error"] for of_class in figures["classes"].values()]
    assert sum(each) / CLASSES == pytest.approx(
        figures["figures"]["reconstruction_error"]
    )  # the classes are alike in size
    assert len(set(each)) == CLASSES
    assert "Each f(., c) was also measured by itself. The worst: class" in certificate["sentence"]
    assert all("noise/relative_worst_class" in entry for entry in run.metrics if entry["split"] == "evaluation")
    folder = tmp_path / "in"
    folder.mkdir()
    np.save(folder / "x.npy", x[0].numpy())
    for condition, message in ((None, "takes a condition"), (3, "no class 3"), (-1, "no class -1")):
        with pytest.raises(BadInput, match=message):
            apply(run, folder, tmp_path / "out", condition=condition)
    (written,) = apply(run, folder, tmp_path / "out", condition=2, times=2)
    two = torch.tensor([2])
    torch.testing.assert_close(torch.from_numpy(np.load(written)), f(f(x[:1], two), two)[0].detach())
    card = model_card(run, "me/points", "mit", [])
    assert "y = f(x, c)" in card
    assert "from 0 to 2" in card


def test_without_a_condition_nothing_is_stored_of_one(tmp_path: Path) -> None:
    run = idemlab.train(tiny(), tmp_path / "run", progress=False)
    assert "classes" not in run.sample
    assert run.classes is None
    assert "classes" not in json.dumps(run.certificate)
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "x.npy", np.zeros(4))
    with pytest.raises(BadInput, match="takes no condition"):
        apply(run, tmp_path / "in", tmp_path / "out", condition=1)


# -- labels in training only ----------------------------------------------------------------------------------------------

UNION = {"name": "hybrid", "enforcers": [{"name": "section", "rank": 2}, {"name": "union"}]}


@pytest.mark.parametrize("split", ["test", "validation"])
def test_labels_in_training_only_are_no_condition_of_what_is_measured(split: str) -> None:
    overrides = ["dataset.condition=training", f"evaluation.split={split}"]
    experiment, _ = resolved(tiny(enforcer=UNION), overrides, {}, idemlab.installed())
    data = build_dataset(experiment)
    batch = data.train.__getitems__([5, 3])
    assert torch.equal(batch.condition, batch.label)  # type: ignore[arg-type]
    assert data.test.__getitems__([0]).condition is None
    assert data.test.__getitems__([0]).label is not None
    assert classes_of(experiment, data) == CLASSES


class Optional(Own):
    """f(x, c) whose class looks as if it could be left out."""

    def forward(self, x: Tensor, kind: Tensor | None = None) -> Tensor:
        assert kind is not None
        return super().forward(x, kind)


@pytest.mark.parametrize("model", ["mlp", Own(), Optional()], ids=["built-in", "given", "optional"])
def test_an_operator_that_needs_a_class_is_refused_if_only_training_gives_one(model: Any) -> None:
    changes = {"model": model if isinstance(model, nn.Module) else {"name": model, "width": 8}}
    experiment, _ = resolved(tiny(**changes), ["dataset.condition=training"], {}, idemlab.installed())
    with pytest.raises(BadInput, match="is used without a class, and fails without one") as caught:
        preflight(experiment, assemble(experiment), device=CPU)
    assert "union" in str(caught.value.next_step)


def test_a_run_with_labels_in_training_only_is_used_with_and_without_a_class(tmp_path: Path) -> None:
    overrides = ["dataset.condition=training", "evaluation.rank_points=1", "training.steps=40", "optimizer.lr=0.003"]
    run = idemlab.train(tiny(enforcer=UNION), tmp_path / "run", overrides=overrides, progress=False)
    f, (x, c) = idemlab.load(Run(run.path)), rows(45, 1)
    y = f(x)
    every = torch.stack([f(x, torch.full_like(c, each)) for each in range(CLASSES)])
    taken = (every - y).flatten(2).norm(dim=2).argmin(0)
    assert torch.equal(y, every[taken, torch.arange(45)])
    torch.testing.assert_close(f(y), y, rtol=0, atol=1e-5)
    assert run.certificate is not None
    assert run.certificate["verdict"] == "genuine"
    fresh = assemble(run.experiment)
    fresh.objective.operator.load_state_dict(f.state_dict())
    found = evaluate(run.experiment, fresh, fresh.objective.operator.eval(), CPU, rank_points=1)
    assert found.flat()["noise/spread"] == run.certificate["inputs"]["noise"]["spread"], (
        "what was measured is what is kept"
    )
    assert "classes" not in run.certificate["inputs"]["data"]
    folder = tmp_path / "in"
    folder.mkdir()
    np.save(folder / "x.npy", x[0].numpy())
    for condition, expected in ((None, y[0]), (1, every[1, 0])):
        (written,) = apply(run, folder, tmp_path / f"out{condition}", condition=condition)
        torch.testing.assert_close(torch.from_numpy(np.load(written)), expected.detach())
    with pytest.raises(BadInput, match="no class 3"):
        apply(run, folder, tmp_path / "out", condition=3)
    card = model_card(run, "me/points", "mit", [])
    assert "y = f(x) " in card
    assert "It can be given a condition, too, as f(x, c): c is a tensor [N] of class numbers, from 0 to 2." in card


# -- the certificate of each f(., c) --------------------------------------------------------------------------------------


def evaluated(f: Callable[[Tensor, Tensor], Tensor], **changes: Any) -> Evaluation:
    experiment, _ = resolved(tiny(**changes), ["dataset.condition=label"], {}, idemlab.installed())
    return evaluate(experiment, assemble(experiment), f, CPU, rank_points=0)


def test_an_operator_that_is_constant_under_each_class_is_not_taken_for_a_projection() -> None:
    places = torch.eye(CLASSES, 4)
    found = evaluated(lambda x, c: places[c])
    assert all(one.verdict is Verdict.GENUINE for one in found.certificates.values())
    assert found.verdict is Verdict.CONSTANT
    assert "constant under every class" in found.sentence
    nearly = evaluated(lambda x, c: places[c] + 1e-3 * torch.cat([x[:, :1], 0 * x[:, 1:]], 1))
    # Idempotent, and within 0.01 of one point for each class.
    narrow = evaluated(lambda x, c: places[c] + (x - places[c] + 0.005).remainder(0.01) - 0.005)
    assert nearly.verdict is Verdict.CONSTANT
    assert narrow.verdict is Verdict.GENUINE
    assert "narrow under class 0, 1 and 2" in narrow.sentence
    goal = Goal(metric="relative")  # so that it cannot be the best by an error of zero
    assert goal.of_run(narrow.flat(), narrow.verdict.value) == goal.worst
    assert "noise, class 0" in found.collapse


def test_the_worst_class_is_named_and_each_is_measured_as_by_itself() -> None:
    def f(x: Tensor, c: Tensor) -> Tensor:
        return torch.cat([x[:, :2] * torch.where(c == 1, 0.9, 1.0)[:, None], 0 * x[:, 2:]], 1)

    found = evaluated(f)
    assert {name: worst_class(own) for name, own in found.classes.items()} == {"data": 1, "noise": 1}
    assert (
        "class 1 at noise, with a relative error of 0.103 (0.054 over all classes; not idempotent under class 1)"
        in (found.sentence)
    )
    assert found.flat()["noise/relative_worst_class"] == pytest.approx(0.103, abs=1e-3)
    x, c = rows(45, 1)
    alone = idemlab.certify(lambda y: f(y, c.new_ones(len(y))), x[c == 1], rank_points=0, off_manifold=False)
    assert found.classes["data"][1].as_dict() == alone.as_dict()
    few = points(test=TensorRows(x[:20], label=c[:20]))
    assert evaluated(f, dataset=few).classes == {}  # fewer than ten samples of a class


def test_points_that_are_known_are_not_computed_again_for_a_class() -> None:
    x, c = rows(7)
    calls: list[int] = []

    def f(y: Tensor, kind: Tensor) -> Tensor:
        calls.append(len(y))
        return y + kind[:, None]

    orbits = [Orbit(f, x[:4], c[:4]), Orbit(f, x[4:], c[4:])]
    for orbit in orbits:
        orbit.ahead(1)
    one = Orbit.gathered(orbits, [c[:4] == 1, c[4:] == 1])
    assert calls == [4, 4, 3, 3]
    assert torch.equal(one.ahead(1), x[c == 1] + 2)
    assert torch.equal(one.ahead(2), x[c == 1] + 3)
    assert calls[4:] == [2]


def test_examples_are_ordered_by_class() -> None:
    experiment, _ = resolved(tiny(), ["dataset.condition=label"], {}, idemlab.installed())
    shown = examples(experiment, assemble(experiment), lambda x, c: x, CPU, 8)
    x, _ = rows(45, 1)
    assert [one.classes for one in shown] == [(0, 0, 0, 1, 1, 1, 2, 2)] * 2
    assert torch.equal(shown[0].orbit[0], x[[0, 3, 6, 1, 4, 7, 2, 5]])


# -- many operators at once -------------------------------------------------------------------------------------------------


def test_stacked_operators_take_their_conditions() -> None:
    experiment, _ = resolved(tiny(), ["dataset.condition=label"], {}, idemlab.installed())
    models = [assemble(experiment).objective.operator for _ in range(2)]
    with torch.no_grad():
        models[1].label.weight.mul_(2)  # type: ignore[union-attr,operator]
    x, c = rows(8)
    expected = torch.cat([models[0](x[:4], c[:4]), models[1](x[4:], c[4:])])
    torch.testing.assert_close(Stacked(models)(x, c), expected)
    assert build_dataset(experiment).train.__getitems__([0]).condition is not None
