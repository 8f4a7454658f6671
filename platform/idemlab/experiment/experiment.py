"""Experiments: a TOML file that composes names. Resolving checks all of it without torch."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..catalog.catalog import Catalog, installed
from ..catalog.named import Named
from ..catalog.schema import checked
from ..errors import BadInput, nearest_match
from .settings import EvaluationSettings, OptimizerSettings, ReconstructionSettings, TrainingSettings

__all__ = ["Experiment", "resolve"]

_TABLES = ("dataset", "model", "source", "enforcer", "reconstruction", "optimizer", "training", "evaluation")
_KEYS = ("summary", "base", *_TABLES)
_LENGTHS = frozenset({"steps", "flops"})
"""Two ways to say how long to train: one replaces the other."""
_INPUT = re.compile(r"\w[\w .+-]*")
"""Name of evaluation inputs: figures and files of the report are called after it."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A resolved experiment: every name known, every argument checked and complete.

    Args:
        name: of the file, without its ending.
        summary: what it shows, in one sentence.
        sources: where idempotence is enforced.
        corruption: makes the reconstruction's inputs; None for the data itself.
        inputs: evaluation inputs beside the test data, by name.
        metrics: what is measured at them.
    """

    name: str
    summary: str
    dataset: Named
    model: Named
    enforcer: Named
    sources: tuple[Named, ...]
    corruption: Named
    inputs: Mapping[str, Named]
    metrics: tuple[Named, ...]
    reconstruction: ReconstructionSettings
    optimizer: OptimizerSettings
    training: TrainingSettings
    evaluation: EvaluationSettings

    @property
    def things(self) -> Iterator[Named]:
        """All things that it names, the enforcer first, with those that are arguments of others."""
        tops = (self.enforcer, self.model, self.dataset, *self.sources, self.corruption)
        for named in (*tops, *self.inputs.values(), *self.metrics):
            yield from named.inside()

    def table(self) -> dict[str, Any]:
        """The whole experiment as nested plain tables, as in its resolved file."""
        sources = [source.table() for source in self.sources]
        return {
            "summary": self.summary,
            "dataset": self.dataset.table(),
            "model": self.model.table(),
            "source": sources[0] if len(sources) == 1 else sources,
            "enforcer": self.enforcer.table(),
            "reconstruction": self.reconstruction.model_dump() | {"input": self.corruption.table()},
            "optimizer": self.optimizer.model_dump(),
            "training": self.training.model_dump(exclude_none=True),
            "evaluation": self.evaluation.model_dump()
            | {
                "inputs": {name: source.table() for name, source in self.inputs.items()},
                "metrics": [metric.table() for metric in self.metrics],
            },
        }

    def to_toml(self) -> str:
        """The resolved file: running it again gives the same numbers."""
        import tomli_w

        return f"# {self.name}, resolved: every default is written out.\n" + tomli_w.dumps(self.table())


def resolve(
    reference: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    catalog: Catalog | None = None,
) -> Experiment:
    """Load an experiment, apply its base and the overrides, and check every name, key, type and range.

    Args:
        reference: name of a registered experiment, path of a TOML file or of a run, or the table itself.
        overrides: ``key=value`` with dotted keys, for instance ``enforcer.step=0.5``; the value is TOML, or else text.
        catalog: defaults to the installed plugins.

    Raises:
        BadInput: names the file, the key, the choices and the nearest match.
    """
    catalog = catalog or installed()
    if isinstance(reference, Mapping):
        name, where = "experiment", "the given table"
        where, table = _with_base(dict(reference), where, Path.cwd(), catalog, ())
    else:
        name, where, table = _read(_locate(reference, catalog), catalog, ())
    if overrides:
        table = _written_out(table)
        for override in _in_order(overrides):
            table = _merged(table, override)
        where = " ".join([where, "with", *(f"--set {override}" for override in overrides)])
    return _checked(name, table, where, catalog)


def _read(path: Path, catalog: Catalog, above: tuple[Path, ...]) -> tuple[str, str, dict[str, Any]]:
    """(name, where, table with its base merged in) of an experiment's file that those `above` are based on."""
    where = path.name if path.parent.name == "experiments" else str(path)
    chain = (*above, path.resolve())
    if path.resolve() in above:
        circle = " -> ".join(link.name for link in chain)
        raise BadInput(f"experiments are based on each other in a circle: {circle}", where=f"{where}, key 'base'")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"not valid TOML: {error}", where=where, next_step="correct the file; see toml.io") from None
    except (UnicodeDecodeError, OSError) as error:
        raise BadInput(f"cannot be read: {error}", where=where) from None
    return path.stem, *_with_base(table, where, path.parent, catalog, chain)


def _with_base(
    table: dict[str, Any], where: str, folder: Path, catalog: Catalog, chain: tuple[Path, ...]
) -> tuple[str, dict[str, Any]]:
    """(where, table) with the base, if there is one, merged in."""
    if "base" not in table:
        return where, table
    base = table.pop("base")
    if not isinstance(base, str):
        raise BadInput(
            "'base' must be the name or the path of an experiment",
            where=f"{where}, key 'base'",
            next_step="idemlab list experiments",
        )
    _, origin, below = _read(_locate(base, catalog, folder, f"{where}, key 'base'"), catalog, chain)
    return f"{where} (based on {origin})", _merged(below, table)


def _locate(reference: str | Path, catalog: Catalog, folder: Path = Path(), where: str | None = None) -> Path:
    """The file of an experiment. A registered name comes first: no run's folder of that name may hide it."""
    known = [name for entry in catalog.entries("experiment") for name in (entry.spec.name, *entry.spec.aliases)]
    path = folder / reference
    if isinstance(reference, Path) or reference not in known:
        if path.is_file():
            return path
        if (path / "experiment.toml").is_file():
            return path / "experiment.toml"
        if isinstance(reference, Path) or path.suffix == ".toml" or len(Path(reference).parts) > 1:
            folder_only = path.is_dir()
            raise BadInput(
                f"the folder '{path}' holds no experiment.toml" if folder_only else f"there is no file '{path}'",
                where=where,
                nearest=None if folder_only else nearest_match(path.stem, known),
                next_step="idemlab list experiments",
            )
    entry = catalog.find("experiment", reference, where)
    return Path(Named(entry.full_name, entry).build())


def _merged(base: Mapping[str, Any], top: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    """`top` laid over `base`, key by key; `at` is the dotted key of both."""
    return dict(base) | {
        key: _laid_over(base.get(key), value, f"{at}.{key}" if at else key) for key, value in top.items()
    }


def _laid_over(below: Any, value: Any, at: str) -> Any:
    """One value over the one below it. Tables are merged, but a table that names another thing replaces the one below:
    arguments belong to the thing that takes them."""
    if isinstance(value, _Element):
        return value.laid_over(below, at)
    # A bare name is short for a table.
    if isinstance(below, str) and isinstance(value, Mapping):
        below = {"name": below}
    elif isinstance(below, Mapping) and isinstance(value, str):
        value = {"name": value}
    if not (isinstance(value, Mapping) and isinstance(below, Mapping)):
        return value
    if at == "evaluation.inputs" and not value:
        return {}  # none, rather than no more
    if at == "training" and not _LENGTHS.isdisjoint(value):
        below = {key: kept for key, kept in below.items() if key not in _LENGTHS}
    if "name" in value and value["name"] != below.get("name"):
        # Rate and schedule are the experiment's, whatever the optimiser; all else belongs to what is named.
        kept = OptimizerSettings.model_fields if at == "optimizer" else ()
        below = {key: below[key] for key in kept if key in below}
    return _merged(below, value, at)


@dataclass(frozen=True)
class _Element:
    """Override of one element of an array, ``source.0.pool=128``."""

    index: int
    value: Any

    def laid_over(self, below: Any, at: str) -> list[Any]:
        if at == "source" and isinstance(below, (str, Mapping)):
            below = [below]
        size = len(below) if isinstance(below, list) else 0
        if self.index >= size:
            raise BadInput(
                f"'{at}' has no element {self.index}",
                where=f"--set {at}.{self.index}",
                expected=f"an element from 0 to {size - 1}" if size else f"a list; --set '{at}=[...]' writes a new one",
            )
        return [_laid_over(item, self.value, at) if i == self.index else item for i, item in enumerate(below)]


def _written_out(table: Mapping[str, Any]) -> dict[str, Any]:
    """The table with the one default that has keys of its own, so that these can be overridden."""
    evaluation = table.get("evaluation", {})
    if not isinstance(evaluation, Mapping):
        return dict(table)
    return dict(table) | {"evaluation": {"inputs": EvaluationSettings().inputs} | dict(evaluation)}


def _in_order(overrides: Sequence[str]) -> list[dict[str, Any]]:
    """Each override as a table of its own: whole things before their parts, names before arguments, so that the order in
    which they were written does not matter."""
    parsed = [_parsed(override) for override in overrides]
    parsed.sort(key=lambda pair: (len(pair[0]), pair[0][-1] != "name"))
    tables = []
    for parts, value in parsed:
        for part in reversed(parts):
            value = _Element(int(part), value) if part.isdecimal() else {part: value}
        tables.append(value)
    return tables


def _parsed(override: str) -> tuple[list[str], Any]:
    """(key's parts, value) of ``key=value``."""
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise BadInput(
            f"'{override}' is not an override",
            where="--set",
            expected="key=value, for instance enforcer.weight=0.5",
        )
    if parts[0] not in ("summary", *_TABLES):
        raise BadInput(
            f"there is no key '{parts[0]}' to set",
            where=f"--set {override}",
            choices=_TABLES,
            nearest=nearest_match(parts[0], _TABLES),
            next_step="idemlab show EXPERIMENT prints all keys",
        )
    try:
        loaded = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        loaded = {}
    return parts, loaded["value"] if len(loaded) == 1 else text.strip()


def _checked(name: str, table: Mapping[str, Any], where: str, catalog: Catalog) -> Experiment:
    for key in table:
        if key not in _KEYS:
            raise BadInput(
                f"there is no key '{key}'",
                where=f"{where}, key '{key}'",
                choices=_KEYS,
                nearest=nearest_match(key, _KEYS),
                next_step="rename or remove it",
            )
    for key in ("dataset", "model"):
        if key not in table:
            raise BadInput(f"the table [{key}] is missing", where=where, next_step=f"idemlab list {key}s")
    if isinstance(table.get("optimizer"), str):
        table = dict(table) | {"optimizer": {"name": table["optimizer"]}}
    for key in ("reconstruction", "optimizer", "training", "evaluation"):
        if not isinstance(table.get(key, {}), Mapping):
            raise BadInput(
                f"'{key}' must be a table",
                where=f"{where}, key '{key}'",
                expected=f"[{key}], with its keys on the lines below",
                next_step="idemlab show EXPERIMENT prints all keys",
            )

    def settings(model: type[Any], key: str) -> Any:
        return checked(
            model, table.get(key, {}), f"{where}, [{key}]", f"[{key}]", "idemlab show EXPERIMENT prints all keys"
        )

    reconstruction: ReconstructionSettings = settings(ReconstructionSettings, "reconstruction")
    training: TrainingSettings = settings(TrainingSettings, "training")
    evaluation: EvaluationSettings = settings(EvaluationSettings, "evaluation")
    if (training.steps is None) == (training.flops is None):
        raise BadInput(
            "how long to train is " + ("not said" if training.steps is None else "said twice"),
            where=f"{where}, [training]",
            expected="either steps, for instance steps = 1000, or flops, for instance flops = 1e15",
        )
    if training.batch_size % training.micro_batches:
        raise BadInput(
            f"batch_size {training.batch_size} cannot be cut into {training.micro_batches} equal micro_batches",
            where=f"{where}, [training]",
            expected="a batch_size that micro_batches divides",
        )
    if "data" in evaluation.inputs:
        raise BadInput(
            "'data' is always evaluated and cannot be redefined",
            where=f"{where}, [evaluation.inputs]",
            next_step="choose another name for this input",
        )
    for key in evaluation.inputs:
        if not _INPUT.fullmatch(key):
            raise BadInput(
                f"{key!r} cannot be the name of evaluation inputs",
                where=f"{where}, [evaluation.inputs]",
                expected="letters, digits, spaces and . _ + -, the first one a letter, a digit or _",
                next_step="rename it",
            )
    sources = table.get("source", "data")
    many = isinstance(sources, list)
    sources = sources if many else [sources]
    if not sources:
        raise BadInput("'source' is empty", where=f"{where}, [source]", next_step="idemlab list sources")
    summary = table.get("summary", "")
    if not isinstance(summary, str):
        raise BadInput("'summary' must be text", where=f"{where}, key 'summary'", expected='summary = "..."')
    return Experiment(
        name=name,
        summary=summary,
        dataset=catalog.check("dataset", table["dataset"], f"{where}, [dataset]"),
        model=catalog.check("model", table["model"], f"{where}, [model]"),
        enforcer=catalog.check("enforcer", table.get("enforcer", "none"), f"{where}, [enforcer]"),
        sources=tuple(
            catalog.check("source", source, f"{where}, [source]{f'[{i}]' if many else ''}")
            for i, source in enumerate(sources)
        ),
        corruption=catalog.check("source", reconstruction.input, f"{where}, [reconstruction], key 'input'"),
        inputs={
            key: catalog.check("source", source, f"{where}, [evaluation.inputs], key '{key}'")
            for key, source in evaluation.inputs.items()
        },
        metrics=tuple(
            catalog.check("metric", metric, f"{where}, [evaluation], key 'metrics'[{i}]")
            for i, metric in enumerate(evaluation.metrics)
        ),
        reconstruction=reconstruction,
        optimizer=settings(OptimizerSettings, "optimizer"),
        training=training,
        evaluation=evaluation,
    )
