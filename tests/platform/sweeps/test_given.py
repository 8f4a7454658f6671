"""Sweeps over parts that are given as objects or as functions."""

from __future__ import annotations

import importlib
import runpy
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import tomli_w
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, TensorDataset

import idemlab
from idemlab import BadInput, Sweep, run_sweep
from idemlab.objective import parts

_OWN = runpy.run_path(str(Path(__file__).parents[1] / "own_parts.py"), run_name="own_parts")
Pull, network = (_OWN[name] for name in ("Pull", "network"))
Make = Callable[..., dict[str, Any]]


@pytest.fixture
def file(tmp_path: Path, tiny: Make) -> str:
    table = tiny(training__steps=3)
    table["evaluation"].pop("metrics")
    (tmp_path / "tiny.toml").write_text(tomli_w.dumps(table))
    return str(tmp_path / "tiny.toml")


def _sizes(results: idemlab.Results) -> list[int]:
    return [sum(p.numel() for p in trial.run.operator().parameters()) for trial in results.trials]


@pytest.mark.long
def test_a_function_is_called_for_each_trial_with_the_values_to_try(
    file: str, data: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    sweep = Sweep(experiment=file, over={"model.width": [3, 5]}, seeds=2)
    results = run_sweep(sweep, tmp_path / "sweep", model=network, dataset=data, enforcer=Pull)
    assert [trial.error for trial in results.trials] == [""] * 4
    assert _sizes(results) == [31, 31, 49, 49]
    assert results.trials[0].metrics != results.trials[1].metrics, "each seed has its own start"
    assert idemlab.load(results.trials[2].path, model=network)[0].out_features == 5  # type: ignore[index,union-attr]
    again = run_sweep(sweep, tmp_path / "sweep", model=network, dataset=data, enforcer=Pull, resume=True)
    assert again.trials[0].metrics == results.trials[0].metrics
    with pytest.raises(BadInput, match="were given as objects"):
        run_sweep(Sweep(experiment=str(results.trials[0].path)), tmp_path / "other")
    assert not (tmp_path / "other").exists()
    with pytest.raises(BadInput, match="differs from the one in"):
        run_sweep(sweep, tmp_path / "sweep", model=network, dataset=(data[1], data[0]), enforcer=Pull, resume=True)


def test_an_argument_that_the_function_does_not_have_is_refused(
    file: str, data: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    for model, over, message in (
        (network, {"model.wdith": [1]}, "has no argument 'wdith'"),
        (network, {"model.width": ["wide"]}, "'width' cannot be \"wide\""),
        (network(), {"model.width": [1]}, "is an object, so that 'width' cannot be set"),
    ):
        with pytest.raises(BadInput, match=message):
            run_sweep(Sweep(experiment=file, over=over), tmp_path / "sweep", model=model, dataset=data)
    assert not (tmp_path / "sweep").exists()


def test_a_metric_that_does_not_take_the_data_is_refused_before_any_trial(
    file: str, data: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="needs images with labels"):
        run_sweep(Sweep(experiment=file, seeds=2), tmp_path / "sweep", dataset=data, metrics=["class-coverage"])
    assert not (tmp_path / "sweep").exists()


def test_a_finished_sweep_is_read_without_its_data(
    file: str, data: tuple[Tensor, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = Sweep(experiment=file, seeds=1)
    run_sweep(sweep, tmp_path / "sweep", dataset=data)

    def gone(experiment: idemlab.Experiment) -> None:
        raise BadInput("the data are gone")

    monkeypatch.setattr(parts, "check_metrics", gone)
    assert run_sweep(sweep, tmp_path / "sweep", dataset=data, resume=True).trials[0].state == "complete"
    with pytest.raises(BadInput, match="the data are gone"):
        run_sweep(sweep, tmp_path / "other", dataset=data)


def test_a_module_is_one_start_for_all_trials(file: str, data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    module = network()
    sweep = Sweep(experiment=file, set={"optimizer.lr": 0.0}, seeds=2)
    results = run_sweep(sweep, tmp_path / "sweep", model=module, dataset=data)
    for trial in results.trials:
        with torch.no_grad():
            torch.testing.assert_close(trial.run.operator()(data[1]), module(data[1]))


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ({"model": lambda: network()}, "its factory is a lambda"),
        (
            {"enforcer": type("Hidden", (Pull,), {"__module__": "__main__"})()},
            "its class is defined in the script itself",
        ),
        ({"enforcer": type("Nowhere", (Pull,), {"__module__": "no_module"})()}, "its class is defined in 'no_module'"),
    ],
    ids=["lambda", "main", "nowhere"],
)
def test_what_cannot_be_sent_to_workers_is_refused(
    part: dict[str, Any], why: str, file: str, data: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=f"cannot be sent to worker processes: {why}") as caught:
        run_sweep(Sweep(experiment=file, seeds=2), tmp_path / "sweep", jobs=2, **({"dataset": data} | part))
    assert "`jobs = 1`" in str(caught.value.next_step)
    assert not (tmp_path / "sweep").exists()


PLUGIN = """
    from torch import nn

    class Net(nn.Sequential):
        def __init__(self, width):
            super().__init__(nn.Linear(4, width), nn.GELU(), nn.Linear(width, 4))

    def make(width: int = 6):
        return Net(width)
"""


@pytest.mark.long
def test_workers_get_what_was_given(file: str, data: tuple[Tensor, Tensor], tmp_path: Path, site: Path) -> None:
    (site / "own_nets.py").write_text(dedent(PLUGIN))
    nets = importlib.import_module("own_nets")
    for name, model, over in (("made", nets.make, {"model.width": [3, 5]}), ("object", nets.Net(3), {})):
        sweep = Sweep(experiment=file, over=over, seeds=2)
        both = [run_sweep(sweep, tmp_path / f"{name}-{jobs}", jobs=jobs, model=model, dataset=data) for jobs in (1, 2)]
        assert [trial.error for results in both for trial in results.trials] == [""] * (8 if over else 4)
        for one, other in zip(both[0].trials, both[1].trials, strict=True):  # trained as one program, or side by side
            assert one.metrics == pytest.approx(other.metrics, rel=1e-4)
        assert _sizes(both[0]) == _sizes(both[1])


@pytest.mark.long
def test_workers_read_map_style_data_without_processes_of_their_own(file: str, tmp_path: Path) -> None:
    rows = ConcatDataset([TensorDataset(torch.randn(32, 4)), TensorDataset(torch.randn(32, 4))])
    results = run_sweep(Sweep(experiment=file, seeds=2), tmp_path / "sweep", jobs=2, dataset=(rows, rows))
    assert [(trial.state, trial.error) for trial in results.trials] == [("complete", "")] * 2
