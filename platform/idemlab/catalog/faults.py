"""Attribute an error to the plugins whose code it passed through."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from traceback import walk_tb

from .provided import Plugin

__all__ = ["author", "compiling", "one_line", "out_of_memory", "running"]


def author(module: str, plugins: Iterable[Plugin]) -> Plugin | None:
    """The plugin that owns a module, given by its dotted name."""
    package = module.partition(".")[0]
    return next((plugin for plugin in plugins if package and plugin.package == package), None)


def running(error: BaseException, plugins: Iterable[Plugin]) -> list[tuple[Plugin, str]]:
    """The plugins whose code an error passed through, innermost first, each with file and line."""
    plugins, found = list(plugins), dict[Plugin, str]()
    for frame, line in reversed(list(walk_tb(error.__traceback__))):
        plugin = author(frame.f_globals.get("__name__", ""), plugins)
        if plugin is not None:
            found.setdefault(plugin, f"{PurePath(frame.f_code.co_filename).name}, line {line}")
    return list(found.items())


def one_line(error: BaseException) -> str:
    """The type and message of an error, without line breaks."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def compiling(error: BaseException) -> bool:
    """Whether an error comes from torch's compiler, or from the C++ compiler that it calls, not from what it compiles."""
    return type(error).__module__.startswith(("torch._dynamo.", "torch._inductor."))


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had: a plugin that asked for it need not be at fault."""
    if (
        isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    ):  # torch's, which is not imported here
        return True
    return isinstance(error, RuntimeError) and ("allocate memory" in str(error) or "not enough memory" in str(error))
