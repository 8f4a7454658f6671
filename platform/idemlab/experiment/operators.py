"""Find a trained operator: the folder of a run, an operator that a plugin ships, or one on the Hugging Face hub."""

from __future__ import annotations

import os
from pathlib import Path

from ..catalog.catalog import Catalog
from ..contracts.specs import ExperimentSpec
from ..errors import BadInput, nearest_match
from ..system.files import as_path
from ..system.hub import fetch, is_hub_name
from ..wording import clipped

__all__ = [
    "FILES",
    "WEIGHTS",
    "can_only_be_path",
    "fetch_operator",
    "find_operator",
    "shipped_operator",
    "shipped_operators",
]

WEIGHTS = "operator.safetensors"
FILES = ("experiment.toml", WEIGHTS, "certificate.json", "environment.json")
"""What the folder of an operator holds; the last two may be missing."""


def shipped_operators(catalog: Catalog) -> dict[str, Path]:
    """Name of each experiment whose trained operator is shipped -> the folder."""
    specs = [entry.spec for entry in catalog.entries("experiment")]
    return {
        spec.name: spec.operator for spec in specs if isinstance(spec, ExperimentSpec) and spec.operator is not None
    }


def shipped_operator(name: str, catalog: Catalog) -> Path | None:
    """The folder of the operator that is shipped with an experiment of this name or alias; None if there is none.

    Raises:
        BadInput: if several plugins offer the name.
    """
    bare = name.rpartition(":")[2]
    specs = [entry.spec for entry in catalog.entries("experiment") if bare in (entry.spec.name, *entry.spec.aliases)]
    if not any(isinstance(spec, ExperimentSpec) and spec.operator is not None for spec in specs):
        return None
    found = catalog.find("experiment", name).spec
    assert isinstance(found, ExperimentSpec)
    return found.operator


def find_operator(reference: str | Path, catalog: Catalog) -> Path:
    """The folder of a trained operator, by path or by name: a run first, then a shipped operator, then the hub.

    A `Path` is a folder and nothing else. A text that can only be a path is returned as a path, even if nothing is there.

    Raises:
        BadInput: if there is no such operator.
        Failure: if the hub cannot be reached.
    """
    if not isinstance(reference, str):
        return as_path(reference, "run")
    path = as_path(os.path.expanduser(reference.replace("\0", "")), "run")
    if (path / FILES[0]).is_file():
        return path
    shipped = shipped_operator(reference, catalog)
    if shipped is not None:
        return shipped
    if os.path.lexists(path) or can_only_be_path(reference, path):
        return path
    if is_hub_name(reference):
        return fetch_operator(reference)
    known = shipped_operators(catalog)
    near = [str(file.parent) for file in Path().glob("*/experiment.toml")]
    raise BadInput(
        f"there is no operator '{clipped(reference)}'",
        expected="the folder of a run, the name of a shipped operator, or a name on the hub (owner/name)",
        choices=sorted({*known, *near}),
        nearest=nearest_match(reference, [*known, *near]),
        next_step="name a folder, or list the experiments, some of which are shipped trained: idemlab list experiments",
    )


def fetch_operator(name: str, where: str | None = None) -> Path:
    """The folder of an operator on the hub, downloaded or from the cache.

    Args:
        where: the key that refers to it, if any.

    Raises:
        BadInput: if the hub has no such operator.
        Failure: if the hub cannot be reached.
    """
    folder = fetch(name, FILES)
    lacking = [file for file in FILES[:2] if not (folder / file).is_file()]
    if lacking:
        raise BadInput(
            f"'{name}' on the hub holds no operator of idemlab: it has no {' and no '.join(lacking)}",
            where=where,
            next_step="choose a repository that idemlab pushed, or download its weights and give the .safetensors file",
        )
    return folder


def can_only_be_path(text: str, path: Path) -> bool:
    """Whether a text that leads nowhere as a path is no name on the hub either: by its form, or because it would lie in a
    folder of runs, so that it is a misspelt run."""
    formed = text.startswith(("/", "./", "../", "~")) or text.count("/") > 1 or text.endswith((".safetensors", "/"))
    return formed or (bool(path.parent.name) and any(path.parent.glob("*/experiment.toml")))
