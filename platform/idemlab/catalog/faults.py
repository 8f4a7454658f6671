"""Whose fault an error is: the plugin whose code it came through."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from traceback import walk_tb

from .provided import Plugin

__all__ = ["author", "one_line", "running"]


def author(module: str, plugins: Iterable[Plugin]) -> Plugin | None:
    """The plugin that a module of this dotted name belongs to, by its package."""
    package = module.partition(".")[0]
    return next((plugin for plugin in plugins if plugin.package == package), None)


def running(error: BaseException, plugins: Iterable[Plugin]) -> list[tuple[Plugin, str]]:
    """The plugins whose code an error came through, from the one that raised outwards, each with its file and line."""
    plugins, found = list(plugins), dict[Plugin, str]()
    for frame, line in reversed(list(walk_tb(error.__traceback__))):
        plugin = author(frame.f_globals.get("__name__", ""), plugins)
        if plugin is not None:
            found.setdefault(plugin, f"{PurePath(frame.f_code.co_filename).name}, line {line}")
    return list(found.items())


def one_line(error: BaseException) -> str:
    """The kind of an error and what it says, without line breaks."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
