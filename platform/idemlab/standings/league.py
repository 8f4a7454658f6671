"""Runs a league: tunes every arm in every task alike, measures each over seeds, and leaves the tables and pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

from ..arguments import several, whole
from ..catalog.catalog import Catalog, or_installed
from ..errors import BadInput
from ..runs.environment import describe_environment
from ..sweeps.folder import is_begun
from ..sweeps.results import Results
from ..sweeps.runner import run_sweep
from ..sweeps.sweep import Sweep
from ..system import strict_json
from ..system.files import as_path, folder_for
from ..system.lock import exclusive
from ..wording import command, counted, listed, nothing_to_resume, plural
from .entry import Entry, arm_of, check_names, entered
from .record import FILE, League, TaskTable, write_league
from .standing import Standing, chosen_setting, pareto, standing_of
from .suite import Arm, Suite, Task, find_suite

__all__ = ["run_league"]

_LONGEST = 60
"""Characters of an arm in the names of its folders."""


def run_league(
    enforcers: Sequence[str | Mapping[str, Any]] = (),
    out: str | Path = "leagues/league",
    *,
    suite: str | Path = "league",
    quick: bool = False,
    resume: bool = False,
    jobs: int = 1,
    storage: str | None = None,
    say: Callable[[str], None] = lambda text: None,
    catalog: Catalog | None = None,
) -> League:
    """Let enforcers compete on the same tasks, with equal tuning and equal counted FLOPs.

    Each arm is tuned on held-out training samples. Its best setting is then trained with several seeds and measured on the
    test data, which influence no choice. If an arm fails a task, its row says so.

    Args:
        enforcers: names, or tables with arguments; those of the suite by default. With `quick`, they compete with fixed
            arms of the suite.
        out: folder of the league; must be new or empty unless `resume`. It holds league.json, README.md, league.html, the
            pictures, and a sweep for each arm and task.
        suite: name of a suite, or path of its TOML file.
        quick: the quick version: few tasks, few trials, small budgets.
        resume: run the trials that are not finished. The arms may differ from before; finished trials are kept. If the runs
            of a task are gone, as in a record, its table is kept, provided that nothing else has changed.
        jobs: number of worker processes.
        storage: URL of a database through which machines that make the same call share the trials, as in `run_sweep`.
        say: called with each line of progress.
        catalog: where names are looked up; default: the installed plugins.

    Raises:
        BadInput: before any training, if an enforcer or a suite is unknown or does not fit, if there is one arm only, or if
            the folder holds something else.
        Failure: if the storage cannot be reached, or the folder not written.
        Interrupted: after Ctrl-C or SIGTERM; the league can be resumed.
    """
    jobs = whole(jobs, "jobs")
    enforcers = several(enforcers, (), "enforcers", "names, or tables with a name and arguments")
    suite, own = str(suite), or_installed(catalog)
    rules = find_suite(suite, own)
    arms = competing(enforcers, rules, own, quick=quick)
    path = as_path(out, "out")
    _check_folder(path, suite, quick=quick, resume=resume)
    for remark in _resumed(path, arms) if resume and storage is None else ():
        say(remark)
    tasks = {name: rules.task[name] for name in rules.quick.tasks} if quick else dict(rules.task)
    seeds = rules.quick.seeds if quick else rules.seeds
    for name, task in tasks.items():
        check_names(name, task, own)
    say(f"{counted(len(arms), 'arm')} in {counted(len(tasks), 'task')}: one batch of each")
    entries = {
        name: [entered(arm, table, name, task, rules, own, quick=quick) for arm, table in arms.items()]
        for name, task in tasks.items()
    }
    for entry in _told(arms, entries):
        say(f"{tasks[entry.task].title}: {entry.arm} does not take part: {entry.refused}")
    with exclusive(path):
        before = League.open(path) if resume and (path / FILE).is_file() else None
        league = League(
            path=path,
            suite=suite,
            summary=rules.summary,
            quick=quick,
            trials=rules.quick.trials if quick else rules.trials,
            seeds=seeds,
            arms={name: _plain(arm) for name, arm in arms.items()},
            origins={name: _origin(arm, own) for name, arm in arms.items()},
            tasks=(),
            environment=describe_environment(own, torch.device("cpu"), 1),
        )
        runner = _Runner(path, jobs, storage, say, own)
        done = {} if before is None else _comparable(before, league, tasks)
        gone = {name for name in done if not runner.begun(name, arms)}
        if before is not None:
            lost = [t for t in before.tasks if t.name not in done and not runner.begun(t.name, before.arms)]
            _check_replaceable(before, lost)
            league = replace(league, earlier=_others([*before.earlier, before.environment], league.environment))
        for name, task in tasks.items():
            if name in gone:
                say(f"task {name}: kept from the record; its runs are gone")
                continue
            say(f"task {name}: {task.title}")
            rows = [runner.standing(entry, rules, seeds) for entry in entries[name]]
            best = pareto(rows)
            ordered = tuple(sorted((replace(row, pareto=row.arm in best) for row in rows), key=_place))
            done[name] = replace(_table(name, task, quick=quick), rows=ordered)
            league = replace(league, tasks=tuple(done[each] for each in tasks if each in done))
            write_league(league)  # after every task: what is done can be read
        if before is not None and gone == tasks.keys():  # nothing was run
            kept = tuple(done[each] for each in tasks)
            league = replace(league, tasks=kept, environment=before.environment, earlier=before.earlier)
            write_league(league)
    return league


def competing(
    enforcers: Sequence[str | Mapping[str, Any]], suite: Suite, catalog: Catalog, *, quick: bool
) -> dict[str, Arm]:
    """The arms of a league by name.

    Raises:
        BadInput: if an enforcer is unknown or given twice, or there is one arm only.
    """
    asked: dict[str, Arm] = {}
    for enforcer in enforcers:
        name, arm = arm_of(enforcer, suite, catalog)
        if name in asked:
            raise BadInput(f"arm '{name}' is given twice", where="enforcers", next_step="name each once")
        asked[name] = arm
    fixed = {name: suite.arm[name] for name in (suite.quick.arms if quick else suite.arm)}
    if not asked:
        arms = fixed
    elif quick:
        least = 0 if fixed.keys() & asked.keys() else 1  # something that others had to stand beside, too
        others = [name for name in fixed if name not in asked][: max(least, len(fixed) - len(asked))]
        arms = asked | {name: fixed[name] for name in others}
    else:
        arms = asked
    if len(arms) < 2:
        raise BadInput(
            f"'{next(iter(arms))}' alone is not a league: arms are compared with each other",
            where="enforcers",
            expected="two arms or more, or `quick`, which adds fixed ones",
            next_step=f"name the others, too: {command('league', *dict.fromkeys([*asked, *suite.arm]))}",
        )
    return arms


def _told(arms: Mapping[str, Arm], entries: Mapping[str, Sequence[Entry]]) -> Iterator[Entry]:
    """The entries that cannot take part.

    Raises:
        BadInput: if an arm fits no task.
    """
    for name in arms:
        own = [entry for rows in entries.values() for entry in rows if entry.arm == name]
        if all(entry.refused for entry in own):
            raise BadInput(
                f"enforcer '{name}' fits none of the tasks {listed([entry.task for entry in own])}: {own[0].refused}",
                where="enforcers",
                next_step=f"idemlab show {name}, or leave it out",
            )
        yield from (entry for entry in own if entry.refused)


def _comparable(before: League, now: League, tasks: Mapping[str, Task]) -> dict[str, TaskTable]:
    """The tables of an earlier league that this one would make of the same runs."""
    if (before.arms, before.origins, before.trials, before.seeds) != (now.arms, now.origins, now.trials, now.seeds):
        return {}
    found = {}
    for table in before.tasks:
        task = tasks.get(table.name)
        if task is not None and table == replace(_table(table.name, task, quick=now.quick), rows=table.rows):
            found[table.name] = table
    return found


def _table(name: str, task: Task, *, quick: bool) -> TaskTable:
    """The table of a task, without rows."""
    return TaskTable(
        name=name,
        title=task.title,
        experiment=Path(task.experiment).stem,
        flops=(task.quick_flops if quick else None) or task.flops,
        relative=tuple(task.relative),
        deviation=dict(task.deviation),
        columns=dict(task.columns),
        true_rank=task.true_rank,
        rows=(),
        rules=blake2b(strict_json.dumps(task.model_dump()).encode(), digest_size=8).hexdigest(),
    )


def _others(environments: Sequence[Mapping[str, Any]], now: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The environments that differ from this one, each once."""
    return tuple(one for i, one in enumerate(environments) if one != now and one not in environments[:i])


def _check_replaceable(before: League, tables: Sequence[TaskTable]) -> None:
    """Refuse to replace tables whose runs are gone: they could not be made again.

    Raises:
        BadInput: names the tasks.
    """
    lost = [table.name for table in tables if any(row.state != "refused" for row in table.rows)]
    if lost:
        raise BadInput(
            f"the runs of {plural(len(lost), 'task')} {listed(lost)} are gone, and the tables are of other arms, versions "
            "or rules: they would be lost",
            where=str(before.path),
            expected=f"the league that made them: {before.made_by}",
            next_step="choose another `out`",
        )


class _Runner:
    """Runs the two sweeps of each entry."""

    def __init__(
        self, path: Path, jobs: int, storage: str | None, say: Callable[[str], None], catalog: Catalog
    ) -> None:
        self._path, self._jobs, self._storage, self._say, self._catalog = path, jobs, storage, say, catalog

    def standing(self, entry: Entry, suite: Suite, seeds: int) -> Standing:
        """The standing of one arm in one task."""
        task = suite.task[entry.task]
        if entry.refused:
            return standing_of(entry, task, None, None)
        tuning = self._run(entry, "tuning", entry.tuning)
        chosen = chosen_setting(tuning, task)
        final = None if chosen is None else self._run(entry, "final", entry.final(chosen[0], seeds))
        return standing_of(entry, task, tuning, final)

    def begun(self, task: str, arms: Collection[str]) -> bool:
        """Whether there are runs of one of these arms in a task."""
        return any(self._folder(task, arm, phase).is_dir() for arm in arms for phase in ("tuning", "final"))

    def _folder(self, task: str, name: str, phase: str) -> Path:
        """The folder of a sweep of an arm. Its name is its key in a database, so it names the league, too."""
        arm = "".join(c if c.isalnum() else "-" for c in name)
        if arm != name or len(arm) > _LONGEST:  # arms whose names differ in signs only are two, and tables may be long
            arm = f"{arm[:_LONGEST]}-{blake2b(name.encode(), digest_size=4).hexdigest()}"
        return self._path / "sweeps" / f"{self._path.resolve().name}-{task}-{arm}-{phase}"

    def _run(self, entry: Entry, phase: str, sweep: Sweep) -> Results:
        self._say(f"{entry.task}, {entry.arm}: {phase}")
        folder = self._folder(entry.task, entry.arm, phase)
        return run_sweep(
            sweep,
            folder,
            resume=is_begun(folder),
            jobs=self._jobs,
            storage=self._storage,
            say=self._say,
            catalog=self._catalog,
        )


def _place(row: Standing) -> tuple[float, str]:
    """Rows by the sum of both medians; what has none comes last."""
    if row.relative is None or row.deviation is None:
        return (float("inf"), row.arm)
    return (row.relative.median + row.deviation.median, row.arm)


def _plain(arm: Arm) -> dict[str, Any]:
    return {"enforcer": arm.enforcer, "over": dict(arm.over)}


def _origin(arm: Arm, catalog: Catalog) -> str:
    name = arm.enforcer if isinstance(arm.enforcer, str) else str(arm.enforcer["name"])
    plugin = catalog.find("enforcer", name).plugin
    return f"{plugin.distribution} {plugin.version}"


def _check_folder(path: Path, suite: str, *, quick: bool, resume: bool) -> None:
    """Refuse a folder that holds another league, or anything else, and a place where there can be none."""
    folder_for(path, "the league")
    file = path / FILE
    if not path.is_dir() or not any(not found.name.startswith(".lock") for found in path.iterdir()):
        return
    if not resume:
        raise BadInput(
            f"'{path}' is not empty", where="out", next_step="choose another `out`, or continue this league: `resume`"
        )
    if not file.is_file():
        if (path / "sweeps").is_dir():
            return  # stopped before the first task was done
        raise BadInput(f"'{path}' holds no league", where="out", next_step="choose another `out`")
    before = League.open(path)
    same = before.suite == suite or (os.sep in suite + before.suite and _file(before.suite) == _file(suite))
    if before.quick != quick or not same:
        raise BadInput(
            f"'{path}' holds the {'quick' if before.quick else 'whole'} version of suite '{before.suite}'",
            where="quick" if before.quick != quick else "suite",
            next_step="continue the same version, or choose another `out`",
        )


def _resumed(path: Path, arms: Collection[str]) -> Iterator[str]:
    """What is not taken from the folder of a league that is to be resumed."""
    if (path / FILE).is_file():
        left_out = [arm for arm in League.open(path).arms if arm not in arms]
        if left_out:
            those = f"{plural(len(left_out), 'arm')} {listed(left_out)}"
            yield f"the table will lack {those}, which this call does not name; the runs stay in {path / 'sweeps'}"
    elif not (path / "sweeps").is_dir():
        yield nothing_to_resume(path)


def _file(suite: str) -> Path:
    return Path(suite).resolve()
