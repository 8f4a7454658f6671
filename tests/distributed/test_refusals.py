"""What cutting the batch would make wrong is refused before training, with what would work; the page lists all of it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import idemlab
from idemlab.objective import engines
from idemlab.objective.engines import Engine, Single
from idemlab.objective.parts import assemble
from idemlab.objective.preflight import preflight

Make = Callable[..., dict[str, Any]]

PAGE = Path(__file__).parents[2] / "docs" / "distribution.md"

DDP, FSDP2 = engines.DDP(world=2), engines.FSDP2(world=2)
BATCH_NORM = {
    "dataset": {"name": "gaussian", "shape": [1, 8, 8], "train": 64, "test": 8},
    "model": {"name": "autoencoder", "norm": "batch", "channels": 4, "latent": 4, "depth": 1},
}


class Counting(nn.Linear):
    """An operator with a buffer that each training forward changes: by its samples, or whatever they are."""

    def __init__(self, by_samples: bool) -> None:
        super().__init__(4, 4)
        self.register_buffer("seen", torch.zeros(()))
        self.by_samples = by_samples

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen = self.seen + (x.detach().abs().mean() if self.by_samples else 1)
        return super().forward(x)


class Idle(nn.Linear):
    """An operator with a parameter that it does not use."""

    def __init__(self) -> None:
        super().__init__(4, 4)
        self.unused = nn.Parameter(torch.zeros(1))


class Uncut(nn.Linear):
    """An operator with a parameter that cannot be shared out: a number, or a transposed matrix."""

    def __init__(self, parameter: Tensor) -> None:
        super().__init__(4, 4)
        self.factor = nn.Parameter(parameter)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.factor.mean()


class Selfish(idemlab.Enforcer):
    """An enforcer that takes a mean over the samples of its own process."""

    def forward(self, orbit: idemlab.Orbit, step: idemlab.Step) -> idemlab.Enforcement:
        y = orbit.output
        return idemlab.Enforcement(loss=(y - y.mean(0)).square().mean().expand(len(y)))


class Scaled(idemlab.Enforcer):
    """An enforcer with a parameter of its own, which cannot be shared out either."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, orbit: idemlab.Orbit, step: idemlab.Step) -> idemlab.Enforcement:
        return idemlab.Enforcement(loss=self.scale * (orbit.output - orbit.ahead(1)).square().flatten(1).sum(1))


COUPLED = idemlab.Traits(batch_coupled=True)
TWICE = idemlab.Traits(needs_double_backward=True)


@dataclasses.dataclass(frozen=True)
class Case:
    """A combination that is refused, and the nearest one that is not.

    Args:
        changes: of the tiny experiment.
        operator, enforcer, traits: in place of what the experiment names.
        instead: changes and engine that are admitted.
        advice: part of the next step that is told.
        undeclared: whether the enforcer is one that does not declare its traits.
    """

    engine: Engine
    changes: dict[str, Any]
    instead: tuple[Engine, dict[str, Any]]
    advice: str
    operator: Callable[[], nn.Module] | None = None
    enforcer: Callable[[], idemlab.Enforcer] | None = None
    traits: idemlab.Traits | None = None
    undeclared: bool = False


ONE = Single()
MICRO = {"training__micro_batches": 2}
CASES = {
    "parts that are not equal": Case(
        engines.DDP(world=3), {}, (engines.DDP(world=3), {"training__batch_size": 15}), "training.batch_size = 15"
    ),
    "batch coupling and accumulation": Case(ONE, MICRO | {"enforcer": "relative"}, (DDP, {}), "micro_batches = 1"),
    "double backward and FSDP2": Case(FSDP2, {}, (DDP, {}), "DDP", traits=TWICE),
    "whole tensors and FSDP2": Case(
        FSDP2, {"optimizer": {"name": "muon"}}, (DDP, {"optimizer": {"name": "muon"}}), "DDP"
    ),
    "a parameter of one number and FSDP2": Case(
        FSDP2, {}, (DDP, {}), "contiguous", operator=lambda: Uncut(torch.ones(()))
    ),
    "a transposed parameter and FSDP2": Case(
        FSDP2, {}, (DDP, {}), "contiguous", operator=lambda: Uncut(torch.ones(3, 2).mT)
    ),
    "a parameter of an enforcer and FSDP2": Case(FSDP2, {}, (DDP, {}), "contiguous", enforcer=Scaled),
    "batch statistics and accumulation": Case(
        ONE, BATCH_NORM | MICRO, (ONE, BATCH_NORM | {"training__micro_batches": 1}), "model.norm = group"
    ),
    "batch statistics and processes": Case(
        DDP, BATCH_NORM, (DDP, BATCH_NORM | {"model": BATCH_NORM["model"] | {"norm": "group"}}), "model.norm = group"
    ),
    "coupling within a process": Case(DDP, {}, (ONE, {}), "one process", enforcer=Selfish, traits=COUPLED),
    "a buffer that counts and accumulation": Case(
        ONE, MICRO, (DDP, {"training__micro_batches": 1}), "micro_batches = 1", operator=lambda: Counting(False)
    ),
    "a buffer of samples and processes": Case(DDP, {}, (ONE, {}), "one process", operator=lambda: Counting(True)),
    "an enforcer without traits": Case(DDP, {}, (ONE, {}), "idemlab.Traits()", undeclared=True),
    "an idle parameter and DDP": Case(DDP, {}, (FSDP2, {}), "requires_grad_", operator=Idle),
}


def _ask(case: Case, tiny: Make, monkeypatch: pytest.MonkeyPatch, engine: Engine, changes: dict[str, Any]) -> None:
    experiment = idemlab.resolve(tiny(**changes))
    parts = assemble(experiment)
    if case.operator:
        parts.objective.operator = case.operator().double()
    if case.enforcer:
        parts.objective.enforcer = case.enforcer()
    if case.undeclared:
        monkeypatch.setattr("idemlab.catalog.named.Named.declares_traits", False)
    if case.traits:
        monkeypatch.setattr("idemlab.catalog.named.Named.traits", lambda self: case.traits)
    preflight(experiment, parts, device=torch.device("cpu"), engine=engine)


@pytest.mark.parametrize("name", list(CASES))
def test_it_is_refused_and_what_is_advised_is_not(tiny: Make, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    case = CASES[name]
    with pytest.raises(idemlab.BadInput) as caught:
        _ask(case, tiny, monkeypatch, case.engine, case.changes)
    assert case.advice in (caught.value.next_step or "")
    assert _pattern(caught.value.what) in _listed(), (
        f"docs/distribution.md does not list: {_pattern(caught.value.what)}"
    )
    _ask(case, tiny, monkeypatch, *case.instead)


def test_the_page_lists_nothing_that_is_not_refused(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    told = set()
    for case in CASES.values():
        with monkeypatch.context() as patched, pytest.raises(idemlab.BadInput) as caught:
            _ask(case, tiny, patched, case.engine, case.changes)
        told.add(_pattern(caught.value.what))
    assert _listed() == told


def test_synchronous_batch_statistics_are_admitted(tiny: Make) -> None:
    """What torch computes over all processes, which it does on GPUs only: the model is looked at, not run."""
    from idemlab.objective.cutting import check_combination

    experiment = idemlab.resolve(tiny(**BATCH_NORM))
    objective = assemble(experiment).objective
    objective.operator = nn.SyncBatchNorm.convert_sync_batchnorm(objective.operator)
    check_combination(experiment, idemlab.Traits(), objective, DDP)


def _pattern(what: str) -> str:
    """A message without the names and numbers of its case."""
    return re.sub(r"\b\d+", "N", re.sub(r"'[^']*'", "'…'", what))


def _listed() -> set[str]:
    """The messages in the page's table of refusals."""
    section = PAGE.read_text(encoding="utf-8").partition("## Refused combinations")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return {row[0].strip("`") for row in rows if row[0].startswith("`")}
