"""A spec together with its plugin and distribution."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..contracts.specs import Spec

__all__ = ["Plugin", "PluginFailure", "Provided"]


@dataclass(frozen=True)
class Plugin:
    """One entry point of the group `idemlab`, and its distribution."""

    name: str
    distribution: str
    version: str
    module: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}, plugin '{self.name}'"

    @property
    def package(self) -> str:
        """The package or module that contains its code."""
        return re.split("[.:]", self.module)[0]

    @property
    def remedy(self) -> str:
        """What to do about a fault in its code."""
        return f"report it to the authors of {self.distribution}"


@dataclass(frozen=True)
class PluginFailure:
    """A plugin, or one thing in it, that could not be used."""

    plugin: Plugin
    cause: str
    fix: str


@dataclass(frozen=True)
class Provided:
    """A spec and the plugin that offers it."""

    spec: Spec
    plugin: Plugin

    @property
    def full_name(self) -> str:
        """`distribution:name`, which stays unique when two plugins offer one name."""
        return f"{self.plugin.distribution}:{self.spec.name}"
