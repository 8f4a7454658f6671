"""Renders the pages: one frame, one style sheet, and scripts that are allowed by their hashes, so that no others can run."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from .. import __version__
from ..errors import BadInput
from ..wording import number, percent, time_span

__all__ = ["COLOURS", "Drawing", "check_target", "link", "render"]

COLOURS = {"genuine": "genuine", "identity": "same", "finished": "open", "running": "open", "not finished": "open"}
"""Classes of the badges of verdicts and states; all others warn."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure of a page, which can be enlarged there.

    Args:
        alt: text for readers who cannot see it.
        caption: what to look at, in a sentence or two.
        panels: SVG of each panel.
        headings: headings of the columns of strips.
        strips: label of a row -> data URI of the image in each column, in place of panels.
        legend: label of a row or line -> what it shows.
    """

    alt: str
    caption: str
    panels: tuple[str, ...] = ()
    headings: tuple[str, ...] = ()
    strips: Mapping[str, Sequence[str]] = field(default_factory=dict)
    legend: Mapping[str, str] = field(default_factory=dict)


def render(template: str, *, scripts: Sequence[str] = (), **values: Any) -> str:
    """A self-contained page. Everything in `values` is text, unless the template says otherwise.

    Args:
        template: file in `templates`, which extends `frame.html.j2`.
        scripts: files in `templates` that the page runs.
    """
    texts = [_text(name) for name in scripts]
    hashes = " ".join(f"'sha256-{_hash(text)}'" for text in texts)
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'" + (
        f"; script-src {hashes}" if texts else ""
    )
    page: str = (
        _environment()
        .get_template(template)
        .render(style=_text("style.css"), scripts=texts, policy=policy, version=__version__, **values)
    )
    return page


def check_target(path: Path) -> None:
    """Check that a page can have this name, before anything is read or drawn for it.

    Raises:
        BadInput: if it does not end in .html, or is a folder.
    """
    if path.suffix.lower() not in (".html", ".htm") or path.is_dir():
        raise BadInput(f"'{path}' is not a file name for a page", expected="a file that ends in .html")


def link(file: Path, page: Path) -> str:
    """The way from a page to a file, as a relative URL. The dot keeps a name with a colon from being a scheme."""
    path = os.path.relpath(file.resolve(), page.resolve().parent)
    return "./" + quote(Path(path).as_posix())


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("idemlab", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent, "time_span": time_span}
    return environment


@cache
def _text(name: str) -> str:
    return (files("idemlab") / "templates" / name).read_text(encoding="utf-8").strip()


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
