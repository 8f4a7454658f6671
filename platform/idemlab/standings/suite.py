"""A suite: the tasks of a league, its fixed arms, and its rules, read from a TOML file."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, MinLen
from pydantic import BaseModel, ConfigDict

from ..catalog.catalog import Catalog
from ..catalog.named import Named
from ..catalog.schema import checked
from ..errors import BadInput, nearest_match

__all__ = ["Arm", "Quick", "Suite", "Task", "find_suite"]

Name = Annotated[str, MinLen(1)]
_FILE_NAME = re.compile(r"\w[\w-]{0,59}")
Searched = dict[str, str | list[Any]]
"""Key of an experiment -> a range or the values that the tuning draws from, as in `Sweep.over`."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Task(_Table):
    """One task.

    Args:
        title: as readers see it.
        experiment: name of an experiment, or path of one beside the suite's file.
        set: keys of the experiment that every arm gets.
        without_loss: keys that arms without a loss get: they need no points at which to ask for idempotence, say.
        over: keys that are tuned for every arm.
        flops: budget of counted FLOPs of each trial; the same for all arms.
        quick_flops: the budget in the quick version.
        relative: names of the relative errors, ``data/relative`` say, at data and off it; the worst one counts.
        deviation: name of an error against the right answer -> the error of the best constant, which is its unit; the worst
            one counts.
        columns: further metrics to show -> their headings.
        rank: of arms that must be given one; left out where every rank but the full one is wrong.
        true_rank: of the exact operator, where there is one rank everywhere.
        models: name of a method that an enforcer may need of the model, `inverse` say -> table of the model that has it.
    """

    title: Name
    experiment: Name
    set: dict[str, Any] = {}
    without_loss: dict[str, Any] = {}
    over: Searched = {}
    flops: Annotated[float, Gt(0)]
    quick_flops: Annotated[float, Gt(0)] | None = None
    relative: Annotated[list[Name], MinLen(1)]
    deviation: Annotated[dict[Name, Annotated[float, Gt(0)]], MinLen(1)]
    columns: dict[Name, Name] = {}
    rank: Annotated[int, Gt(0)] | None = None
    true_rank: Annotated[float, Ge(0)] | None = None
    models: dict[str, dict[str, Any]] = {}


class Arm(_Table):
    """One arm.

    Args:
        enforcer: its name, or a table with its arguments.
        over: keys that are tuned for it, beside those of the task.
        tasks: names of the tasks that it takes part in; empty for all.
        rank: whether its argument `rank` is that of the task although it has a default.
    """

    enforcer: str | dict[str, Any]
    over: Searched = {}
    tasks: list[Name] = []
    rank: bool = False


class Quick(_Table):
    """The quick version.

    Args:
        tasks, arms: names of some of the suite's, in this order; a requested arm takes the place of the last.
        trials, seeds: as in `Suite`.
    """

    tasks: Annotated[list[Name], MinLen(1)]
    arms: Annotated[list[Name], MinLen(2)]
    trials: Annotated[int, Gt(0)]
    seeds: Annotated[int, Gt(0)]


class Suite(_Table):
    """A suite.

    Args:
        summary: what it is for, in a sentence.
        trials: settings that are tried in tuning, for every arm and task alike.
        seeds: of the setting that is chosen.
        weight: range in which the argument `weight` of an enforcer is tuned that is no fixed arm.
        task, arm: by name.
        quick: the quick version.
    """

    summary: Name
    trials: Annotated[int, Gt(0)]
    seeds: Annotated[int, Gt(0)]
    weight: str = "log:0.01:10"
    task: Annotated[dict[Name, Task], MinLen(1)]
    arm: Annotated[dict[Name, Arm], MinLen(1)]
    quick: Quick


def find_suite(name: str, catalog: Catalog) -> Suite:
    """The suite with this name, or of this TOML file.

    Raises:
        BadInput: if there is none, or its file is wrong; names the key.
    """
    if name.endswith(".toml") or os.sep in name:
        return _read(Path(name))
    entry = catalog.find("suite", name)
    return _read(Path(Named(entry.full_name, entry).build()))


def _read(path: Path) -> Suite:
    where = path.name
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"not a suite: {error}", where=str(path), next_step="idemlab list suites") from None
    # Whether the tables and their keys are those of a suite.
    for part, model in (("task", Task), ("arm", Arm)):
        for name, own in table.get(part, {}).items() if isinstance(table.get(part), dict) else ():
            if isinstance(own, dict):
                checked(model, own, where, f"[{part}.{name}]", "idemlab show league")
    suite: Suite = checked(Suite, table, where, "the suite", "idemlab show league")
    _names(suite.quick.tasks, suite.task, "task", f"{where}, [quick]")
    _names(suite.quick.arms, suite.arm, "arm", f"{where}, [quick]")
    for name in suite.task:
        if not _FILE_NAME.fullmatch(name):
            raise BadInput(
                f"the files of a task are called like it, and '{name}' is no name of a file",
                where=f"{where}, [task.{name}]",
                expected="at most 60 letters, digits, hyphens and underscores, of which the first is no hyphen",
                next_step="rename the task; its title may be any text",
            )
    for name, arm in suite.arm.items():
        if isinstance(arm.enforcer, dict) and not isinstance(arm.enforcer.get("name"), str):
            raise BadInput(
                f"the enforcer of arm '{name}' has no name",
                where=f"{where}, [arm.{name}], key 'enforcer'",
                expected='a name, or a table with one: { name = "relative", weight = 0.5 }',
                next_step="idemlab list enforcers",
            )
        _names(arm.tasks, suite.task, "task", f"{where}, [arm.{name}]")
    beside = {name: path.parent / task.experiment for name, task in suite.task.items()}
    return suite.model_copy(
        update={
            "task": {
                name: task.model_copy(update={"experiment": str(beside[name].resolve())})
                if beside[name].suffix == ".toml"
                else task
                for name, task in suite.task.items()
            }
        }
    )


def _names(names: list[str], known: dict[str, Any], what: Literal["task", "arm"], where: str) -> None:
    for name in names:
        if name not in known:
            raise BadInput(
                f"the suite has no {what} '{name}'",
                where=where,
                choices=list(known),
                nearest=nearest_match(name, known),
            )
