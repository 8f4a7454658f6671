"""What stands in the way on this machine: Python, packages, devices, plugins, the place for runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from .catalog import Catalog, installed

__all__ = ["Finding", "examine"]

OLDEST_PYTHON = (3, 11)
TOOLS = {"dev", "docs", "test"}
"""Extras for those who work on idemlab itself; nobody else misses them."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        subject: what was looked at.
        state: `fine`; `note`, which may matter or not; `broken`, which stands in the way.
        text: what was found.
        fix: what to do about it, best a command; empty where there is nothing to do.
    """

    subject: str
    state: Literal["fine", "note", "broken"]
    text: str
    fix: str = ""


def examine(catalog: Catalog | None = None, runs: str | Path = "runs") -> list[Finding]:
    """Look at everything that a run needs, and say what is wrong and what to do. Takes some seconds: it loads torch.

    Args:
        catalog: defaults to the installed plugins.
        runs: the folder that is to hold runs.
    """
    return [
        _python(),
        _shadowing(),
        *_packages(),
        *_devices(),
        *_plugins(catalog or installed()),
        _folder(Path(runs)),
        *_extras(),
    ]


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        return Finding("Python", "broken", found, f"install Python {oldest} or newer")
    return Finding("Python", "fine", found)


def _shadowing() -> Finding:
    """Whether a file or folder hides the standard library's `platform`, without which torch cannot be imported."""
    subject = "module 'platform'"
    standard = Path(sysconfig.get_paths()["stdlib"]).resolve()
    for folder in [Path.cwd(), *(Path(entry or ".") for entry in sys.path)]:
        if folder.resolve() == standard:
            continue
        for hiding in (folder / "platform.py", folder / "platform" / "__init__.py"):
            if hiding.is_file():
                return Finding(
                    subject, "broken", f"{hiding} hides the standard library's", "rename it, or start somewhere else"
                )
    return Finding(subject, "fine", "the standard library's")


# -- packages -----------------------------------------------------------------------------------------------------------


def _requirements(extra: str | None = None) -> Iterator[tuple[str, str]]:
    """(package, version range) of what idemlab needs, or of one of its extras."""
    for line in requires("idemlab") or []:
        requirement, _, marker = line.partition(";")
        match = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker)
        if (match[1] if match else None) == extra:
            name = re.match(r"[\w.-]+", requirement)
            assert name is not None, line
            yield name[0], requirement[name.end() :].strip()


def _installed_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _packages() -> Iterator[Finding]:
    from packaging.specifiers import SpecifierSet

    try:
        needed = list(_requirements())
    except PackageNotFoundError:
        yield Finding("packages", "broken", "idemlab itself is not installed", "pip install idemlab")
        return
    fine = []
    for package, accepted in needed:
        found = _installed_version(package)
        if found is None:
            yield Finding(package, "broken", "not installed", f"pip install '{package}{accepted}'")
        elif not SpecifierSet(accepted).contains(found, prereleases=True):
            yield Finding(
                package, "broken", f"{found} is too old, {accepted} is needed", f"pip install '{package}{accepted}'"
            )
        else:
            fine.append(f"{package} {found}")
    yield Finding("packages", "fine", ", ".join(fine))


def _extras() -> Iterator[Finding]:
    """The optional dependencies that are missing."""
    try:
        lines = requires("idemlab") or []
    except PackageNotFoundError:
        return
    extras = dict.fromkeys(name for line in lines for name in re.findall(r"extra\s*==\s*['\"]([^'\"]+)['\"]", line))
    for extra in extras:
        missing = [package for package, _ in _requirements(extra) if _installed_version(package) is None]
        if missing and extra not in TOOLS:
            yield Finding(
                f"optional: {extra}", "note", f"{', '.join(missing)} not installed", f"pip install 'idemlab[{extra}]'"
            )


# -- devices ------------------------------------------------------------------------------------------------------------


def _devices() -> Iterator[Finding]:
    try:
        import torch
        from accelerate import PartialState
    except Exception as error:  # a broken build raises OSError, RuntimeError and others
        yield Finding(
            "torch", "broken", f"cannot be imported: {_one_line(error)}", "pip install --force-reinstall torch"
        )
        return
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("Apple MPS")
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} cores in use"
    yield Finding("torch", "fine", f"{torch.__version__}; accelerators: {', '.join(names) or 'none'}; {threads}")
    try:
        state = PartialState()
    except Exception as error:
        yield Finding("Accelerate", "broken", _one_line(error), "accelerate env; accelerate config default")
        return
    processes = f"{state.num_processes} process" + "es" * (state.num_processes > 1)
    yield Finding("Accelerate", "fine", f"a run trains on {state.device}, in {processes}")


# -- plugins ------------------------------------------------------------------------------------------------------------


def _plugins(catalog: Catalog) -> Iterator[Finding]:
    for failure in catalog.failures:
        yield Finding(f"plugin {failure.plugin.name}", "broken", f"{failure.plugin}: {failure.cause}", failure.fix)
    for plugin in catalog.plugins:
        if _imports_torch(plugin.module):
            yield Finding(
                f"plugin {plugin.name}",
                "note",
                f"{plugin}: its hook module imports torch, which makes every listing slow",
                f"import torch inside the factories of {plugin.module}",
            )
    loaded = ", ".join(f"{plugin.distribution}:{plugin.name}" for plugin in catalog.plugins)
    yield Finding("plugins", "fine" if loaded else "note", loaded or "none is loaded", "" if loaded else _no_plugins())


def _no_plugins() -> str:
    return "unset IDEMLAB_PLUGINS" if "IDEMLAB_PLUGINS" in os.environ else "pip install --force-reinstall idemlab"


def _imports_torch(entry: str) -> bool:
    """Whether importing a hook module in a fresh process imports torch."""
    module = entry.partition(":")[0]
    code = f"import sys, importlib; importlib.import_module({module!r}); sys.exit('torch' in sys.modules)"
    paths = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": paths}, capture_output=True, check=False
    )
    return done.returncode == 1 and not done.stderr


# -- the place for runs -------------------------------------------------------------------------------------------------


def _folder(runs: Path) -> Finding:
    """Whether a run could be written."""
    nearest = next(folder for folder in [runs.absolute(), *runs.absolute().parents] if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        return Finding("folder for runs", "broken", f"{runs}: {error.strerror}", "choose another with --out")
    return Finding("folder for runs", "fine", f"{runs} can be written")


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
