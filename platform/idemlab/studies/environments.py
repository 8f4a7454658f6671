"""In which environments the sweeps of a record were made: a file for each environment, and the sweeps that belong to it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..errors import Failure
from ..system import strict_json

__all__ = ["MadeIn", "claims_in", "environment_in", "environments_of", "note_environment"]

MadeIn = dict[str, list[str]]
"""File of an environment -> names of the sweeps whose trials ran there."""
_FIRST, _FURTHER = "environment.json", "environment-further.json"
_NAME = re.compile(r"environment(-further(-\d+)?)?\.json")


def environments_of(record: Path) -> MadeIn:
    """What a record says of its environments; empty for a new one."""
    claims, sweeps = record / "claims.json", record / "sweeps"
    if not claims.is_file():
        return {}
    content = claims_in(record)
    if "environments" in content:
        # Only files of these names: a record may come from a stranger.
        return {file: list(names) for file, names in content["environments"].items() if _NAME.fullmatch(file)}
    # An older record lists the sweeps of its first environment, if it was continued in another.
    there = sorted(path.parent.name for path in sweeps.glob("*/sweep.toml"))
    if not (record / _FURTHER).is_file():
        return {_FIRST: there}
    first = [name for name in there if name in content.get("kept", ())]
    return {_FIRST: first, _FURTHER: [name for name in there if name not in first]}


def claims_in(record: Path) -> Mapping[str, Any]:
    """What the file of claims of a record holds.

    Raises:
        Failure: if it is damaged.
    """
    file = record / "claims.json"
    try:
        content = strict_json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("no claims of a study")
    except (OSError, ValueError) as error:
        raise Failure(
            f"the claims of the record cannot be read: {error}",
            where=str(file),
            next_step="restore the file, or delete it: the study then evaluates all sweeps again",
        ) from None
    return content


def note_environment(record: Path, before: MadeIn, ran: Collection[str], now: Mapping[str, Any]) -> MadeIn:
    """The environments after some sweeps ran in the present one, which gets a file unless it has one.

    Args:
        before: `environments_of` the record before they ran. If nothing ran since, it stays as it is.
    """
    if any(before.values()) and not ran:
        return before
    file = next((name for name in before if environment_in(record / name) == now), None)
    if file is None:
        file = _free(before) if any(before.values()) else _FIRST
        (record / file).write_text(strict_json.dumps(now, indent=1), encoding="utf-8")
    own = before.get(file, [])
    return before | {file: [*own, *(name for name in ran if name not in own)]}


def environment_in(file: Path) -> Mapping[str, Any] | None:
    """The environment in a file; None if it cannot be read."""
    try:
        content = strict_json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _free(before: MadeIn) -> str:
    """A name that no environment of the record has."""
    number, name = 1, _FURTHER
    while name in before:
        number += 1
        name = _FURTHER.replace(".json", f"-{number}.json")
    return name
