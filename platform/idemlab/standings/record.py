"""The record of a league: league.json, a page in Markdown, a self-contained page in HTML, and one picture a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import BadInput, Failure
from ..experiment.toml import toml_value
from ..reports import style
from ..reports.html import Drawing, render
from ..system import strict_json
from ..system.files import write_text
from ..wording import command, counted, number, time_span
from .pictures import pareto_figure
from .standing import Standing, Stat

__all__ = ["League", "TaskTable", "write_league"]

FILE = "league.json"
_MEANING = (
    "**Relative error**: the change of f(x) by one more application, as a share of the spread of f(x), at the worst inputs. "
    "**Deviation**: the error against the right answer at the worst inputs; the best constant has 1. Both are medians over "
    "the seeds, with the smallest and the largest value; a seed that failed or collapsed counts as infinite. **Cost**: the "
    "cost of a step and of one application of f, in forwards (F) of the task's own model on a batch. "
    "A star marks an arm if no other arm is at least as good in both errors and better in one."
)


@dataclass(frozen=True, kw_only=True)
class TaskTable:
    """The standings in one task.

    Args:
        name, title, experiment: of the task.
        flops: budget of each trial.
        relative, deviation, columns, true_rank: as in the suite.
        rows: the arms, the best first.
        rules: a hash of the task as the suite has it.
    """

    name: str
    title: str
    experiment: str
    flops: float
    relative: tuple[str, ...]
    deviation: Mapping[str, float]
    columns: Mapping[str, str]
    true_rank: float | None
    rows: tuple[Standing, ...]
    rules: str = ""

    @property
    def budget(self) -> str:
        """The counted FLOPs of each trial, in short."""
        return f"{self.flops:.3g}".replace("e+", "e")

    @property
    def headings(self) -> list[str]:
        """Headings of the columns of `cells`."""
        rank = [] if self.true_rank is None else [f"rank at data (true: {number(self.true_rank)})"]
        return ["arm", "relative error", "deviation", *self.columns.values(), *rank, "step", "call", "verdicts"]

    def cells(self, row: Standing) -> list[str]:
        """The cells of one arm."""
        star = " *" if row.pareto else ""
        if row.state != "complete":
            return [row.arm, *["—"] * (len(self.headings) - 2), f"{_STATES[row.state]}: {row.reason}"]
        keys = [*self.columns, *([] if self.true_rank is None else ["data/rank"])]
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in row.verdicts.items())
        failed = row.seeds - sum(row.verdicts.values())
        verdicts += f", {failed} failed: {row.reason}" if failed else ""
        return [
            f"{row.arm}{star}",
            _range(row.relative),
            _range(row.deviation),
            *(_range(row.metrics.get(key)) for key in keys),
            _forwards(row.step_cost),
            _forwards(row.call_cost),
            verdicts,
        ]

    @property
    def worst(self) -> str:
        """The worst case of the arms that no other one beats, in a sentence."""
        told = [
            f"{row.arm} {number(row.relative.high)} and {number(row.deviation.high)}"
            for row in self.rows
            if row.pareto and row.relative is not None and row.deviation is not None
        ]
        if not told:
            return "No arm has a result without collapse."
        return f"Worst seed of the starred arms at the worst inputs, relative error and deviation: {'; '.join(told)}."

    @property
    def models(self) -> str:
        """Which arms have another model than the others, in a sentence; empty if none has."""
        usual = next((row.model for row in self.rows if row.arm == "none"), self.rows[0].model)
        others = [f"{row.arm} on `{row.model}`" for row in self.rows if row.model != usual and row.state == "complete"]
        return f"All arms train the model `{usual}`" + (f", but {', '.join(others)}." if others else ".")


_STATES = {"refused": "does not take part", "failed": "failed"}


def _range(stat: Stat | None) -> str:
    if stat is None:
        return "—"
    return (
        number(stat.median)
        if stat.low == stat.high
        else f"{number(stat.median)} ({number(stat.low)} to {number(stat.high)})"
    )


def _forwards(cost: float | None) -> str:
    return "—" if cost is None else f"{cost:.1f} F"


@dataclass(frozen=True, kw_only=True)
class League:
    """The outcome of a league.

    Args:
        path: its folder.
        suite: name or file of the suite.
        summary: of the suite.
        quick: whether it is the quick version.
        trials: settings tried in tuning.
        seeds: of the chosen setting.
        arms: name -> the enforcer and the keys that were tuned for it.
        origins: name -> distribution that offers the enforcer, with its version.
        tasks: those that are done.
        environment: versions and hardware.
        earlier: the same of earlier calls, if they differ.
    """

    path: Path
    suite: str
    summary: str
    quick: bool
    trials: int
    seeds: int
    arms: Mapping[str, Mapping[str, Any]]
    origins: Mapping[str, str]
    tasks: tuple[TaskTable, ...]
    environment: Mapping[str, Any]
    earlier: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def open(cls, path: str | Path) -> League:
        """The league in a folder.

        Raises:
            BadInput: if it holds none.
            Failure: if league.json is damaged.
        """
        file = Path(path) / FILE
        if not file.is_file():
            raise BadInput(f"'{path}' holds no league", expected=f"a folder with {FILE}", next_step="idemlab league")
        try:
            content = strict_json.loads(file.read_text(encoding="utf-8"))
            tasks = tuple(
                TaskTable(
                    **{
                        **task,
                        "relative": tuple(task["relative"]),
                        "rows": tuple(map(Standing.of_dict, task["rows"])),
                    }
                )
                for task in content["tasks"]
            )
            return cls(**{**content, "path": Path(path), "tasks": tasks, "earlier": tuple(content.get("earlier", ()))})
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise Failure(
                f"damaged: {error}", where=str(file), next_step="run the league again in a new folder"
            ) from error

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the folder."""
        content = asdict(self)
        del content["path"]
        return content

    @property
    def made_by(self) -> str:
        """The command that makes it."""
        suite = {} if self.suite == "league" else {"suite": self.suite}
        asked = []
        for name, arm in self.arms.items():
            enforcer = arm["enforcer"]
            own = (
                isinstance(enforcer, Mapping) and enforcer["name"] != name
            )  # no fixed arm: its name is made of its table
            asked.append(toml_value(enforcer) if own else name)
        return command("league", *asked, quick=self.quick, **suite)

    @property
    def made_with(self) -> str:
        """Versions and systems of all calls that made it, in a sentence or two."""
        here, *others = (
            f"idemlab {one['packages']['idemlab']}, torch {one['packages']['torch']}, {one['system']}"
            for one in (self.environment, *self.earlier)
        )
        return f"{here}." + (f" Earlier calls: {'; '.join(others)}." if others else "")

    @property
    def note(self) -> str:
        """A caution to show first; empty for a whole league."""
        return "This is the quick version: small budgets and few trials. It says nothing about a method." * self.quick

    @property
    def rules(self) -> str:
        """How it was run, in two sentences."""
        return (
            f"Each arm tried {counted(self.trials, 'setting')} in each task on held-out training samples, at equal counted "
            f"FLOPs. The setting with the smallest sum of relative error and deviation was trained with "
            f"{counted(self.seeds, 'seed')} and measured on the test data."
        )

    def markdown(self, pictures: str = "pictures", level: int = 2) -> str:
        """The tables and pictures in Markdown.

        Args:
            pictures: where the pictures lie, from the page.
            level: of the headings.
        """
        mark = "#" * level
        parts = [self.rules, _MEANING]
        for task in self.tasks:
            parts += [
                f"{mark} {task.title}",
                f"Experiment `{task.experiment}`, {task.budget} counted FLOPs a trial. {task.models}",
            ]
            rows = [f"| {' | '.join(map(_cell, task.cells(row)))} |" for row in task.rows]
            parts.append(
                "\n".join([f"| {' | '.join(map(_cell, task.headings))} |", "|---" * len(task.headings) + "|", *rows])
            )
            parts += [
                task.worst,
                f"![Relative error and deviation of each arm: {task.title}]({pictures}/{task.name}.png)",
            ]
        parts += [f"{mark} Arms", self._arms()]
        return "\n\n".join(parts) + "\n"

    def _arms(self) -> str:
        chosen = {
            (row.arm, task.name): ", ".join(
                f"{key} {number(v) if isinstance(v, float) else v}" for key, v in row.chosen.items()
            )
            for task in self.tasks
            for row in task.rows
        }
        heads = ["arm", "from", *(f"chosen in {task.name}" for task in self.tasks)]
        lines = [
            [arm, self.origins[arm], *(chosen.get((arm, task.name)) or "—" for task in self.tasks)] for arm in self.arms
        ]
        return "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in [heads, ["---"] * len(heads), *lines])


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").split())


def write_league(league: League) -> None:
    """Write the files of a league, apart from its sweeps.

    Raises:
        Failure: if the folder cannot be written.
    """
    path = league.path
    figures = {task.name: pareto_figure(task.title, task.rows, list(league.arms)) for task in league.tasks}
    try:
        write_text(path / FILE, strict_json.dumps(league.as_dict(), indent=1))
        for name, figure in figures.items():
            style.save(style.png(figure), path / "pictures" / f"{name}.png")
        heading = f"# League\n\n{league.summary}\n\nMade by `{league.made_by}`. {league.note}".rstrip() + "\n\n"
        write_text(path / "README.md", f"{heading}{league.markdown()}\n{league.made_with}\n")
        write_text(path / "league.html", _page(league, figures))
    except OSError as error:
        raise Failure(f"the league '{path}' cannot be written: {error}", next_step="choose another `out`") from error


def _page(league: League, figures: Mapping[str, Any]) -> str:
    return render(
        "league.html.j2",
        scripts=["zoom.js"],
        league=league,
        meaning=_MEANING.replace("**", ""),
        time_of={
            task.name: time_span(sum((row.seconds or 0.0) * row.seeds for row in task.rows)) for task in league.tasks
        },
        drawings={
            task.name: Drawing(
                alt=f"Relative error and deviation of each arm: {task.title}",
                caption="Lower left is better. Lines: range over the seeds. The dotted line joins the arms that no "
                "other one beats in both errors.",
                panels=(style.inline(figures[task.name]),),
            )
            for task in league.tasks
        },
    )
