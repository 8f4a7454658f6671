"""The installed distributions: find those with plugins, and report broken records.

`importlib.metadata` fails on all distributions if it cannot read the record of one. Here one broken record affects only its
own distribution.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distribution, distributions
from pathlib import Path, PurePath
from typing import Any

from packaging.version import InvalidVersion, Version

from ..contracts.hookspecs import PROJECT
from ..wording import clipped
from .provided import Plugin, PluginFailure

__all__ = ["Found", "find_plugins", "identity", "installed_version", "owner_of"]

_REFERENCE = re.compile(r"[\w.]+(\s*:\s*[\w.]+)?\s*(\[.*\])?")
"""What an entry point may refer to: a module, or an object in a module."""
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")

_LISTS = ("top_level.txt", "RECORD", "installed-files.txt", "SOURCES.txt")
"""The files of a record that list what the distribution installed."""


@dataclass(frozen=True)
class Found:
    """The plugins that installed distributions record.

    Args:
        entry_points: entry points of plugins, in a fixed order; the distribution of each has a name and a version.
        failures: records that cannot be used.
    """

    entry_points: tuple[EntryPoint, ...]
    failures: tuple[PluginFailure, ...]


def find_plugins(path: Iterable[str | Path] | None = None) -> Found:
    """The plugins of the distributions in some folders (default: `sys.path`).

    Of two distributions with one name, the one in the earlier folder is used, as in an import.
    """
    found = distributions() if path is None else distributions(path=[str(folder) for folder in path])
    entry_points: list[EntryPoint] = []
    failures: list[PluginFailure] = []
    for records in _by_name(found):
        known = []
        for record in records:
            usable, broken = _read(record)
            failures += broken
            known += usable
        known.sort(key=lambda each: _order(each.version), reverse=True)
        for older in known[1:]:
            failures.append(_second_record(known[0], older))
        entry_points += [entry_point for each in known[:1] for entry_point in each.entry_points]
    entry_points.sort(key=lambda entry_point: (*_names(entry_point), entry_point.value))
    return Found(tuple(entry_points), tuple(failures))


def identity(of: Distribution | None) -> tuple[str, str]:
    """(name, version) of a distribution, even if its record is broken."""
    if of is None:
        return "unknown", "?"
    name, version, _ = _named(of)
    return name or _folder_name(of), version or "?"


def installed_version(name: str) -> str | None:
    """The version of a distribution; "?" if its record is broken, None if it is not installed."""
    try:
        return identity(distribution(name))[1]
    except (PackageNotFoundError, ValueError):
        return None


def owner_of(package: str) -> str | None:
    """The distribution that installed an import package, or None."""
    for each in distributions():
        try:
            if not any(package in (each.read_text(file) or "") for file in _LISTS):
                continue  # without parsing its list, which may have thousands of lines
            declared = (each.read_text("top_level.txt") or "").split()
            tops = {PurePath(file).parts[0].removesuffix(".py") for file in each.files or [] if PurePath(file).parts}
        except Exception:  # its record is broken
            continue
        if package in {*declared, *tops}:
            return identity(each)[0]
    return None


# -- one distribution -----------------------------------------------------------------------------------------------------


class _Readable(Distribution):
    """A distribution whose name, version and entry points are well formed."""

    def __init__(self, of: Distribution, name: str, version: str, lines: Iterable[str]) -> None:
        self._of = of
        self._texts = {
            "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            "entry_points.txt": "\n".join([f"[{PROJECT}]", *lines]),
        }

    def read_text(self, filename: str) -> str | None:
        return self._texts.get(filename)

    def locate_file(self, path: Any) -> Any:
        return self._of.locate_file(path)


def _by_name(found: Iterable[Distribution]) -> Iterator[list[Distribution]]:
    """The records of each distribution in the first folder that has any; later folders are ignored, as in an import."""
    counting: dict[str, list[Distribution]] = {}
    folders: dict[str, Any] = {}
    for each in found:
        name = re.sub(r"[-_.]+", "-", _folder_name(each)).lower()
        folder = getattr(getattr(each, "_path", None), "parent", None)
        if name not in counting:
            counting[name], folders[name] = [each], folder
        elif folder is not None and folder == folders[name] and not _same_place(each, counting[name]):
            counting[name].append(each)
    yield from counting.values()


def _same_place(of: Distribution, others: list[Distribution]) -> bool:
    """Whether this record was seen before, because a folder is in `sys.path` twice."""
    return any(getattr(of, "_path", None) == getattr(other, "_path", None) for other in others)


def _read(of: Distribution) -> tuple[list[_Readable], list[PluginFailure]]:
    """The usable part of a record with plugins (an empty list if there is none), and its faults."""
    text, fault = _entry_text(of)
    guess = _folder_name(of)
    if fault is None and not _section(text):
        return [], []
    if guess.startswith("~"):
        what = "is left over from an interrupted pip install"
        return [], [_failure(guess, "?", of, what, f"remove the folder {_place(of)}")]
    name, version, wrong = _named(of)
    fault = fault or wrong
    if fault is not None or name is None or version is None:
        name = name or guess
        fix = f"pip install --force-reinstall {shlex.quote(name)}, or remove the folder {_place(of)}"
        return [], [_failure(name, version or "?", of, f"has a broken record: {fault}", fix)]
    good, failures, seen = [], [], set[str]()
    for number, line in _section(text):
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not key or not _REFERENCE.fullmatch(value):
            what = f"line {number} of its entry_points.txt, '{clipped(line)}', names no module"
            failures.append(_failure(name, version, of, what, f"report it to the authors of {name}", key, value))
        elif key in seen:
            what = f"line {number} of its entry_points.txt names '{clipped(key)}' a second time"
            failures.append(_failure(name, version, of, what, f"report it to the authors of {name}", key, value))
        else:
            seen.add(key)
            good.append(f"{key} = {value}")
    return [_Readable(of, name, version, good)], failures


def _entry_text(of: Distribution) -> tuple[str, str | None]:
    """(text of entry_points.txt, its fault or None). Another encoding is a fault only if the file names plugins."""
    try:
        text = of.read_text("entry_points.txt")
    except UnicodeDecodeError as error:
        plain = bytes(error.object).decode("utf-8", errors="replace")
        return plain, f"entry_points.txt is not in UTF-8: {error}" if _section(plain) else None
    except Exception as error:
        return "", f"entry_points.txt cannot be read: {error}"
    if text is None:  # missing, or present without permission to read
        file = getattr(of, "_path", None)
        file = file / "entry_points.txt" if isinstance(file, Path) else None
        try:
            if file is not None and (file.exists() or file.is_symlink()):
                file.read_bytes()
        except OSError as error:
            return "", f"entry_points.txt cannot be read: {error.strerror}"
    return text or "", None


def _section(text: str) -> list[tuple[int, str]]:
    """(line number, line) of the plugin entry points in entry_points.txt."""
    lines, here = [], False
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            here = line[1:-1].strip() == PROJECT
        elif here and line and not line.startswith(("#", ";")):
            lines.append((number, line))
    return lines


def _named(of: Distribution) -> tuple[str | None, str | None, str | None]:
    """(name, version, fault) of METADATA, each None if absent."""
    try:
        metadata = of.metadata
        fields = {key: str(metadata[key]).strip() for key in ("Name", "Version") if key in metadata}
    except UnicodeDecodeError as error:
        return None, None, f"METADATA is not in UTF-8: {error}"
    except Exception:  # newer Pythons raise if the file is missing
        return None, None, "METADATA is missing or cannot be read"
    name, version = fields.get("Name"), fields.get("Version")
    if not fields:
        return None, None, "METADATA is missing, empty or without a name and a version"
    if not name or not version:
        return name or None, version or None, f"METADATA has no {'Version' if name else 'Name'}"
    if not _NAME.fullmatch(name) or not version.isprintable() or len(version) > 60:
        return None, None, f"METADATA has a malformed name or version, '{clipped(name)}' {clipped(version)}"
    return name, version, None


def _folder_name(of: Distribution) -> str:
    """The distribution's name according to the folder of its record, `name-1.0.dist-info`."""
    folder = getattr(of, "_path", None)
    if folder is None:
        return _named(of)[0] or "unknown"
    name = PurePath(str(folder)).name.removesuffix(".dist-info").removesuffix(".egg-info").partition("-")[0]
    return clipped(name) or "unknown"


def _place(of: Distribution) -> str:
    return clipped(str(getattr(of, "_path", "?")), 200)


def _failure(
    name: str, version: str, of: Distribution, cause: str, fix: str, plugin: str = "", module: str = ""
) -> PluginFailure:
    return PluginFailure(
        Plugin(clipped(plugin) or name, name, version, clipped(module)), f"{cause} ({_place(of)})", fix
    )


def _second_record(kept: _Readable, older: _Readable) -> PluginFailure:
    place = _place(older._of)
    what = f"is recorded a second time beside version {kept.version}, which is used"
    return _failure(older.name, older.version, older._of, what, f"remove the folder {place}")


def _order(version: str) -> tuple[bool, Version, str]:
    try:
        return True, Version(version), version
    except InvalidVersion:
        return False, Version("0"), version


def _names(entry_point: EntryPoint) -> tuple[str, str]:
    return identity(entry_point.dist)[0], entry_point.name
