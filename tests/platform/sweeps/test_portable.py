"""A catalog that was given to a sweep reaches its worker processes, or the sweep is refused before it starts."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from idemlab import (
    BadInput,
    Catalog,
    EnforcerSpec,
    Run,
    Sweep,
    Traits,
    installed,
    load,
    open_sweep,
    resolve,
    run_sweep,
    train,
)

Make = Callable[..., dict[str, Any]]
pytestmark = pytest.mark.long

PLUGIN = """
    import idemlab
    from idemlab_models.plugin import provide_models
    from idemlab_data.plugin import provide_datasets, provide_sources

    def gentle(weight: float = 1.0):
        from idemlab import Enforcement, Enforcer, half_squared_distance

        class Gentle(Enforcer):
            def forward(self, orbit, step):
                return Enforcement(loss=half_squared_distance(orbit.live(2), orbit.output))

        return Gentle()

    @idemlab.hookimpl
    def provide_enforcers():
        yield idemlab.EnforcerSpec(name="gentle", factory=gentle, summary="A stranger's.", traits=idemlab.Traits())
"""


@pytest.fixture
def given(install: Callable[..., None], catalog: Callable[..., Catalog]) -> Catalog:
    """A catalog that holds more than what is installed: it is nowhere but in the call."""
    installed()  # once and for all: it must not see what is offered here
    install("stranger", PLUGIN, version="7.0")
    return catalog(strict=True)


@pytest.fixture
def sweep(tiny: Make, tmp_path: Path) -> Sweep:
    file = tmp_path / "gentle.toml"
    table = tiny(enforcer={"name": "gentle"})
    table["evaluation"].pop("metrics")
    file.write_text(tomli_w.dumps(table))
    return Sweep(experiment=str(file), set={"training.steps": 3}, seeds=2)


def test_the_workers_of_a_sweep_have_its_catalog(
    sweep: Sweep, given: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> Catalog:
        raise AssertionError("the installed catalog is none of its business")

    for module in ("catalog.catalog", "runs.run"):
        monkeypatch.setattr(f"idemlab.{module}.installed", none)
    results = run_sweep(sweep, tmp_path / "sweep", jobs=2, catalog=given)
    assert [(trial.state, trial.error) for trial in results.trials] == [("complete", "")] * 2
    for trial in results.trials:
        assert trial.run.experiment.enforcer.name == "gentle"
        assert load(trial.run) is not None
        environment = json.loads(trial.run.environment_file.read_text())
        assert environment["plugins"]["stranger:stranger"] == "7.0"
    opened = open_sweep(tmp_path / "sweep", catalog=given)
    assert opened.trials[0].run.experiment.enforcer.name == "gentle"
    assert run_sweep(sweep, tmp_path / "alone", catalog=given).trials[0].metrics == opened.trials[0].metrics


def test_a_run_keeps_the_catalog_it_was_given(sweep: Sweep, given: Catalog, tmp_path: Path) -> None:
    run = train(resolve(sweep.experiment, catalog=given), tmp_path / "run", catalog=given)
    assert run.experiment.enforcer.name == "gentle"
    assert load(run) is not None
    assert Run.open(run.path, catalog=given).experiment == run.experiment
    with pytest.raises(BadInput, match="there is no enforcer 'gentle'"):
        _ = Run.open(run.path).experiment


def in_a_function() -> Callable[..., Any]:
    def factory(weight: float = 1.0) -> Any: ...

    return factory


def hidden(weight: float = 1.0) -> Any: ...


hidden.__module__ = "__main__"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"factory": in_a_function()}, "its factory is defined inside another function"),
        ({"factory": hidden}, "its factory is defined in the script itself"),
        ({"factory": lambda: None}, "its factory is a lambda"),
        ({"traits": lambda arguments: Traits()}, "its traits function is a lambda"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_anything_is_written(
    change: dict[str, Any], why: str, sweep: Sweep, given: Catalog, tmp_path: Path
) -> None:
    spec = EnforcerSpec(**{"name": "gentle", "factory": partial, "summary": "s", "traits": Traits()} | change)
    larger = given.including(spec)
    if "traits" in change:
        larger = given.including(EnforcerSpec(name="gentle", factory=plain, summary="s", traits=change["traits"]))
    with pytest.raises(BadInput, match=f"enforcer 'gentle' cannot be sent to worker processes: {why}") as caught:
        run_sweep(sweep, tmp_path / "sweep", jobs=2, catalog=larger)
    assert "`jobs = 1`" in str(caught.value.next_step)
    assert not (tmp_path / "sweep").exists()


def plain(weight: float = 1.0) -> Any: ...


def test_what_no_experiment_names_stands_in_nobodys_way(sweep: Sweep, given: Catalog, tmp_path: Path) -> None:
    larger = given.including(EnforcerSpec(name="other", factory=in_a_function(), summary="s", traits=Traits()))
    results = run_sweep(sweep, tmp_path / "sweep", jobs=2, catalog=larger)
    assert [trial.state for trial in results.trials] == ["complete"] * 2
