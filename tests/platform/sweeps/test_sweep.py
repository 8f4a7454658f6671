"""What a sweep tries: values, ranges, combinations, seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import idemlab
from idemlab import BadInput, Study, Sweep, resolve
from idemlab.sweeps.values import parse_over


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("enforcer.name=cubic,gradient", ["cubic", "gradient"]),
        ("enforcer.step=0.5, 1.0", [0.5, 1.0]),
        ("model.residual=true,false", [True, False]),
        ('enforcer=[{ name = "cubic" }, { name = "gradient" }]', [{"name": "cubic"}, {"name": "gradient"}]),
        ("optimizer.lr=log:1e-5:1", [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0]),
        ("optimizer.lr=log:1:100:5", [1.0, 10**0.5, 10.0, 10**1.5, 100.0]),
        ("enforcer.step=lin:0:1:3", [0.0, 0.5, 1.0]),
    ],
)
def test_over(text: str, values: list[Any]) -> None:
    key, parsed = parse_over(text)
    assert key == text.partition("=")[0]
    assert parsed == (pytest.approx(values) if "log" in text else values)


@pytest.mark.parametrize(
    "text",
    [
        "optimizer.lr",
        "=1,2",
        "optimizer.lr=",
        "optimizer.lr=log:0:1",
        "optimizer.lr=log:1:1e-3",
        "optimizer.lr=log:1e-3",
        "optimizer.lr=lin:0:1",
        "optimizer.lr=lin:0:1:1",
        "optimizer.lr=lin:0:1:2.5",
        "optimizer.lr=lin:0:1:nan",
        "optimizer.lr=lin:0:1:inf",
        "optimizer.lr=lin:0:1:1e9",
        "optimizer.lr=log:a:b",
        "enforcer=[{ name = ]",
    ],
)
def test_what_cannot_be_tried_is_refused(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_over(text)
    assert caught.value.where is not None
    assert caught.value.where.startswith("over")


def test_points_are_all_combinations_with_all_seeds() -> None:
    plan = Sweep(experiment="mlp-cubic", over={"enforcer.weight": [1.0, 2.0], "model.depth": "lin:1:2:2"}, seeds=2)
    settings = plan.settings()
    assert len(settings) == 8
    assert len({setting.key for setting in settings}) == 8
    assert [setting.seed for setting in settings[:2]] == [0, 1]
    assert settings[0].values == {"enforcer.weight": 1.0, "model.depth": 1.0}


def test_a_point_resolves_to_its_experiment() -> None:
    plan = Sweep(
        experiment="mlp-cubic", set={"training.steps": 7}, over={"enforcer": [{"name": "gradient", "weight": 3.0}]}
    )
    experiment = plan.resolve(plan.settings()[0])
    assert experiment.training.steps == 7
    assert experiment.training.seed == 0
    assert (experiment.enforcer.name, experiment.enforcer.arguments["weight"]) == ("gradient", 3.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"over": {"optimizer.lr": []}}, "there is nothing to try"),
        ({"over": {"optimizer.lr": [0.1, 0.2, 0.1]}}, "0.1 is given twice"),
        ({"over": {"training.seed": [0, 1]}}, "the seed cannot be varied this way"),
        ({"set": {"training.seed": 1}}, "the seed cannot be set"),
        (
            {"set": {"optimizer.lr": 0.3}, "over": {"optimizer.lr": [0.1]}},
            "is set for all trials, and varied",
        ),
        ({"seeds": 0}, "0 seeds"),
        ({"seeds": 10**11}, "100,000,000,000 seeds"),
        ({"seeds": 2.0}, "2.0 is no number of seeds"),
        ({"seeds": True}, "true is no number of seeds"),
        ({"seeds": "2"}, "is no number of seeds"),
        ({"over": {"optimizer.lr": 0.1}}, "0.1 is no list of values"),
        ({"over": [("optimizer.lr", [0.1])]}, "'over' is a list"),
        ({"set": {1: 2}}, "'set' has keys that are no texts"),
        ({"set": ["optimizer.lr=0.1"]}, "'set' is a list"),
        ({"sampler": "tpe", "trials": 2.5, "over": {"optimizer.lr": [0.1]}}, "2.5 is no number of trials"),
    ],
)
def test_wrong_sweeps_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Sweep(**({"experiment": "mlp-cubic"} | changes)).settings()


def test_numbers_and_arrays_of_numpy_and_torch_are_numbers_and_lists() -> None:
    plan = Sweep(
        experiment="mlp-cubic",
        set={"model.depth": np.int64(2)},
        over={"model.width": np.arange(8, 10), "optimizer.lr": torch.tensor([0.5, 0.25])},
        seeds=np.int64(1),  # type: ignore[arg-type]
    )
    assert plan.table()["over"] == {"model.width": [8, 9], "optimizer.lr": [0.5, 0.25]}
    assert Sweep(experiment="mlp-cubic", over={"model.depth": range(1, 3)}).table()["over"] == {"model.depth": [1, 2]}
    assert [plan.resolve(setting).model.arguments["width"] for setting in plan.settings()] == [8, 8, 9, 9]
    table = {"dataset": "torus", "model": {"name": "mlp", "width": np.int64(8)}, "training": {"steps": np.int64(2)}}
    assert resolve(table | {"enforcer": {"name": "cubic", "weight": np.float32(0.5)}}).training.steps == 2
    assert idemlab.enforcer("rank", rank=np.int64(2)).name == "rank"


def test_a_study_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'summary = "Mine."\n[sweep.a]\nexperiment = "mlp-cubic"\nseeds = 3\nset = { "training.steps" = 9 }\n'
        '[sweep.b]\nexperiment = "mlp-gradient"\n[quick.a]\nseeds = 1\n'
    )
    study = Study.from_toml(file, lambda material: None)  # type: ignore[arg-type,return-value]
    assert set(study.sweeps) == {"a", "b"}
    assert set(study.quick) == {"a"}
    assert (study.sweeps["a"].seeds, study.quick["a"].seeds) == (3, 1)
    assert study.quick["a"].set == {"training.steps": 9}


@pytest.mark.parametrize(
    ("text", "what", "where"),
    [
        ("[sweeps.a]", "there is no key 'sweeps'", "mine.toml"),
        ("[sweep.a]\nseed = 3", "there is no key 'seed'", "mine.toml, [sweep.a]"),
        ("[sweep.a]\nseeds = 3", "the key 'experiment' is missing", "mine.toml, [sweep.a]"),
        ("[quick.b]", "there is no key 'b'", "mine.toml, [quick]"),
        ("[", "not a study", "mine.toml"),
    ],
)
def test_wrong_files_of_studies_are_refused(text: str, what: str, where: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(BadInput, match=what) as caught:
        Study.from_toml(file, lambda material: None)  # type: ignore[arg-type,return-value]
    assert caught.value.where is not None
    assert caught.value.where.endswith(where)
