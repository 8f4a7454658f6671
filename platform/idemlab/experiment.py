"""Experiments: a TOML file that composes names. Resolving checks all of it without torch."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .catalog import Catalog, Named, installed
from .errors import BadInput, nearest_match
from .schema import checked
from .settings import EvaluationSettings, OptimizerSettings, ReconstructionSettings, TrainingSettings

__all__ = ["Experiment", "resolve"]

_TABLES = ("dataset", "model", "source", "enforcer", "reconstruction", "optimizer", "training", "evaluation")
_KEYS = ("summary", "base", *_TABLES)


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
        name, where, table = "experiment", "the given table", dict(reference)
        table = _with_base(table, where, Path.cwd(), catalog, ())
    else:
        name, where, table = _read(reference, catalog, ())
    if overrides:
        table = _merged(_written_out(table), _overriding(overrides))
        where = " ".join([where, "with", *(f"--set {override}" for override in overrides)])
    return _checked(name, table, where, catalog)


def _read(reference: str | Path, catalog: Catalog, seen: tuple[Path, ...]) -> tuple[str, str, dict[str, Any]]:
    """(name, where, table with its base merged in) of an experiment's file."""
    path = _locate(reference, catalog)
    where = path.name if path.parent.name == "experiments" else str(path)
    if path.resolve() in seen:
        raise BadInput("experiments are based on each other in a circle", where=f"{where}, key 'base'")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"not valid TOML: {error}", where=where, next_step="correct the file; see toml.io") from None
    except (UnicodeDecodeError, OSError) as error:
        raise BadInput(f"cannot be read: {error}", where=where) from None
    return path.stem, where, _with_base(table, where, path.parent, catalog, (*seen, path.resolve()))


def _with_base(
    table: dict[str, Any], where: str, folder: Path, catalog: Catalog, seen: tuple[Path, ...]
) -> dict[str, Any]:
    if "base" not in table:
        return table
    base = table.pop("base")
    if not isinstance(base, str):
        raise BadInput("'base' must be the name or the path of an experiment", where=f"{where}, key 'base'")
    relative = folder / base
    return _merged(_read(relative if relative.is_file() else base, catalog, seen)[2], table)


def _locate(reference: str | Path, catalog: Catalog) -> Path:
    path = Path(reference)
    if path.is_file():
        return path
    if path.is_dir() and (path / "experiment.toml").is_file():
        return path / "experiment.toml"
    if path.suffix == ".toml" or len(path.parts) > 1 or isinstance(reference, Path):
        raise BadInput(f"there is no file '{reference}'", next_step="idemlab list experiments")
    location: Path = catalog.find("experiment", str(reference)).spec.factory()
    return location


def _merged(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`top` laid over `base`, key by key."""
    return dict(base) | {key: _laid_over(base.get(key), value, key) for key, value in top.items()}


def _laid_over(below: Any, value: Any, key: str) -> Any:
    """One value over the one below it. Tables are merged, but a table that names another thing replaces the one below:
    arguments belong to the thing that takes them."""
    if isinstance(value, _Elements):
        return value.laid_over(below, key)
    if isinstance(below, str) and isinstance(value, Mapping):
        below = {"name": below}  # a bare name is short for a table
    if not (isinstance(value, Mapping) and isinstance(below, Mapping)):
        return value
    renamed = "name" in value and value["name"] != below.get("name")
    return dict(value) if renamed and key != "optimizer" else _merged(below, value)


class _Elements(dict[int, Any]):
    """Overrides of single elements of an array of tables, ``source.0.pool=128``."""

    def laid_over(self, below: Any, key: str) -> list[Any]:
        if isinstance(below, (str, Mapping)):
            below = [below]
        if not isinstance(below, list) or any(index >= len(below) for index in self):
            raise BadInput(f"'{key}' has no element {max(self)}", where=f"--set {key}.{max(self)}")
        return [_laid_over(item, self[i], key) if i in self else item for i, item in enumerate(below)]


def _written_out(table: Mapping[str, Any]) -> dict[str, Any]:
    """The table with the one default that has keys of its own, so that these can be overridden."""
    evaluation = table.get("evaluation", {})
    if not isinstance(evaluation, Mapping):
        return dict(table)
    return dict(table) | {"evaluation": {"inputs": EvaluationSettings().inputs} | dict(evaluation)}


def _overriding(overrides: Sequence[str]) -> dict[str, Any]:
    """The overrides as one table."""
    tree: dict[str, Any] = {}
    for override in overrides:
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
                f"there is no key '{parts[0]}'",
                where=f"--set {override}",
                choices=_TABLES,
                nearest=nearest_match(parts[0], _TABLES),
                next_step="idemlab show EXPERIMENT prints all keys",
            )
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        node: Any = tree
        for place, part in enumerate(parts):
            if not isinstance(node, dict) or (isinstance(node, _Elements) and not part.isdigit()):
                raise BadInput(f"'{key}' is set twice, in different ways", where=f"--set {override}")
            index = int(part) if isinstance(node, _Elements) else part
            if place == len(parts) - 1:
                node[index] = value
            else:
                node = node.setdefault(index, _Elements() if parts[place + 1].isdigit() else {})
    return tree


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
    for key in ("reconstruction", "optimizer", "training", "evaluation"):
        if not isinstance(table.get(key, {}), Mapping):
            raise BadInput(f"'{key}' must be a table", where=f"{where}, key '{key}'")

    def settings(model: type[Any], key: str) -> Any:
        return checked(
            model, table.get(key, {}), f"{where}, [{key}]", f"[{key}]", "idemlab show EXPERIMENT prints all keys"
        )

    reconstruction: ReconstructionSettings = settings(ReconstructionSettings, "reconstruction")
    training: TrainingSettings = settings(TrainingSettings, "training")
    evaluation: EvaluationSettings = settings(EvaluationSettings, "evaluation")
    if training.steps is None and training.flops is None:
        raise BadInput(
            "how long to train is not said", where=f"{where}, [training]", expected="steps = 1000, or flops = 1e15"
        )
    if training.batch_size % training.micro_batches:
        raise BadInput(
            f"batch_size {training.batch_size} cannot be cut into {training.micro_batches} equal micro_batches",
            where=f"{where}, [training]",
            expected="a batch_size that micro_batches divides",
        )
    if "data" in evaluation.inputs:
        raise BadInput("'data' is always evaluated and cannot be redefined", where=f"{where}, [evaluation.inputs]")
    sources = table.get("source", "data")
    sources = sources if isinstance(sources, list) else [sources]
    if not sources:
        raise BadInput("'source' is empty", where=f"{where}, [source]", next_step="idemlab list sources")
    summary = table.get("summary", "")
    if not isinstance(summary, str):
        raise BadInput("'summary' must be text", where=f"{where}, key 'summary'")
    return Experiment(
        name=name,
        summary=summary,
        dataset=catalog.check("dataset", table["dataset"], f"{where}, [dataset]"),
        model=catalog.check("model", table["model"], f"{where}, [model]"),
        enforcer=catalog.check("enforcer", table.get("enforcer", "none"), f"{where}, [enforcer]"),
        sources=tuple(catalog.check("source", source, f"{where}, [source]") for source in sources),
        corruption=catalog.check("source", reconstruction.input, f"{where}, [reconstruction], key 'input'"),
        inputs={
            key: catalog.check("source", source, f"{where}, [evaluation.inputs], key '{key}'")
            for key, source in evaluation.inputs.items()
        },
        metrics=tuple(
            catalog.check("metric", metric, f"{where}, [evaluation], key 'metrics'") for metric in evaluation.metrics
        ),
        reconstruction=reconstruction,
        optimizer=settings(OptimizerSettings, "optimizer"),
        training=training,
        evaluation=evaluation,
    )
