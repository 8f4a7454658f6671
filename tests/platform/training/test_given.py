"""Objects in place of names: a run with them is the run that it would be with names, and says what it was given."""

from __future__ import annotations

import copy
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import idemlab
from idemlab import BadInput, Batch, Dataset, Enforcer, Points, Source, Step, Watcher

_OWN = runpy.run_path(str(Path(__file__).parents[1] / "own_parts.py"), run_name="own_parts")
Pull, Size, network = (_OWN[name] for name in ("Pull", "Size", "network"))
Make = Callable[..., dict[str, Any]]
LEAST = {"training": {"steps": 4, "batch_size": 16}, "evaluation": {"rank_points": 1, "points": 16}}


class Ball(Source):
    """Normal points."""

    def __init__(self, scale: float = 0.5) -> None:
        super().__init__()
        self.scale = scale

    def sample(self, batch: Batch, step: Step, operator: nn.Module) -> Points:
        return Points(self.scale * step.normal(batch.input))


class Stop(Watcher):
    """Stops a run after some steps."""

    def __init__(self, step: int) -> None:
        self._step = step

    def stepped(self, step: int) -> None:
        if step == self._step:
            raise idemlab.Interrupted("stopped by the test")


def _weights(run: idemlab.Run) -> bytes:
    return run.weights_file.read_bytes()


def test_module_and_tensors_become_a_certificate(
    module: nn.Module, data: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    before = copy.deepcopy(module.state_dict())
    run = idemlab.train(
        LEAST,
        tmp_path / "run",
        model=module,
        dataset=data,
        source=[Ball(), "data"],
        enforcer=Pull(0.5),
        metrics=[Size()],
    )
    assert run.certificate is not None
    assert run.certificate["inputs"]["data"]["figures"]["size"] > 0
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items()), "a copy is trained"
    f, loaded = run.operator(), idemlab.load(tmp_path / "run", model=module)
    with torch.no_grad():
        assert torch.equal(f(data[1]), loaded(data[1]))
        assert not torch.equal(f(data[1]), module(data[1]))
    file = run.experiment_file.read_text()
    table = run.experiment.table()
    assert table["model"] | {"start": ""} == {
        "name": "given:sequential",
        "class": "torch.nn.modules.container.Sequential",
        "parameters": 76,
        "dtype": "float32",
        "start": "",
    }
    assert table["dataset"] | {"hash": ""} == {
        "name": "given:tensors", "train": 64, "test": 32, "shape": [4], "dtype": "float32", "hash": "",
    }  # fmt: skip
    assert table["enforcer"]["arguments"] == {"weight": 0.5}
    assert all(table["model"]["start"] in text for text in (file, str(table)))


def test_a_given_part_trains_as_a_named_one(tiny: Make, tmp_path: Path) -> None:
    """The dataset, the module and the enforcer behind the names, given as objects, leave the same bits."""
    named = idemlab.train(tiny(), tmp_path / "named")
    experiment = named.experiment
    torch.manual_seed(experiment.training.seed)
    enforcer = experiment.enforcer.build()
    enforcer.traits = experiment.enforcer.traits()
    model = experiment.model.build((4,))
    dataset = experiment.dataset.build()
    for number, table in enumerate([tiny(), {k: v for k, v in tiny().items() if k not in ("model", "dataset")}]):
        run = idemlab.train(table, tmp_path / str(number), model=model, dataset=dataset, enforcer=enforcer)
        assert _weights(run) == _weights(named)
    table = tiny() | {"model": model, "dataset": dataset, "enforcer": enforcer}
    assert _weights(idemlab.train(table, tmp_path / "table")) == _weights(named)
    again = idemlab.train(run.experiment, tmp_path / "again")
    assert _weights(again) == _weights(named), "a resolved experiment keeps its objects"


def test_parts_by_name_and_with_arguments(tiny: Make, tmp_path: Path) -> None:
    run = idemlab.train(
        tiny(), tmp_path / "run", model={"width": 6}, enforcer={"name": "cubic", "weight": 0.1}, source="gaussian"
    )
    table = run.experiment.table()
    assert table["model"] == idemlab.resolve(tiny(model={"name": "mlp", "width": 6, "depth": 1})).table()["model"]
    assert (table["enforcer"]["name"], table["enforcer"]["weight"]) == ("cubic", 0.1)
    assert table["source"]["name"] == "gaussian"
    changed = idemlab.train(run.experiment, tmp_path / "changed", model={"width": 5}, overrides=["training.steps=2"])
    assert changed.experiment.table()["model"]["width"] == 5
    assert changed.experiment.training.steps == 2


def test_an_enforcer_of_a_loop_of_one_s_own_is_taken_for_the_enforcer_that_it_wraps(tiny: Make, tmp_path: Path) -> None:
    enforcer = Pull(2.0)
    loose, plain = (
        idemlab.train(tiny(), tmp_path / name, enforcer=each, progress=False)
        for name, each in [("loose", idemlab.enforcer(enforcer)), ("plain", enforcer)]
    )
    for a, b in zip(loose.operator().parameters(), plain.operator().parameters(), strict=True):
        assert torch.equal(a, b)


def test_objects_stand_wherever_a_name_may(tiny: Make, tmp_path: Path) -> None:
    table = tiny(
        enforcer={"name": "hybrid", "enforcers": ["gradient", Pull(), Pull(2.0)]},
        reconstruction={"input": Ball()},
        evaluation__inputs={"ball": Ball()},
        evaluation__metrics=[Size(), "reconstruction-error"],
    )
    run = idemlab.train(table, tmp_path / "run")
    told = run.experiment.table()
    assert [each["name"] for each in told["enforcer"]["enforcers"]] == ["gradient", "given:pull", "given:pull-2"]
    assert [each.get("arguments") for each in told["enforcer"]["enforcers"]][1:] == [{"weight": 1.0}, {"weight": 2.0}]
    assert run.certificate is not None
    again = idemlab.train(run.experiment, tmp_path / "again", source=Ball(2.0)).experiment
    scales = [thing.build().scale for thing in (*again.sources, again.corruption, *again.inputs.values())]
    assert scales == [2.0, 0.5, 0.5], "objects of one class keep apart"
    assert [set(run.certificate["inputs"][name]["figures"]) for name in ("data", "ball")] == [
        {"size", "reconstruction_error"},
        {"size"},
    ]


def test_each_run_starts_from_the_module_as_it_is(
    module: nn.Module, data: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    """Evaluation mode, stale gradients and frozen parameters: what a pretrained module brings along."""
    first = idemlab.train(LEAST, tmp_path / "a", model=module, dataset=data)
    module.eval()
    module(data[0]).square().sum().backward()
    second = idemlab.train(LEAST, tmp_path / "b", model=module, dataset=data)
    assert _weights(first) == _weights(second)
    module[0].requires_grad_(False)  # type: ignore[index,operator]
    frozen = idemlab.train(LEAST, tmp_path / "c", model=module, dataset=data).operator()
    assert torch.equal(frozen[0].weight, module[0].weight)  # type: ignore[index]
    assert not torch.equal(frozen[2].weight, module[2].weight)  # type: ignore[index]


# -- resuming and loading -------------------------------------------------------------------------------------------------


@pytest.fixture
def stopped(module: nn.Module, data: tuple[Tensor, Tensor], tmp_path: Path) -> Path:
    with pytest.raises(idemlab.Interrupted):  # as a killed process would leave it
        idemlab.train(
            LEAST,
            tmp_path / "cut",
            model=module,
            dataset=data,
            overrides=["training.checkpoint_every=2"],
            watchers=[Stop(3)],
        )
    return tmp_path / "cut"


def test_resuming_with_the_objects_gives_the_same_bits(
    stopped: Path, module: nn.Module, data: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    changed = ["training.checkpoint_every=2"]
    whole = idemlab.train(LEAST, tmp_path / "whole", model=module, dataset=data, overrides=changed)
    by_file = idemlab.train(stopped, stopped, model=module, dataset=data, resume=True)
    assert _weights(by_file) == _weights(whole)


def _other(module: nn.Module) -> nn.Module:
    other = copy.deepcopy(module)
    with torch.no_grad():
        next(other.parameters()).add_(1.0)
    return other


DIFFERENT: list[tuple[Callable[[nn.Module, Any], dict[str, Any]], list[str]]] = [
    (lambda m, d: {"model": nn.Linear(4, 4), "dataset": d}, ["torch.nn.modules.container.Sequential", "Linear"]),
    (lambda m, d: {"model": network(9), "dataset": d}, ["model.parameters: 76 -> 85"]),
    (lambda m, d: {"model": _other(m), "dataset": d}, ["model.start"]),
    (lambda m, d: {"model": m, "dataset": (d[0] + 1, d[1])}, ["dataset.hash"]),
    (lambda m, d: {"model": m, "dataset": (d[0][:60], d[1])}, ["dataset.train: 64 -> 60"]),
    (lambda m, d: {"model": m, "dataset": d, "enforcer": Pull()}, ["enforcer.name: none -> given:pull"]),
]


@pytest.mark.parametrize(("parts", "both"), DIFFERENT, ids=[both[0] for _, both in DIFFERENT])
def test_resuming_with_other_objects_is_refused_and_both_are_named(
    parts: Callable[..., dict[str, Any]], both: list[str], stopped: Path, module: nn.Module, data: tuple[Tensor, Tensor]
) -> None:
    before = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    with pytest.raises(BadInput, match="began differently") as caught:
        idemlab.train(LEAST, stopped, resume=True, overrides=["training.checkpoint_every=2"], **parts(module, data))
    assert all(text in str(caught.value) for text in both)
    assert before == {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}


@pytest.mark.long
def test_what_is_missing_is_said_in_one_screen(
    stopped: Path, module: nn.Module, data: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="model 'given:sequential' and dataset 'given:tensors' were given") as caught:
        idemlab.train(stopped, stopped, resume=True)
    assert "model=..., dataset=..." in str(caught.value)
    with pytest.raises(BadInput, match="dataset 'given:tensors' was given as an object with samples of shape"):
        idemlab.train(stopped, tmp_path / "new", model=module)
    assert not (tmp_path / "new").exists()
    finished = idemlab.train(stopped, stopped, model=module, dataset=data, resume=True)
    opened = idemlab.Run.open(finished.path)
    assert opened.experiment.table() == finished.experiment.table(), "what was given can be shown without it"
    for load in (lambda: idemlab.load(opened), opened.operator, lambda: idemlab.load(finished.path)):
        with pytest.raises(BadInput, match=r"model 'given:sequential' was given as .* with 76 parameters"):
            load()
    with pytest.raises(BadInput, match=r"its parameters is 85, and was 76"):
        idemlab.load(opened, model=network(9))
    with pytest.raises(BadInput, match="'given:sequential' was given as an object; now it is a function that makes it"):
        idemlab.load(opened, model=nn.Sequential)
    with pytest.raises(BadInput, match="'given:sequential' was given before; now it is given:linear"):
        idemlab.load(opened, model=nn.Linear(4, 4))
    with pytest.raises(BadInput, match="this run took its enforcer by name: 'none'"):
        idemlab.load(opened, model=module, enforcer=Pull())
    assert idemlab.write_report(opened).is_file()
    assert "was given as an object" in opened.report_file.read_text()
    idemlab.write_report(opened.giving(model=module, dataset=data))
    assert "was given as an object" not in opened.report_file.read_text()


def test_a_class_may_move_from_a_script_into_a_module(data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    class Net(nn.Linear):
        pass

    there = Net.__module__
    Net.__module__ = "__main__"
    run = idemlab.train(LEAST, tmp_path / "run", model=Net(4, 4), dataset=data)
    assert "__main__." in run.experiment_file.read_text()
    Net.__module__ = there
    assert idemlab.load(run.path, model=Net(4, 4)) is not None
    Net.__qualname__ = "Other"
    with pytest.raises(BadInput, match=r"its class is .*Other\", and was .*Net"):
        idemlab.load(run.path, model=Net(4, 4))


def test_an_enforcer_is_needed_to_load_only_where_it_wraps(
    data: tuple[Tensor, Tensor], module: nn.Module, tmp_path: Path
) -> None:
    class Halved(Enforcer):
        def wrap(self, operator: nn.Module) -> nn.Module:
            return nn.Sequential(operator, nn.Linear(4, 4))

    plain = idemlab.train(LEAST, tmp_path / "plain", model=module, dataset=data, enforcer=Pull())
    assert idemlab.load(plain.path, model=module) is not None
    wrapped = idemlab.train(LEAST, tmp_path / "wrapped", model=module, dataset=data, enforcer=Halved())
    with pytest.raises(BadInput, match="enforcer 'given:halved' was given as an object"):
        idemlab.load(wrapped.path, model=module)
    assert idemlab.load(wrapped.path, model=module, enforcer=Halved()) is not None


def test_a_run_that_holds_objects_says_how_to_resume_it(
    module: nn.Module, data: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    run = idemlab.train(LEAST, tmp_path / "run", model=module, dataset=data)
    with pytest.raises(BadInput, match="holds a run already") as caught:
        idemlab.train(LEAST, tmp_path / "run", model=module, dataset=data)
    assert "resume=True" in str(caught.value.next_step)
    assert "idemlab run" not in str(caught.value.next_step)
    assert idemlab.Run.open(run.path).resuming.startswith("idemlab run")


def test_a_dataset_object_is_used_as_it_is(module: nn.Module, data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    dataset = Dataset.of_tensors(*data, range=(-5.0, 5.0))
    run = idemlab.train(LEAST, tmp_path / "run", model=module, dataset=dataset)
    assert run.range == (-5.0, 5.0)
    assert run.experiment.table()["dataset"]["range"] == [-5.0, 5.0]
