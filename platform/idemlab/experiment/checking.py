"""Check every key, name, type and range in the table of an experiment."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from ..catalog.catalog import Catalog
from ..catalog.schema import checked
from ..contracts.specs import MetricSpec, SourceSpec
from ..errors import BadInput, nearest_match
from ..wording import clipped, shown
from .condition import check_condition
from .condition import split as split_condition
from .experiment import Experiment
from .optimizers import check_optimizer
from .overrides import LENGTHS, TABLES
from .settings import EvaluationSettings, OptimizerSettings, ReconstructionSettings, TrainingSettings
from .start import split

__all__ = ["check"]

_KEYS = ("summary", "base", *TABLES)
_INPUT = re.compile(r"\w[\w .+-]{0,79}")
"""Pattern for the names of evaluation inputs, which become names of pictures and files in the report."""


def check(name: str, table: Mapping[str, Any], where: str, catalog: Catalog) -> Experiment:
    for key in table:
        if key not in _KEYS:
            raise BadInput(
                f"there is no key '{clipped(key)}'",
                where=f"{where}, key '{clipped(key)}'",
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

    def within(key: str, name: str, default: Any) -> Any:
        """Named things as written, because their paths are relative to the file that contains them."""
        return table.get(key, {}).get(name, default)

    reconstruction: ReconstructionSettings = settings(ReconstructionSettings, "reconstruction")
    training: TrainingSettings = settings(TrainingSettings, "training")
    evaluation: EvaluationSettings = settings(EvaluationSettings, "evaluation")
    optimizer: OptimizerSettings = settings(OptimizerSettings, "optimizer")
    for key, value in (optimizer.model_extra or {}).items():
        if not _is_finite(value):
            raise BadInput(
                f"[optimizer]: '{clipped(key)}' cannot be {shown(value)}",
                where=f"{where}, [optimizer], key '{clipped(key)}'",
                expected="finite numbers",
            )
    method = check_optimizer(optimizer, catalog, f"{where}, [optimizer]")
    lengths = [key for key in LENGTHS if getattr(training, key) is not None]
    if len(lengths) != 1:
        raise BadInput(
            "the length of the training is " + ("missing", "", "given twice", "given three times")[len(lengths)],
            where=f"{where}, [training]",
            expected="one of steps = 1000, epochs = 10 and flops = 1e15, for instance",
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
                f"'{clipped(key)}' cannot be the name of evaluation inputs",
                where=f"{where}, [evaluation.inputs]",
                expected="at most 80 letters, digits, spaces and . _ + -, the first one a letter, a digit or _",
                next_step="rename it",
            )
    model, start = split(table["model"], f"{where}, [model]", catalog)
    data, condition = split_condition(table["dataset"], f"{where}, [dataset]")
    dataset = catalog.check("dataset", data, f"{where}, [dataset]")
    network = catalog.check("model", model, f"{where}, [model]")
    check_condition(condition, dataset, network, where, catalog)
    sources = table.get("source", "data")
    many = isinstance(sources, list)
    sources = sources if many else [sources]
    if not sources:
        raise BadInput("'source' is empty", where=f"{where}, [source]", next_step="idemlab list sources")
    summary = table.get("summary", "")
    if not isinstance(summary, str):
        raise BadInput("'summary' must be text", where=f"{where}, key 'summary'", expected='summary = "..."')
    experiment = Experiment(
        name=name,
        summary=str(summary),
        dataset=dataset,
        condition=condition,
        model=network,
        start=start,
        enforcer=catalog.check("enforcer", table.get("enforcer", "none"), f"{where}, [enforcer]"),
        sources=tuple(
            catalog.check("source", source, f"{where}, [source]{f'[{i}]' if many else ''}")
            for i, source in enumerate(sources)
        ),
        corruption=catalog.check(
            "source", within("reconstruction", "input", reconstruction.input), f"{where}, [reconstruction], key 'input'"
        ),
        inputs={
            key: catalog.check("source", source, f"{where}, [evaluation.inputs], key '{key}'")
            for key, source in within("evaluation", "inputs", evaluation.inputs).items()
        },
        metrics=tuple(
            catalog.check("metric", metric, f"{where}, [evaluation], key 'metrics'[{i}]")
            for i, metric in enumerate(within("evaluation", "metrics", evaluation.metrics))
        ),
        method=method,
        schedule=catalog.check(
            "schedule", within("optimizer", "schedule", optimizer.schedule), f"{where}, [optimizer], key 'schedule'"
        ),
        trackers=tuple(
            catalog.check("tracker", tracker, f"{where}, [training], key 'trackers'[{i}]")
            for i, tracker in enumerate(within("training", "trackers", training.trackers))
        ),
        reconstruction=reconstruction,
        optimizer=optimizer,
        training=training,
        evaluation=evaluation,
    )
    _check_judges(experiment, where)
    return experiment


def _check_judges(experiment: Experiment, where: str) -> None:
    """Refuse a source that learns from the features that a metric judges by: the metric would measure its own lesson."""
    judges = {
        feature: metric
        for metric in experiment.metrics
        if isinstance(metric.spec, MetricSpec)
        for feature in metric.spec.features_for(dict(metric.arguments))
    }
    taught_by = [*experiment.sources, *([experiment.corruption] if experiment.corruption is not None else [])]
    for top in taught_by:
        for source in top.inside():
            taught = source.spec.features_for(dict(source.arguments)) if isinstance(source.spec, SourceSpec) else ()
            for feature in taught:
                if feature in judges:
                    raise BadInput(
                        f"source '{source.name}' learns from the features '{feature}', and metric "
                        f"'{judges[feature].name}' judges by the same features",
                        where=f"{where}, [source] and [evaluation], key 'metrics'",
                        expected="a metric with features that no source learns from",
                        next_step="choose other features for the source, or for the metric",
                    )


def _is_finite(value: Any) -> bool:
    """Whether a value holds no infinity and no NaN, at any depth."""
    if isinstance(value, Mapping):
        return all(map(_is_finite, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
