"""Finds what is broken on this machine: Python, packages, devices, plugins, the folder for runs."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import metadata, requires
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from .catalog.catalog import Catalog, or_installed
from .catalog.distributions import installed_version
from .catalog.unreadable import spare_imports, unreadable

__all__ = ["Finding", "examine"]

OLDEST_PYTHON = (3, 11)
TOOLS = {"dev", "docs", "test"}
"""Extras that only developers of idemlab need."""


@dataclass(frozen=True)
class Finding:
    """The result of one examination.

    Args:
        subject: what was examined.
        state: `fine`; `note`, for what may matter; `broken`, for what prevents runs.
        text: what was found.
        fix: what to do, preferably a command; empty if there is nothing to do.
    """

    subject: str
    state: Literal["fine", "note", "broken"]
    text: str
    fix: str = ""


def examine(catalog: Catalog | None = None, runs: str | Path = "runs") -> list[Finding]:
    """Examine everything that a run needs, and say how to fix it. Takes some seconds, because it loads torch.

    Args:
        catalog: defaults to the installed plugins.
        runs: the folder for runs.
    """
    spare_imports()
    return [
        _python(),
        _shadowing(),
        *_packages(),
        *_distributions(),
        *_devices(),
        *_torchvision(),
        *_plugins(or_installed(catalog)),
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
    """Whether a file or folder hides the standard library's module `platform`, which torch needs."""
    subject = "module 'platform'"
    standard = Path(sysconfig.get_paths()["stdlib"]).resolve()
    for folder in [Path.cwd(), *(Path(entry or ".") for entry in sys.path)]:
        if folder.resolve() == standard:
            continue
        for hiding in (folder / "platform.py", folder / "platform" / "__init__.py"):
            if hiding.is_file():
                return Finding(
                    subject, "broken", f"{hiding} hides the standard library's", "rename it, or work in another folder"
                )
    return Finding(subject, "fine", "the standard library's")


# -- packages -----------------------------------------------------------------------------------------------------------


def _requirements(extra: str = "") -> list[Requirement]:
    """The requirements of idemlab on this machine, or those that one of its extras adds."""
    found = [Requirement(line) for line in requires("idemlab") or []]
    if not extra:
        return [each for each in found if each.marker is None or each.marker.evaluate({"extra": ""})]
    marked = [each for each in found if each.marker is not None and not each.marker.evaluate({"extra": ""})]
    return [each for each in marked if each.marker is not None and each.marker.evaluate({"extra": extra})]


def _packages() -> Iterator[Finding]:
    fine = []
    for needed in _requirements():
        found = installed_version(needed.name)
        fix = f"pip install '{needed.name}{needed.specifier}'"
        if found is None:
            yield Finding(needed.name, "broken", "not installed", fix)
        elif found == "?":
            yield Finding(needed.name, "broken", "its installation is damaged: no version is recorded", fix)
        elif not needed.specifier.contains(found, prereleases=True):
            yield Finding(needed.name, "broken", f"{found} is installed, but {needed.specifier} is needed", fix)
        else:
            fine.append(f"{needed.name} {found}")
    yield Finding("packages", "fine", ", ".join(fine))


def _distributions() -> Iterator[Finding]:
    """The distributions at which every package fails that scans entry points."""
    for each in unreadable():
        text = f"{each.what} ({each.file}); packages that search for their extensions, such as datasets, fail because of it"
        yield Finding(f"distribution {each.name}", "broken", text, each.fix)


def _extras() -> Iterator[Finding]:
    """The optional dependencies that are missing."""
    for extra in metadata("idemlab").get_all("Provides-Extra") or []:
        missing = [each.name for each in _requirements(extra) if installed_version(each.name) is None]
        if missing and extra not in TOOLS:
            text = f"{', '.join(missing)} not installed"
            yield Finding(f"optional: {extra}", "note", text, f"pip install 'idemlab[{extra}]'")


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
        yield Finding("Accelerate", "broken", _one_line(error), "check the launcher's configuration: accelerate env")
        return
    processes = f"{state.num_processes} process" + "es" * (state.num_processes > 1)
    yield Finding("Accelerate", "fine", f"a run trains on {state.device}, in {processes}")


def _torchvision() -> Iterator[Finding]:
    """Whether a plain import of torchvision works: it fails for a CUDA wheel beside a CPU build of torch. The import runs in
    a new process, since plugins may have repaired it in this one."""
    if installed_version("torchvision") is None:
        return
    done = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        yield Finding(
            "torchvision",
            "note",
            f"a plain 'import torchvision' fails ({said}); idemlab's own data sets work nevertheless, other code may not",
            f"install the build that fits torch {installed_version('torch')}: pytorch.org/get-started",
        )


# -- plugins ------------------------------------------------------------------------------------------------------------


def _plugins(catalog: Catalog) -> Iterator[Finding]:
    for failure in catalog.failures:
        yield Finding(f"plugin {failure.plugin.name}", "broken", f"{failure.plugin}: {failure.cause}", failure.fix)
    for plugin in catalog.plugins:
        if _imports_torch(plugin.module):
            yield Finding(
                f"plugin {plugin.name}",
                "note",
                f"{plugin}: its hook module imports torch, which slows down every listing",
                f"import torch inside the factories of {plugin.module}",
            )
    loaded = ", ".join(f"{plugin.distribution}:{plugin.name}" for plugin in catalog.plugins)
    yield Finding("plugins", "fine" if loaded else "note", loaded or "none is loaded", "" if loaded else _no_plugins())


def _no_plugins() -> str:
    return "unset IDEMLAB_PLUGINS" if "IDEMLAB_PLUGINS" in os.environ else "pip install --force-reinstall idemlab"


def _imports_torch(entry: str) -> bool:
    """Whether importing a hook module in a fresh process imports torch."""
    module = entry.partition(":")[0]
    code = f"import sys, importlib; importlib.import_module({module!r}); print('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    return done.stdout.split()[-1:] == ["True"]


# -- the place for runs -------------------------------------------------------------------------------------------------


def _folder(runs: Path) -> Finding:
    """Whether a run could be written."""
    nearest = next(folder for folder in [runs.absolute(), *runs.absolute().parents] if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        return Finding("folder for runs", "broken", f"{runs}: {error.strerror}", "choose another folder for runs")
    return Finding("folder for runs", "fine", f"{runs} can be written")


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
