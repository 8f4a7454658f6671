"""A run goes on with what it began with; anything else is shown, and done only if told."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import idemlab
from idemlab.catalog.catalog import Catalog, installed
from idemlab.errors import Interrupted
from idemlab.runs.changes import _differences, changes
from idemlab.sweeps.jobs import Job, Task, work
from idemlab.watching.watcher import Watcher

Make = Callable[..., dict[str, Any]]


class _Heard(Watcher):
    def __init__(self, stop: int = 0) -> None:
        self.stop = stop
        self.messages: list[str] = []

    def stepped(self, step: int) -> None:
        if step == self.stop:
            signal.raise_signal(signal.SIGTERM)

    def message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture
def cut(tmp_path: Path, tiny: Make) -> idemlab.Run:
    """A run of the tiny experiment that was stopped after 5 of its 12 steps."""
    with pytest.raises(Interrupted):
        idemlab.train(tiny(), tmp_path / "run", watchers=[_Heard(stop=5)])
    return idemlab.Run(tmp_path / "run")


def _record(run: idemlab.Run, table: str, key: str, version: str) -> None:
    """Have the run begun with another version."""
    environment = json.loads(run.environment_file.read_text())
    environment[table][key] = version
    run.environment_file.write_text(json.dumps(environment))


def test_differences_name_their_keys() -> None:
    assert _differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2}) == ["a.b: 1 -> 3"]
    assert _differences({"summary": "x", "a": 1}, {"summary": "y"}) == ["a: 1 -> None"]


def test_a_changed_experiment_is_refused_unless_told(cut: idemlab.Run, tiny: Make) -> None:
    other = tiny(optimizer__lr=0.02)
    with pytest.raises(idemlab.BadInput, match=r"optimizer.lr: 0.01 -> 0.02") as caught:
        idemlab.train(other, cut.path, resume=True)
    assert "allow the changes" in str(caught.value)
    assert cut.experiment.optimizer.lr == 0.01
    heard = _Heard()
    run = idemlab.train(other, cut.path, resume=True, allow_changes=True, watchers=[heard])
    assert heard.messages == ["changed since the run began: optimizer.lr: 0.01 -> 0.02", "resuming from step-5"]
    assert idemlab.Run.open(run.path).experiment.optimizer.lr == 0.02
    assert run.environment is not None
    assert run.environment["changes"] == ["optimizer.lr: 0.01 -> 0.02"]
    idemlab.train(other, cut.path, resume=True)
    assert run.environment["changes"] == ["optimizer.lr: 0.01 -> 0.02"], "kept for good"


@pytest.mark.parametrize("package", ["idemlab", "torch"])
def test_a_changed_package_is_refused_unless_told(cut: idemlab.Run, tiny: Make, package: str) -> None:
    assert cut.environment is not None
    now = cut.environment["packages"][package]
    _record(cut, "packages", package, "0.0.1")
    with pytest.raises(idemlab.BadInput, match=re.escape(f"{package}: 0.0.1 -> {now}")):
        idemlab.train(tiny(), cut.path, resume=True)
    heard = _Heard()
    run = idemlab.train(tiny(), cut.path, resume=True, allow_changes=True, watchers=[heard])
    assert f"changed since the run began: {package}: 0.0.1 -> {now}" in heard.messages
    assert run.environment is not None
    assert run.environment["packages"][package] == now


def test_what_the_run_does_not_use_may_change(cut: idemlab.Run, tiny: Make) -> None:
    _record(cut, "packages", "datasets", "0.0.1")
    _record(cut, "plugins", "somebody-else:theirs", "0.0.1")
    assert changes(cut, idemlab.resolve(tiny()), installed()) == []


PLUGIN = """
from idemlab import EnforcerKind, EnforcerSpec, Traits, hookimpl

def still():
    raise NotImplementedError

@hookimpl
def provide_enforcers():
    yield EnforcerSpec(name="still", factory=still, summary="s", traits=Traits(kinds=EnforcerKind.LOSS))
"""


def test_a_changed_plugin_of_the_experiment_is_a_change(
    cut: idemlab.Run, tiny: Make, site: Path, install: Callable[..., None], catalog: Callable[..., Catalog]
) -> None:
    install("theirs", PLUGIN, version="2.0")
    both = Catalog([*installed_points(), *_points(site)])
    experiment = idemlab.resolve(tiny(enforcer={"name": "still"}), catalog=both)
    cut.experiment_file.write_text(experiment.to_toml())
    assert changes(cut, experiment, both) == ["theirs:theirs: not recorded -> 2.0"]
    _record(cut, "plugins", "theirs:theirs", "1.0")
    assert changes(cut, experiment, both) == ["theirs:theirs: 1.0 -> 2.0"]
    _record(cut, "plugins", "theirs:theirs", "2.0")
    assert changes(cut, experiment, both) == []


def installed_points() -> list[Any]:
    from importlib.metadata import entry_points

    return [point for point in entry_points(group="idemlab") if point.dist and point.dist.name == "idemlab"]


def _points(site: Path) -> list[Any]:
    from importlib.metadata import distributions

    return [point for dist in distributions(path=[str(site)]) for point in dist.entry_points]


def test_an_experiment_that_the_plugins_no_longer_understand_is_shown(cut: idemlab.Run, tiny: Make) -> None:
    content = cut.experiment_file.read_text()
    cut.experiment_file.write_text(content.replace("width = 8", "width = 8\nformerly = true"))
    assert "model.formerly: True -> None" in changes(cut, idemlab.resolve(tiny()), installed())
    cut.experiment_file.write_text("no toml")
    with pytest.raises(idemlab.BadInput, match="not valid TOML"):
        changes(cut, idemlab.resolve(tiny()), installed())


def test_a_finished_run_that_is_made_longer_is_not_finished_until_it_is(tmp_path: Path, tiny: Make) -> None:
    run = idemlab.train(tiny(), tmp_path / "run")
    assert run.certificate
    longer = tiny(training__steps=20)
    with pytest.raises(Interrupted):
        idemlab.train(longer, run.path, resume=True, allow_changes=True, watchers=[_Heard(stop=15)])
    assert run.certificate is None
    assert idemlab.train(longer, run.path, resume=True).certificate


def test_a_damaged_or_missing_environment(cut: idemlab.Run, tiny: Make) -> None:
    cut.environment_file.write_text("{")
    with pytest.raises(idemlab.BadInput, match=r"environment.json, with the versions .* is damaged"):
        idemlab.train(tiny(), cut.path, resume=True)
    assert idemlab.train(tiny(), cut.path, resume=True, allow_changes=True).environment
    cut.environment_file.unlink()
    assert changes(cut, idemlab.resolve(tiny()), installed()) == []


def test_a_checkpoint_of_another_model_changes_nothing(cut: idemlab.Run, tiny: Make) -> None:
    before = {p: p.read_bytes() for p in cut.path.rglob("*") if p.is_file()}
    with pytest.raises(idemlab.Failure, match="step-5 does not fit the model"):
        idemlab.train(tiny(model__width=9), cut.path, resume=True, allow_changes=True)
    assert {p: p.read_bytes() for p in cut.path.rglob("*") if p.is_file()} == before


def test_a_trial_that_began_with_other_versions_begins_again(cut: idemlab.Run, tiny: Make, tmp_path: Path) -> None:
    whole = idemlab.train(tiny(), tmp_path / "whole")
    (cut.path / "mark").write_text("of the first attempt")
    _record(cut, "packages", "torch", "0.0.1")
    job = Job([Task(0, str(cut.path), idemlab.resolve(tiny()))])
    assert [outcome.error for outcome in work(job, installed(), lambda: False)] == [""]
    assert not (cut.path / "mark").exists()
    assert cut.weights_file.read_bytes() == whole.weights_file.read_bytes()
    assert cut.environment is not None
    assert "changes" not in cut.environment


def test_a_trial_that_was_cut_short_goes_on(cut: idemlab.Run, tiny: Make) -> None:
    (cut.path / "mark").write_text("of the first attempt")
    job = Job([Task(0, str(cut.path), idemlab.resolve(tiny()))])
    assert [outcome.error for outcome in work(job, installed(), lambda: False)] == [""]
    assert (cut.path / "mark").exists()
