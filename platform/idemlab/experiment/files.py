"""Find experiment files by name or path, and read them. Files in other formats are refused with an explanation."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from datetime import date, time
from pathlib import Path, PurePath
from typing import Any

from ..catalog.catalog import Catalog
from ..catalog.named import Named
from ..catalog.paths import Placed
from ..errors import BadInput, nearest_match
from ..wording import clipped

__all__ = ["entered", "locate", "read"]

_ENDINGS = (".toml", ".yaml", ".yml", ".json")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|git@")
_DEEPEST = 32
"""Largest nesting depth of tables and lists, far above what any experiment needs."""
_LARGEST = 2**63
"""Integers in TOML have 64 bits."""


# -- finding --------------------------------------------------------------------------------------------------------------


def locate(reference: str | Path, catalog: Catalog, folder: Path = Path(), where: str | None = None) -> Path:
    """The file of an experiment. Registered names take precedence, so that a run folder of the same name hides none.

    Args:
        folder: base of relative paths.
        where: the key that refers to the experiment, if any.

    Raises:
        BadInput: if there is no such file; says where it was expected.
    """
    known = [name for entry in catalog.entries("experiment") for name in (entry.spec.name, *entry.spec.aliases)]
    if isinstance(reference, Path) or reference not in known:
        if isinstance(reference, str) and _ADDRESS.match(reference):
            raise BadInput(
                f"'{clipped(reference)}' is an address: experiments are read from files",
                where=where,
                next_step="download the file and give its path",
            )
        path = folder / (reference if "\0" in str(reference) else os.path.expanduser(reference))
        if os.path.isfile(path):
            return path
        if os.path.isfile(path / "experiment.toml"):
            return path / "experiment.toml"
        if isinstance(reference, Path) or path.suffix.lower() in _ENDINGS or os.sep in reference:
            raise _missing(path, known, where)
    entry = catalog.find("experiment", reference, where)
    return Path(Named(entry.full_name, entry).build())


def _missing(path: Path, known: list[str], where: str | None) -> BadInput:
    """The error for a path without an experiment. It suggests another path, or for a file the registered experiment of
    exactly the same name."""
    if os.path.isdir(path):
        return BadInput(
            f"the folder '{clipped(str(path), 200)}' holds no experiment.toml",
            where=where,
            next_step="idemlab list experiments",
        )
    near = path.stem if path.suffix.lower() in _ENDINGS and path.stem in known else _beside(path)
    looked = clipped(os.path.abspath(path), 200)
    return BadInput(
        f"there is no file '{clipped(str(path), 200)}'",
        where=f"{where}, looked for at {looked}" if where else f"looked for at {looked}",
        nearest=near,
        next_step="idemlab list experiments",
    )


def _beside(path: Path) -> str | None:
    """The file or run with the most similar name in the same folder, as a path like the given one."""
    try:
        entries = sorted(os.listdir(path.parent))
    except (OSError, ValueError):
        return None
    stems = {
        Path(name).stem if name.endswith(".toml") else name: name
        for name in entries
        if name.endswith(".toml") or os.path.isfile(path.parent / name / "experiment.toml")
    }
    near = nearest_match(path.stem, stems)
    return None if near is None else str(path.parent / stems[near])


# -- reading --------------------------------------------------------------------------------------------------------------


def read(path: Path, where: str) -> dict[str, Any]:
    """The table of an experiment file. Each text remembers the folder of the file, to which paths are relative.

    Raises:
        BadInput: if the file cannot be read, or is not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"is not UTF-8 text: {error}", where=where, next_step="save the file as UTF-8") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot be read: {error}", where=where) from None
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise _too_deep(where) from None
    except ValueError as error:  # a TOMLDecodeError, or a number with too many digits
        raise _no_toml(path, text, error, where) from None
    return entered(table, path.parent.resolve(), where)


def _no_toml(path: Path, text: str, error: ValueError, where: str) -> BadInput:
    """The error for a file that is not TOML. For YAML and JSON it shows the first key as TOML."""
    start = text.lstrip()[:1]
    if path.suffix.lower() == ".json" or start == "{":
        return BadInput(
            "this is JSON, and experiments are TOML",
            where=where,
            expected=_as_toml(_first_of_json(text)),
            next_step="write the same tables and keys as TOML",
        )
    first = _first_of_yaml(text)
    if path.suffix.lower() in (".yaml", ".yml") or first:
        return BadInput(
            "this is YAML, and experiments are TOML",
            where=where,
            expected=_as_toml(first),
            next_step="write the same tables and keys as TOML, and name the file .toml",
        )
    return BadInput(
        f"not valid TOML: {clipped(str(error), 200)}", where=where, next_step="correct the file; see toml.io"
    )


_YAML_TABLE = re.compile(
    r"^([A-Za-z_]\w*):[ \t]*(?:#.*)?\n(?:[ \t]*(?:#.*)?\n)*[ \t]+([A-Za-z_]\w*):[ \t]+(\S.*)$", re.M
)
_YAML_KEY = re.compile(r"^([A-Za-z_]\w*):(?:[ \t]+(\S.*))?$", re.M)


def _first_of_yaml(text: str) -> tuple[str, str, str] | None:
    """(table, key, value) of the first nested key, each as written; None if the text does not look like YAML."""
    text = text[:10_000].replace("\r\n", "\n")
    nested = _YAML_TABLE.search(text)
    if nested:
        return nested[1], nested[2], _as_value(nested[3])
    flat = _YAML_KEY.search(text)
    if flat and not re.search(r"^\s*[\w.\"' -]+=|^\s*\[", text, re.M):
        return "", flat[1], _as_value(flat[2] or "")
    return None


def _first_of_json(text: str) -> tuple[str, str, str] | None:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    for table, value in content.items() if isinstance(content, dict) else ():
        if isinstance(value, dict):
            for key, inner in value.items():
                if isinstance(inner, (str, int, float)):
                    return table, key, json.dumps(inner)
    return None


def _as_value(text: str) -> str:
    """A YAML value written as TOML."""
    text = text.split(" #")[0].strip().strip("\"'")
    if text in ("true", "false") or re.fullmatch(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?|\[.*\]", text):
        return text
    return json.dumps(text)


def _as_toml(first: tuple[str, str, str] | None) -> str:
    table, key, value = first or ("model", "name", '"mlp"')
    line = f"{clipped(key)} = {clipped(value)}"
    return f"[{clipped(table)}] on a line, and below it {line}" if table else line


def entered(table: Mapping[str, Any], folder: Path, where: str) -> dict[str, Any]:
    """A table restricted to what TOML can hold, with texts that remember the folder they come from.

    Raises:
        BadInput: for any value that no file could contain.
    """

    def enter(value: Any, level: int) -> Any:
        if level > _DEEPEST:
            raise _too_deep(where)
        if isinstance(value, Mapping):
            for key in value:
                if not isinstance(key, str):
                    raise BadInput(f"the key {clipped(repr(key))} is not text", where=where)
                _check_text(key)
            return {key: enter(item, level + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [enter(item, level + 1) for item in value]
        if isinstance(value, PurePath):
            value = str(value)
        elif getattr(value, "ndim", None) == 0:  # a number of an array library
            value = value.tolist()
        if isinstance(value, str):
            _check_text(value)
            return value if isinstance(value, Placed) else Placed(value, folder)
        if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
            raise BadInput(
                "a whole number is too large", where=where, expected="an integer of at most 64 bits, as in TOML"
            )
        if value is None or isinstance(value, (bool, int, float, date, time)):
            return value
        raise BadInput(
            f"{clipped(repr(value))} cannot be part of an experiment",
            where=where,
            expected="text, numbers, lists and tables, as in TOML",
            next_step="objects are for calls such as idemlab.train(..., model=...)",
        )

    def _check_text(text: str) -> None:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise BadInput(f"'{clipped(text)}' cannot be encoded as UTF-8", where=where) from None

    entries: dict[str, Any] = enter(table, 0)
    return entries


def _too_deep(where: str) -> BadInput:
    return BadInput(f"tables and lists are nested more than {_DEEPEST} deep", where=where)
