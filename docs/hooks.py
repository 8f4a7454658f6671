"""What the site needs beyond Markdown: formulas become MathML, and pictures of the records join the pages.

Both happen when the site is built, so that a reader's browser fetches nothing from elsewhere and no picture is stored twice.
"""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

RECORDS = "registry/idemlab_registry/records"
"""Where the pictures are, from the root of the repository."""

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', flags=re.DOTALL)
_PICTURE = re.compile(rf"\]\(\.\./({RECORDS}/[^)]+\.(?:png|svg))\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add each picture of a record that a page shows."""
    root = Path(config.config_file_path).parent
    for page in files.documentation_pages():
        for picture in dict.fromkeys(_PICTURE.findall(page.content_string)):
            if files.get_file_from_path(picture) is None:
                files.append(File.generated(config, picture, abs_src_path=str(root / picture)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to those pictures lead from docs/ to the repository in the source, and stay inside the site when it is built."""
    return _PICTURE.sub(r"](\1)", markdown)


def on_page_content(html: str, page: Page, **_: Any) -> str:
    """Typeset the formulas of a page."""
    return _FORMULA.sub(lambda match: mathml(match[2], match[1] == "div", page.file.src_uri), html)


def mathml(formula: str, block: bool, page: str) -> str:
    """One formula in TeX as MathML, which browsers draw themselves.

    Raises:
        PluginError: where a command is not known, which would otherwise stand in the formula as it was written.
    """
    tex = unescape(formula).strip()
    done: str = convert(tex, display="block" if block else "inline")
    if "\\" in done or "<mi>&</mi>" in done:
        raise PluginError(f"{page}: the formula '{tex}' has a command that latex2mathml does not know")
    return f'<div class="formula">{done}</div>' if block else done
