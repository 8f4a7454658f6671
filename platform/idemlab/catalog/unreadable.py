"""Distributions whose entry points Python cannot read, and the packages that fail because of them.

`importlib.metadata.entry_points` fails on all distributions if it cannot read the record of one, whoever installed it.
torch, triton (below torch for GPUs) and pydantic call it when they are loaded, fsspec (below `datasets`) too. The first
three can be told not to.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, distributions
from pathlib import PurePath
from traceback import walk_tb

from ..errors import Failure
from ..wording import clipped

__all__ = ["Unreadable", "scan_failure", "spare_imports", "unreadable"]

_SPARING = {
    "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",
    "TRITON_BACKENDS_IN_TREE": "1",
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
}
"""Environment variables by which torch, triton and pydantic do not look for extensions of theirs."""


@dataclass(frozen=True)
class Unreadable:
    """A distribution whose `entry_points.txt` Python cannot read.

    Args:
        name, version: as far as they can be read.
        file: the broken file.
        fault: what is wrong in it.
    """

    name: str
    version: str
    file: str
    fault: str

    @property
    def what(self) -> str:
        """The fault in one sentence."""
        return f"the distribution {self.name} {self.version} has a broken entry_points.txt: {self.fault}"

    @property
    def fix(self) -> str:
        """The next step."""
        folder = PurePath(self.file).parent
        return f"pip install --force-reinstall {shlex.quote(self.name)}, or remove the folder {folder}"


@cache
def unreadable() -> tuple[Unreadable, ...]:
    """The broken distributions that a scan of all entry points meets on `sys.path`."""
    return tuple(_broken())


def _broken() -> list[Unreadable]:
    found, seen = [], set[str]()
    for each in distributions():
        folder = PurePath(str(getattr(each, "_path", "")))
        name = folder.name.partition("-")[0].removesuffix(".egg-info").lower().replace("-", "_").replace(".", "_")
        if name in seen:  # an earlier folder hides it, from every scan too
            continue
        seen.add(name)
        try:
            tuple(each.entry_points)
        except Exception as error:
            found.append(_described(each, folder / "entry_points.txt", error))
    return found


def _described(of: Distribution, file: PurePath, error: Exception) -> Unreadable:
    from .distributions import identity

    if isinstance(error, UnicodeDecodeError):
        line = bytes(error.object)[: error.start].count(b"\n") + 1
        fault = f"line {line} is not in UTF-8"
    else:
        fault = _first_bad_line(of) or f"{type(error).__name__}: {clipped(str(error), 200)}"
    name, version = identity(of)
    return Unreadable(name, version, clipped(str(file), 300), fault)


def _first_bad_line(of: Distribution) -> str | None:
    """What is wrong with the first entry that has no value."""
    inside = False
    for number, line in enumerate((of.read_text("entry_points.txt") or "").splitlines(), start=1):
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            inside = True
        elif inside and line and not line.startswith("#") and "=" not in line:
            return f"line {number}, '{clipped(line)}', has no '='"
    return None


_told: list[Unreadable] = []


def spare_imports(environment: MutableMapping[str, str] = os.environ) -> tuple[Unreadable, ...]:
    """Let torch, triton and pydantic load despite broken distributions, if there are any. Call it before they are loaded.

    Then neither looks for extensions. Whatever the user has chosen in the environment stands.

    Returns:
        the broken distributions that no earlier call has returned, to be told to the user.
    """
    new = tuple(each for each in unreadable() if each not in _told)
    if new and "torch" not in sys.modules:
        for name, value in _SPARING.items():
            environment.setdefault(name, value)
    _told.extend(new)
    return new


def scan_failure(error: BaseException) -> Failure | None:
    """The error to raise for one that a scan of entry points raised because of a broken distribution, or None."""
    modules = (frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__))
    if not any(module.startswith("importlib.metadata") for module in modules) or not unreadable():
        return None
    first = unreadable()[0]
    return Failure(
        f"{first.what}; packages that search for their extensions fail because of it",
        where=first.file,
        next_step=first.fix,
    )
