"""Read, write, flatten and compare the tables of experiment files."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import Failure

__all__ = ["differing", "flat", "read", "toml_value"]


def read(path: Path) -> dict[str, Any]:
    """The table of a TOML file that idemlab wrote.

    Raises:
        Failure: if the file is damaged.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Failure(
            f"damaged: {error}",
            where=str(path),
            next_step="put the original back, or make a new one with the same command in another folder",
        ) from error


def toml_value(value: Any) -> str:
    """A value as TOML, on one line."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)


def flat(table: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten nested tables: {"enforcer": {"step": 1}} becomes {"enforcer.step": 1}.

    Elements of lists of tables are numbered, ``source.0.name``. The summary, which is text for people, is left out.
    """
    result: dict[str, Any] = {}

    def walk(node: Any, key: str) -> None:
        if isinstance(node, Mapping) and node:
            for name, value in node.items():
                walk(value, f"{key}.{name}" if key else name)
        elif isinstance(node, list) and node and all(isinstance(item, Mapping) for item in node):
            for i, item in enumerate(node):
                walk(item, f"{key}.{i}")
        else:
            result[key] = node

    walk(table, "")
    result.pop("summary", None)
    return result


def differing(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys in which flat tables differ, in order of appearance."""
    keys = dict.fromkeys(key for table in tables for key in table)
    first = tables[0]
    return [
        key for key in keys if any(key not in table or key not in first or table[key] != first[key] for table in tables)
    ]
