"""A parsed report, and the experiments whose reports the tests beside this file read. Run by its path (`runpy`)."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

NASTY = "Sorts <script>alert(\"1 & 2\")</script> 'lists'"
IMAGES: dict[str, Any] = {
    "summary": NASTY,
    "dataset": {"name": "gaussian", "shape": [1, 6, 5], "train": 64, "test": 32},
    "model": {"name": "mlp", "width": 8, "depth": 1},
    "enforcer": {"name": "gradient"},
    "training": {"steps": 4, "batch_size": 16, "log_every": 2},
    "evaluation": {
        "every": 2,
        "rank_points": 2,
        "metrics": ["reconstruction-error", "restoration-error"],
        "inputs": {"noise": "gaussian", "corrupted": {"name": "corrupted", "noise": 0.5}},
    },
}
VECTORS = IMAGES | {"dataset": {"name": "sequences", "length": 5, "train": 64, "test": 32}}
SECTIONS = ["pictures", "certificates", "metrics", "curves", "spectrum", "cost", "tables", "experiment", "environment"]
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """A parsed page: tags in order, text by tag, and proof that tags are balanced."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def values(self, *names: str) -> list[str]:
        return [str(attributes[name]) for _, attributes in self.tags for name in names if name in attributes]

    def cells(self, section: str) -> list[list[str]]:
        """Rows of the first table of a section."""
        body = re.search(rf'<section id="{section}">.*?<table>(.*?)</table>', self.source, re.S)
        assert body is not None
        rows = re.findall(r"<tr>(.*?)</tr>", body[1], re.S)
        return [
            [re.sub(r"<.*?>", "", cell) for cell in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row, re.S)] for row in rows
        ]


def change(path: Path, **values: Any) -> None:
    """Change keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def unfinish(run: Path) -> None:
    (run / "certificate.json").unlink()
    (run / "operator.safetensors").unlink()
    metrics = run / "metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:2]))
