"""The condition of an experiment: the key of [dataset] that makes the operator f(x, c)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from ..catalog.catalog import Catalog
from ..catalog.named import Named
from ..contracts.specs import DatasetSpec, ModelSpec
from ..errors import BadInput, nearest_match
from ..wording import shown

__all__ = ["IN_TRAINING", "Condition", "check_condition", "split"]

Condition = Literal["none", "label", "training", "clusters"]
"""What of a data set is the condition: nothing; the labels of its samples; these in training only; or, in training only, the
clusters of its samples, which are found without labels."""
IN_TRAINING: tuple[Condition, ...] = ("training", "clusters")
"""Those under which the operator is trained as f(x, c), and measured and used as f(x)."""

_CHOICES: tuple[Condition, ...] = get_args(Condition)
_KEY = "condition"


def split(table: Any, where: str) -> tuple[Any, Condition]:
    """([dataset] as the data set's factory takes it, the condition).

    Raises:
        BadInput: for a condition that there is not.
    """
    if not isinstance(table, Mapping):
        return table, "none"
    condition = table.get(_KEY)
    if condition is None:
        condition = "none"
    if condition not in _CHOICES:
        raise BadInput(
            f"the condition cannot be {shown(condition)}",
            where=f"{where}, key '{_KEY}'",
            choices=_CHOICES,
            nearest=nearest_match(condition, _CHOICES) if isinstance(condition, str) else None,
            next_step="set 'label'; 'training' or 'clusters', for labels or clusters in training only; or leave the key out",
        )
    return {key: value for key, value in table.items() if key != _KEY}, condition


def check_condition(condition: Condition, dataset: Named, model: Named, where: str, catalog: Catalog) -> None:
    """Refuse a condition that the data set or the model is known not to have.

    Raises:
        BadInput: names what else there is.
    """
    if condition == "none":
        return
    if condition != "clusters" and isinstance(dataset.spec, DatasetSpec) and not dataset.spec.labels:
        specs = [entry.spec for entry in catalog.entries("dataset")]
        raise BadInput(
            f"{dataset} has no labels to take as the condition",
            where=f"{where}, [dataset], key '{_KEY}'",
            choices=[spec.name for spec in specs if isinstance(spec, DatasetSpec) and spec.labels],
            next_step=f"choose another data set, set dataset.{_KEY} = clusters, or leave '{_KEY}' out",
        )
    if isinstance(model.spec, ModelSpec) and not model.spec.conditional and not model.given:
        models = [entry.spec for entry in catalog.entries("model")]
        having = [spec.name for spec in models if isinstance(spec, ModelSpec) and spec.conditional]
        raise BadInput(
            f"{model} takes no condition, and the data set gives one",
            where=f"{where}, [model] and [dataset], key '{_KEY}'",
            choices=having,
            next_step=(f"set model.name = {having[0]}, or " if having else "") + f"leave dataset.{_KEY} out",
        )
