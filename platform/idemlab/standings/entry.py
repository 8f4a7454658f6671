"""An entry: one arm in one task, with the two sweeps that measure it, or the reason why it cannot take part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..catalog.catalog import Catalog
from ..catalog.schema import REQUIRED, parameters
from ..contracts.orbit import Operator, applied
from ..contracts.specs import EnforcerKind, ModelSpec
from ..errors import BadInput, Failure, IdemlabError
from ..experiment.experiment import Experiment
from ..objective.data import classes_of
from ..objective.measured import check_metric, measured
from ..objective.parts import assemble, build_operator
from ..objective.preflight import preflight
from ..sweeps.sweep import Setting, Sweep
from ..wording import shown
from .suite import Arm, Suite, Task

__all__ = ["Entry", "arm_of", "entered", "measured_cost"]

RANK = "rank"
"""The argument of an enforcer that a task can give."""
_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One arm in one task.

    Args:
        arm, task: their names.
        settings: keys of the experiment that are the same in all its trials.
        tuning: the sweep that chooses a setting, measured on held-out training samples.
        model: name of the model.
        refused: why it cannot take part; empty if it can.
        step_cost: counted FLOPs of a step, in forwards of the task's own model on a batch.
        call_cost: the same of one application of f.
    """

    arm: str
    task: str
    settings: Mapping[str, Any]
    tuning: Sweep
    model: str = ""
    refused: str = ""
    step_cost: float | None = None
    call_cost: float | None = None

    def final(self, chosen: Mapping[str, Any], seeds: int) -> Sweep:
        """The sweep that measures the chosen setting on the test data."""
        settings = dict(self.settings) | dict(chosen) | {"evaluation.split": "test"}
        return Sweep(experiment=self.tuning.experiment, set=settings, seeds=seeds)


def arm_of(enforcer: str | Mapping[str, Any], suite: Suite, catalog: Catalog) -> tuple[str, Arm]:
    """(name, arm) of a requested enforcer: the fixed arm of that name, or a new one.

    Raises:
        BadInput: if there is no such enforcer, or it has an argument without default that the league cannot know.
    """
    if isinstance(enforcer, str) and enforcer in suite.arm:
        return enforcer, suite.arm[enforcer]
    if not isinstance(enforcer, (str, Mapping)):
        raise BadInput(
            f"an arm cannot be {shown(enforcer)}",
            where="enforcers",
            expected="a name, or a table with a name and arguments",
        )
    table: dict[str, Any] = {"name": enforcer} if isinstance(enforcer, str) else dict(enforcer)
    entry = catalog.find("enforcer", str(table.get("name", "")), "the arms of the league")
    if table.get("name") in entry.spec.aliases:  # one enforcer is one arm, however it is called
        table["name"] = entry.spec.name
        if isinstance(enforcer, str):
            return arm_of(entry.spec.name, suite, catalog)
    name = str(table["name"])
    known = parameters(entry.spec.factory, skip=entry.spec.passed)
    for parameter in known:
        if parameter.default is REQUIRED and parameter.name not in (RANK, *table):
            raise BadInput(
                f"enforcer '{name}' needs '{parameter.name}', which the league cannot know",
                where="the arms of the league",
                expected=f'a table, {{ name = "{name}", {parameter.name} = ... }}, or a default',
                next_step=f"idemlab show {name}",
            )
    tuned = any(parameter.name == "weight" for parameter in known) and "weight" not in table
    given = ", ".join(f"{key} {value}" for key, value in table.items() if key != "name")
    label = f"{name} ({given})" if given else name
    return label, Arm(enforcer=table, over={"enforcer.weight": suite.weight} if tuned else {})


def entered(name: str, arm: Arm, task_name: str, task: Task, suite: Suite, catalog: Catalog, *, quick: bool) -> Entry:
    """The entry of an arm in a task, after one batch went through it.

    Raises:
        BadInput: if its experiment, its keys or its ranges are wrong: an argument may not take all values of its range.
    """
    table = {"name": arm.enforcer} if isinstance(arm.enforcer, str) else dict(arm.enforcer)
    flops = task.quick_flops or task.flops if quick else task.flops
    settings: dict[str, Any] = dict(task.set) | {"training.flops": flops}
    own = Sweep(experiment=task.experiment, set=dict(settings))
    plain = own.resolve(Setting({}, 0), catalog)
    entry = Entry(arm=name, task=task_name, settings=settings, tuning=own, model=plain.model.name)
    if arm.tasks and task_name not in arm.tasks:
        return replace(entry, refused="the suite does not enter it here")
    found = catalog.find("enforcer", str(table["name"]))
    known = parameters(found.spec.factory, skip=found.spec.passed)
    needs_rank = arm.rank or any(p.name == RANK and p.default is REQUIRED for p in known)
    if needs_rank and RANK not in table:
        if task.rank is None:
            return replace(entry, refused="it needs a rank, and the task names none")
        table = {RANK: task.rank} | table
    traits = catalog.check("enforcer", table, f"arm '{name}'").traits()
    if not traits.kinds & {EnforcerKind.LOSS, EnforcerKind.SUBSTITUTION}:
        settings = settings | task.without_loss
    assert isinstance(plain.model.spec, ModelSpec)
    # What an architecture offers itself is seen when one batch goes through it.
    needed = traits.wraps if EnforcerKind.ARCHITECTURE in traits.kinds else (*traits.wraps, *traits.calls)
    for method in needed:
        if method not in plain.model.spec.offers:
            if method not in task.models:
                return replace(entry, refused=f"it needs a model with '{method}', and the task has none")
            settings = settings | {"model": task.models[method]}
    settings = settings | {"enforcer": table}
    over = dict(task.over) | dict(arm.over)
    tuning = Sweep(
        experiment=task.experiment,
        set=settings | {"evaluation.split": "validation", "evaluation.rank_points": 0},
        over=over,
        sampler="halton" if over else "grid",
        trials=(suite.quick.trials if quick else suite.trials) if over else None,
    )
    entry = replace(entry, settings=settings, tuning=tuning)
    experiment, *_ = [tuning.resolve(setting, catalog) for setting in (tuning.probes() if over else tuning.settings())]
    try:
        step, call = measured_cost(experiment, plain)
    except (BadInput, Failure) as error:
        return replace(entry, model=experiment.model.name, refused=_brief(error))
    return replace(entry, model=experiment.model.name, step_cost=step, call_cost=call)


def check_names(task_name: str, task: Task, catalog: Catalog) -> None:
    """Check that the evaluations of a task measure the metrics that it is judged by. One evaluation shows what plugins
    measure.

    Raises:
        BadInput: names the metric, the choices and the nearest one.
    """
    experiment = Sweep(experiment=task.experiment, set=dict(task.set)).resolve(Setting({}, 0), catalog)

    @cache
    def names() -> frozenset[str]:
        parts = assemble(experiment)
        return frozenset(measured(experiment, parts, parts.objective.operator, _CPU))

    for key, metrics in (("relative", task.relative), ("deviation", task.deviation), ("columns", task.columns)):
        for metric in metrics:
            check_metric(metric, [experiment], names, f"[task.{task_name}], key '{key}'")


def _brief(error: IdemlabError) -> str:
    return f"{error.what} ({error.where})" if isinstance(error, Failure) and error.where else error.what


def measured_cost(experiment: Experiment, plain: Experiment) -> tuple[float, float]:
    """(cost of a step, cost of one application of f), in forwards of the model of a plain experiment on one batch.

    Raises:
        BadInput, Failure: if one batch does not go through the experiment.
    """
    parts = assemble(experiment)
    plan = preflight(experiment, parts, device=_CPU)
    size = experiment.training.batch_size
    batch = parts.dataset.train.__getitems__(list(range(size)))
    ready = batch.to(_CPU, getattr(torch, experiment.training.dtype), parts.dataset.range)
    model = build_operator(plain, parts.dataset.shape, classes_of(plain, parts.dataset)).to(ready.input.dtype)
    forward, call = (_flops(f, ready.input, ready.condition) for f in (model, parts.objective.operator))
    return plan.flops_per_step / forward, call / forward


@torch.no_grad()
def _flops(f: Operator, x: torch.Tensor, condition: torch.Tensor | None) -> int:
    counter = FlopCounterMode(display=False)
    with counter:
        applied(f.eval(), x, condition)
    return max(1, counter.get_total_flops())
