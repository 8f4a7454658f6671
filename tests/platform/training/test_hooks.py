"""The hooks of an enforcer with a state: told at the right moments, kept by checkpoints, resumed bit for bit."""

from __future__ import annotations

import copy
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import idemlab
from idemlab import Catalog, Enforcement, Enforcer, EnforcerKind, EnforcerSpec, Operator, Orbit, Step, Traits
from idemlab.contracts.enforcer import follows_training
from idemlab.errors import Interrupted
from idemlab.runs.weights import read_weights
from idemlab.testing import check_enforcer
from idemlab.testing.kit import CHECKS, examine
from idemlab.testing.subject import Subject
from idemlab.training.stacked_loop import stackable
from idemlab.watching.watcher import Watcher

Make = Callable[..., dict[str, Any]]

PAGE = Path(__file__).parents[3] / "docs" / "write-a-plugin.md"


@pytest.fixture(scope="module")
def shown() -> EnforcerSpec:
    """The enforcer with a state that the page shows."""
    block = re.search(
        r'^```python title="[^"]*teacher.py"\n(.*?)^```$', PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    assert block is not None
    names: dict[str, Any] = {"__name__": "teacher"}
    exec(compile(block[1], "teacher.py", "exec", dont_inherit=True), names)
    spec: EnforcerSpec = names["SPEC"]
    return spec


class _StopAt(Watcher):
    def __init__(self, step: int) -> None:
        self.step = step

    def stepped(self, step: int) -> None:
        if step == self.step:
            signal.raise_signal(signal.SIGTERM)


def _figures(run: idemlab.Run) -> list[dict[str, Any]]:
    return [{k: v for k, v in entry.items() if k != "time"} for entry in run.metrics]


# -- the example of the page ------------------------------------------------------------------------------------------


@pytest.mark.long
def test_the_example_passes_the_kit(shown: EnforcerSpec) -> None:
    report = check_enforcer(shown, quick=True)
    assert report.passed, str(report)


@pytest.mark.parametrize(("inside", "micro_batches"), [(False, 2), (True, 1)], ids=["alone", "in a hybrid"])
def test_the_example_resumes_bit_for_bit(
    tmp_path: Path, tiny: Make, shown: EnforcerSpec, inside: bool, micro_batches: int
) -> None:
    catalog = idemlab.installed().including(shown)
    enforcer: dict[str, Any] = {"name": "teacher", "decay": 0.7}
    if inside:
        enforcer = {"name": "hybrid", "enforcers": ["gradient", enforcer]}
    table = tiny(enforcer=enforcer, source={"name": "gaussian"}, training__micro_batches=micro_batches)
    whole = idemlab.train(table, tmp_path / "whole", catalog=catalog)
    with pytest.raises(Interrupted):
        idemlab.train(table, tmp_path / "cut", catalog=catalog, watchers=[_StopAt(7)])
    cut = idemlab.train(table, tmp_path / "cut", catalog=catalog, resume=True)
    assert cut.weights_file.read_bytes() == whole.weights_file.read_bytes()
    assert _figures(cut) == _figures(whole)
    last = Path("step-12") / "objective.safetensors"
    ended, again = read_weights(whole.checkpoints / last), read_weights(cut.checkpoints / last)
    slow = {name for name in ended if ".teacher." in name}
    assert slow
    assert all(torch.equal(ended[name], again[name]) for name in ended)
    assert all(not torch.equal(ended[name], ended["operator." + name.partition(".teacher.")[2]]) for name in slow)
    assert set(read_weights(whole.weights_file)) == {
        name.removeprefix("operator.") for name in ended if name.startswith("operator.")
    }


# -- when the hooks are told ------------------------------------------------------------------------------------------


class Noting(Enforcer):
    """Notes what it is told, and counts the steps in a buffer."""

    heard: list[str] = []  # noqa: RUF012 -- of the class: what factories build is copied
    counted: torch.Tensor

    def on_start(self, operator: Operator) -> None:
        self.register_buffer("counted", torch.zeros((), dtype=torch.int64))
        self.heard.append("start")

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        assert isinstance(orbit.operator, nn.Module)
        return Enforcement(loss=idemlab.l2(orbit.output, orbit.ahead(1)))

    def after_step(self, operator: Operator, step: Step) -> None:
        assert not torch.is_grad_enabled()
        assert all(p.grad is None for p in operator.parameters()) or step.purpose == "preflight"
        self.counted += 1
        self.heard.append(f"step {step.index}, {step.progress:.2f}, {float(step.normal(torch.zeros(1))):.3f}")


def noting() -> Any:
    """Notes."""
    return Noting()


LOSS = Traits(kinds=frozenset({EnforcerKind.LOSS}))
NOTING = EnforcerSpec(name="noting", factory=noting, summary="Notes what it is told.", traits=LOSS)


@pytest.fixture
def listening() -> Iterator[Catalog]:
    Noting.heard.clear()
    yield idemlab.installed().including(NOTING)
    Noting.heard.clear()


def test_the_hooks_are_told_once_before_and_after_each_step(tmp_path: Path, tiny: Make, listening: Catalog) -> None:
    table = tiny(enforcer={"name": "noting"}, training__steps=3)
    run = idemlab.train(table, tmp_path / "run", catalog=listening)
    # The preflight tries both on a copy.
    assert Noting.heard[0] == "start"
    assert Noting.heard[1].startswith("step 0, 1.00")
    assert Noting.heard[2] == "start"
    told = Noting.heard[3:]
    assert [note.rpartition(",")[0] for note in told] == ["step 0, 0.00", "step 1, 0.33", "step 2, 0.67"]
    assert len({note.rpartition(",")[2] for note in told}) == 3, "each step has draws of its own"
    kept = read_weights(run.checkpoints / "step-3" / "objective.safetensors")
    assert int(kept["enforcer.counted"]) == 3


def test_members_of_any_container_are_told() -> None:
    class Container(Enforcer):
        def __init__(self, *members: Enforcer) -> None:
            super().__init__()
            self.members = nn.ModuleList(members)

    Noting.heard.clear()
    inner = Noting()
    outer = Container(Enforcer(), Container(inner))
    outer.on_start(nn.Linear(1, 1))
    with torch.no_grad():
        outer.after_step(nn.Linear(1, 1), Step())
    assert Noting.heard[0] == "start"
    assert len(Noting.heard) == 2
    assert follows_training(outer)
    assert not follows_training(Container(Enforcer()))
    Noting.heard.clear()


def test_only_enforcers_without_hooks_are_stacked(tiny: Make, listening: Catalog) -> None:
    hybrid = {"name": "hybrid", "enforcers": ["gradient", "cubic"]}
    assert stackable(idemlab.resolve(tiny(enforcer=hybrid)))
    for enforcer in ({"name": "noting"}, {"name": "hybrid", "enforcers": ["gradient", "noting"]}):
        assert not stackable(idemlab.resolve(tiny(enforcer=enforcer), catalog=listening))


class Failing(Enforcer):
    def __init__(self, hook: str) -> None:
        super().__init__()
        self.hook = hook

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        return Enforcement(loss=idemlab.l2(orbit.output, orbit.ahead(1)))

    def on_start(self, operator: Operator) -> None:
        if self.hook == "on_start":
            raise ZeroDivisionError("in the hook")

    def after_step(self, operator: Operator, step: Step) -> None:
        if self.hook == "after_step":
            raise ZeroDivisionError("in the hook")


def failing(hook: str) -> Any:
    """Fails."""
    return Failing(hook)


@pytest.mark.parametrize("hook", ["on_start", "after_step"])
def test_a_hook_that_raises_is_blamed_before_anything_is_written(tmp_path: Path, tiny: Make, hook: str) -> None:
    spec = EnforcerSpec(name="failing", factory=failing, summary="Fails.", traits=LOSS)
    table = tiny(enforcer={"name": "failing", "hook": hook})
    with pytest.raises(idemlab.Failure, match=f"the enforcer's {hook} raised ZeroDivisionError: in the hook") as caught:
        idemlab.train(table, tmp_path / "run", catalog=idemlab.installed().including(spec))
    assert "test_hooks.py, line" in (caught.value.where or "")
    assert not (tmp_path / "run").exists()


# -- what the kit finds -----------------------------------------------------------------------------------------------


class _Following(Enforcer):
    """A teacher, as authors write them wrongly."""

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        if not hasattr(self, "slow"):
            self.slow = copy.deepcopy(orbit.operator).requires_grad_(False)
        slow = Orbit(self.slow, orbit.output.detach(), orbit.condition)
        return Enforcement(loss=idemlab.l2(orbit.output, 3 * slow.ahead(0) - 2 * slow.ahead(1)))


class Lazy(_Following):
    """Makes its copy in forward."""

    def after_step(self, operator: Operator, step: Step) -> None:
        if hasattr(self, "slow"):
            self.slow.load_state_dict(operator.state_dict())


class Unregistered(_Following):
    """Keeps its copy where no checkpoint finds it."""

    def on_start(self, operator: Operator) -> None:
        self.__dict__["slow"] = copy.deepcopy(operator).requires_grad_(False)

    def after_step(self, operator: Operator, step: Step) -> None:
        for own, new in zip(self.__dict__["slow"].parameters(), operator.parameters(), strict=True):
            own.lerp_(new, 0.1)


class Keeping(_Following):
    """Keeps the operator itself."""

    def on_start(self, operator: Operator) -> None:
        self.slow = operator


class Meddling(_Following):
    """Changes the operator."""

    def on_start(self, operator: Operator) -> None:
        self.slow = copy.deepcopy(operator).requires_grad_(False)

    def after_step(self, operator: Operator, step: Step) -> None:
        for own in operator.parameters():
            own.mul_(0.99)


class Drawing(_Following):
    """Draws from the global generator in a hook."""

    def on_start(self, operator: Operator) -> None:
        self.slow = copy.deepcopy(operator).requires_grad_(False)

    def after_step(self, operator: Operator, step: Step) -> None:
        for own in self.slow.parameters():
            own += torch.randn_like(own)


def failed(build: Callable[[], Any], among: str = "", **traits: Any) -> tuple[str, ...]:
    """The checks that an enforcer with these traits fails. With `among`, only this check runs."""
    given = Traits(kinds=frozenset({EnforcerKind.SUBSTITUTION}), **traits)
    subject = Subject.of("enforcer", EnforcerSpec(name="wrong", factory=build, summary="Wrong.", traits=given), {})
    own = [check for check in CHECKS if check.kind == "enforcer" and check.applies(subject.traits)]
    own = [check for check in own if among in ("", check.name)]
    return tuple(check.name for check in own if examine(check, subject, quick=True, shrink=False))


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        (Lazy, "state-round-trips"),
        (Unregistered, "state-round-trips"),
        (Keeping, "nothing-is-touched"),
        (Meddling, "nothing-is-touched"),
        (Drawing, "randomness-through-step-only"),
    ],
)
@pytest.mark.long
def test_the_kit_finds_a_state_that_is_kept_wrongly(wrong: type[Enforcer], check: str) -> None:
    def build() -> Any:
        """Wrong."""
        return wrong()

    alone = wrong in (Lazy, Unregistered)  # the others fail further checks too
    assert failed(build, "" if alone else check, orthogonally_equivariant=True) == (check,)


class Remembering(Enforcer):
    """Learns of the operator through wrap, which the trainer always calls."""

    def wrap(self, operator: Operator) -> Operator:
        self.slow = copy.deepcopy(operator).requires_grad_(False)
        return operator

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        slow = Orbit(self.slow, orbit.output.detach(), orbit.condition)
        return Enforcement(loss=idemlab.l2(orbit.output, 3 * slow.ahead(0) - 2 * slow.ahead(1)))


@pytest.mark.long
def test_the_kit_wraps_as_training_does() -> None:
    def build() -> Any:
        """Remembers."""
        return Remembering()

    assert failed(build) == ("attracted-to-the-end",)  # as it should: its copy of the operator is never updated
