"""What has changed since a run began. A run resumed with other code or settings is not the same run."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from ..catalog.catalog import Catalog
from ..errors import BadInput, Failure
from ..experiment.experiment import Experiment
from ..experiment.resolution import resolve
from .environment import package_versions, plugin_versions
from .run import Run

__all__ = ["changes"]

_PACKAGES = ("idemlab", "torch")
"""Packages whose version can change the numbers of any run."""


def changes(run: Run, experiment: Experiment, catalog: Catalog) -> list[str]:
    """List what differs from the start of the run, as ``key: old -> new``. Empty if there is no run.

    Compares the experiment, and the versions of idemlab, torch and the plugins that the experiment uses.

    Raises:
        BadInput: if the run's experiment.toml cannot be read at all.
    """
    if not run.experiment_file.is_file():
        return []
    return _differences(_begun_with(run, catalog), experiment.table()) + _version_differences(run, experiment, catalog)


def _begun_with(run: Run, catalog: Catalog) -> dict[str, Any]:
    """The experiment that the run began with, as a table; with defaults if the installed plugins can still resolve it."""
    try:
        return resolve(run.experiment_file, catalog=catalog).table()
    except BadInput:
        try:
            return tomllib.loads(run.experiment_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            pass
        raise


def _differences(old: Any, new: Any, key: str = "") -> list[str]:
    """Where two nested tables differ, as ``key: old -> new``."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted({*old, *new} - ({"summary"} if not key else set()))
        return [d for k in keys for d in _differences(old.get(k), new.get(k), f"{key}.{k}" if key else k)]
    return [] if old == new else [f"{key}: {old} -> {new}"]


def _version_differences(run: Run, experiment: Experiment, catalog: Catalog) -> list[str]:
    try:
        environment = run.environment
    except Failure:
        return [f"{run.environment_file.name}, with the versions that the run began with, is damaged"]
    if environment is None:  # stopped before its first step
        return []
    before = environment.get("packages", {}) | environment.get("plugins", {})
    now = package_versions(_PACKAGES) | plugin_versions(catalog)
    used = {named.plugin for named in experiment.things}
    # Plugins inside idemlab's own distribution share its version.
    keys = [*_PACKAGES, *sorted(f"{p.distribution}:{p.name}" for p in used if p.distribution != "idemlab")]
    return [
        f"{key}: {before.get(key, 'not recorded')} -> {now.get(key)}" for key in keys if before.get(key) != now.get(key)
    ]
