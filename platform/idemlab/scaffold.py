"""Writes a new plugin project that passes its own tests, from the files in `templates/plugin`."""

from __future__ import annotations

import builtins
import json
import keyword
import re
import sys
from collections.abc import Iterator
from datetime import date
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from . import __version__
from .catalog.catalog import Catalog, or_installed
from .catalog.distributions import installed_version, owner_of
from .catalog.known import known_plugins
from .errors import BadInput, Failure, nearest_match
from .wording import with_article

__all__ = ["SCAFFOLDED", "new_plugin"]

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_PREFIX = "idemlab-"
SCAFFOLDED = ("enforcer", "optimizer", "schedule", "tracker")
"""Kinds of which a project can be written."""
_USED = {"hookimpl", "idemlab", *(f"provide_{kind}s" for kind in SCAFFOLDED)}
"""Names that the factory's module already uses."""


def new_plugin(
    name: str, out: str | Path | None = None, *, kind: str = "enforcer", catalog: Catalog | None = None
) -> list[Path]:
    """Write a complete project that offers one thing of a kind, and return its files.

    The distribution and its folder are called `name`. The package has underscores instead of hyphens, and what it offers
    lacks a leading `idemlab-`.

    Args:
        name: lower-case words joined by hyphens.
        out: folder of the project, new or empty. Default: the folder `name`, here.
        kind: `enforcer`, `optimizer`, `schedule` or `tracker`.
        catalog: its names are taken. Default: the installed plugins.

    Raises:
        BadInput: for a name that is malformed, reserved or taken, and for a folder that is not empty.
        Failure: if the folder cannot be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    folder = Path(name if out is None else out)
    if kind not in SCAFFOLDED:
        raise BadInput(
            f"there is no project to write for the kind '{kind}'",
            choices=SCAFFOLDED,
            nearest=nearest_match(kind, SCAFFOLDED),
            next_step="docs/plugins.md has an example of each kind",
        )
    _check_form(name)
    package, enforcer = name.replace("-", "_"), name.removeprefix(_PREFIX)
    _check_reserved(name, package, enforcer, kind)
    _check_taken(name, package, enforcer, kind, or_installed(catalog))
    _check_folder(folder)
    values = {
        "name": name,
        "package": package,
        "kind": kind,
        "enforcer": enforcer,
        "factory": enforcer.replace("-", "_"),
        "cls": "".join(word.capitalize() for word in enforcer.split("-")),
        "series": ".".join(__version__.split(".")[:2]),
        "year": date.today().year,
        "source": _source(),
    }
    templates = Environment(
        loader=PackageLoader("idemlab", "templates/plugin"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # Python and TOML; every value is of letters, digits, hyphens
    )
    written = []
    try:
        for template, place in _files(package, kind):
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            text = templates.get_template(f"{template}.j2").render(values) if template else ""
            path.write_text(text, encoding="utf-8")
            written.append(path)
    except OSError as error:
        raise Failure(
            f"the project cannot be written: {error}", where=str(folder), next_step="choose another `out`"
        ) from error
    return written


def _files(package: str, kind: str) -> Iterator[tuple[str, str]]:
    """(name of the template, "" for an empty file; path in the project)."""
    yield "pyproject.toml", "pyproject.toml"
    yield "README.md", "README.md"
    yield "LICENSE", "LICENSE"
    yield "gitignore", ".gitignore"
    yield "ci.yml", ".github/workflows/ci.yml"
    yield "init.py", f"src/{package}/__init__.py"
    if kind == "enforcer":
        yield "enforcer.py", f"src/{package}/enforcer.py"
    yield "plugin.py" if kind == "enforcer" else f"plugin_{kind}.py", f"src/{package}/plugin.py"
    yield "", f"src/{package}/py.typed"
    yield f"test_{kind}.py", f"tests/test_{kind}.py"


def _source() -> str:
    """Where others can install this idemlab from: its name if it came from a package index, its address if pip installed it
    from one, and "" if it came from a folder of this machine. pip records this with the installed files (PEP 610)."""
    try:
        record = json.loads(distribution("idemlab").read_text("direct_url.json") or "null")
    except (PackageNotFoundError, ValueError):
        return ""
    if record is None:
        return "idemlab"
    url, vcs = str(record.get("url", "")), record.get("vcs_info")
    if not url.startswith("https://"):
        return ""
    return f"{vcs['vcs']}+{url}@{vcs['commit_id']}" if vcs else url


def _check_form(name: str) -> None:
    if _NAME.fullmatch(name):
        return
    words = re.sub(r"[^a-z0-9]+", "-", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()).strip("-0123456789")
    raise BadInput(
        f"'{name}' is not a valid plugin name",
        expected="lower-case words joined by hyphens, a letter first, like 'idemlab-shrink'",
        nearest=words or None,
        next_step=f"idemlab plugins new {words or 'idemlab-shrink'}",
    )


def _check_reserved(name: str, package: str, enforcer: str, kind: str) -> None:
    def refuse(what: str) -> None:
        raise BadInput(what, next_step=f"idemlab plugins new {_another(name)}")

    if package in sys.stdlib_module_names:
        refuse(f"a package '{package}' would hide the module of Python with that name")
    function = enforcer.replace("-", "_")
    if not _NAME.fullmatch(enforcer):
        refuse(f"the {kind} would be called '{enforcer}', but its name must begin with a letter")
    for word in (package, function):
        if keyword.iskeyword(word) or hasattr(builtins, word) or word in _USED:
            refuse(f"Python or idemlab already uses '{word}', so it cannot name a package or function")


def _check_taken(name: str, package: str, enforcer: str, kind: str, catalog: Catalog) -> None:
    owner = _owner(name, package)
    if owner is not None:
        raise BadInput(
            f"there is a package '{package}' already" + (f", of the distribution {owner}" if owner else ""),
            where=sys.prefix,
            next_step=f"idemlab plugins new {_another(name)}",
        )
    for entry in catalog.entries(kind):
        if enforcer in (entry.spec.name, *entry.spec.aliases):
            raise BadInput(
                f"there is {with_article(kind)} '{enforcer}' already",
                where=str(entry.plugin),
                next_step=f"idemlab plugins new {_another(name)}",
            )
    for plugin in known_plugins(catalog).plugins:
        if plugin.name == name or enforcer in plugin.offers.get(kind, ()):
            raise BadInput(
                f"'{name}' could be confused with a known plugin, {plugin.name}: {plugin.summary}",
                next_step=f"{plugin.install}, or: idemlab plugins new {_another(name)}",
            )


def _owner(name: str, package: str) -> str | None:
    """The installed distribution with this name or package; "" if the package belongs to none, None if both are free."""
    owner = name if installed_version(name) is not None else owner_of(package)
    if owner is not None:
        return owner
    spec = find_spec(package)
    # A folder of that name in the working directory looks like a package, but has no file of its own.
    return None if spec is None or spec.origin is None else ""


def _another(name: str) -> str:
    return f"idemlab-my-{name.removeprefix(_PREFIX)}"


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"'{folder}' is a file", expected="a new folder", next_step="choose another `out`")
    if folder.is_dir() and any(folder.iterdir()):
        raise BadInput(
            f"the folder '{folder}' is not empty", expected="a new or empty one", next_step="choose another `out`"
        )
