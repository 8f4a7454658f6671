"""The index of known plugins, read from the files `known_plugins.toml` in installed plugin packages."""

from __future__ import annotations

import sys
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from ..contracts.specs import KINDS
from ..errors import IdemlabError
from . import schema
from .catalog import Catalog, or_installed
from .distributions import installed_version

__all__ = ["FILE", "Index", "KnownPlugin", "known_plugins"]

FILE = "known_plugins.toml"

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Line = Annotated[str, StringConstraints(pattern=r"^\S.{8,98}\S$")]


def _kinds(offers: dict[str, list[str]]) -> dict[str, list[str]]:
    for kind in offers:
        if kind not in KINDS:
            raise ValueError(f"there is no kind '{kind}', only {', '.join(KINDS)}")
    if not offers or not all(offers.values()):
        raise ValueError("name something under each kind")
    return offers


class KnownPlugin(BaseModel):
    """One plugin of the index, a table `[[plugin]]` of the file.

    Args:
        name: of the distribution.
        offers: names by kind, for instance `{ enforcer = ["shrink"] }`.
        summary: one line.
        install: the command that installs it.
        home: address of its documentation, or "".
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    offers: Annotated[dict[str, list[Name]], AfterValidator(_kinds)]
    summary: Line
    install: Annotated[str, StringConstraints(pattern=r"^pip install \S+")]
    home: str = ""

    @property
    def installed(self) -> str | None:
        """The version that is installed, or None."""
        return installed_version(self.name)


@dataclass(frozen=True)
class Index:
    """All known plugins.

    Args:
        plugins: by name.
        failures: tables that could not be read, one message each.
    """

    plugins: tuple[KnownPlugin, ...]
    failures: tuple[str, ...]


def known_plugins(catalog: Catalog | None = None) -> Index:
    """The known plugins of all indexes. If several name a plugin, the first wins; an invalid table affects no other."""
    found: dict[str, KnownPlugin] = {}
    failures: list[str] = []
    for plugin in {plugin.package: plugin for plugin in or_installed(catalog).plugins}.values():
        if not hasattr(sys.modules.get(plugin.package), "__path__"):  # a single module carries no files
            continue
        file = files(plugin.package) / FILE
        if not file.is_file():
            continue
        try:
            tables = tomllib.loads(file.read_text(encoding="utf-8")).get("plugin", [])
            if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
                raise ValueError("it holds no tables [[plugin]]")
        except ValueError as error:
            failures.append(f"{FILE} of {plugin} cannot be read: {error}")
            continue
        for number, table in enumerate(tables, start=1):
            try:
                known = _checked(table, f"{FILE} of {plugin}, plugin {number}")
            except IdemlabError as error:
                failures.append(f"{error.where}: {error.what}")
            else:
                found.setdefault(known.name, known)
    return Index(tuple(found[name] for name in sorted(found)), tuple(failures))


def _checked(table: dict[str, Any], where: str) -> KnownPlugin:
    owner = f"known plugin '{table.get('name', '?')}'"
    known: KnownPlugin = schema.checked(KnownPlugin, table, where, owner, "")
    return known
