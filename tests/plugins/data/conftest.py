"""Folders of small images to open, the cache of `datasets`, and the tables of docs/data.md."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

DOCS = Path(__file__).parents[3] / "docs" / "data.md"


def _png(value: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("L", (4, 4), value).save(file, "PNG")
    return file.getvalue()


@dataclass(frozen=True)
class Folder:
    """A folder to fill. It exists from the first file on.

    Args:
        path: of the folder.
    """

    path: Path

    def put(self, name: str, content: bytes | str = b"") -> Path:
        """Write a file, by default a black image."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content or _png())
        return path

    def images(self, **counts: int) -> None:
        """Write so many images 00.png, 01.png, ... of grey 0, 1, ... into each subfolder. `__` in the name of a subfolder
        stands for `/`, and `top` for the folder itself."""
        for place, count in counts.items():
            inner = "." if place == "top" else place.replace("__", "/")
            for number in range(count):
                self.put(f"{inner}/{number:02d}.png", _png(number))

    def archive(self, name: str, count: int) -> Path:
        """Write a zip archive of such images."""
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as packed:
            for number in range(count):
                packed.writestr(f"{number:02d}.png", _png(number))
        return self.put(name, file.getvalue())

    def table(self, name: str, count: int, label: Any = None) -> Path:
        """Write a Parquet file with a column of such images, and one of labels if there are any."""
        import datasets
        import pyarrow as pa
        from pyarrow import parquet

        cells = [{"bytes": _png(number), "path": None} for number in range(count)]
        rows = datasets.Dataset.from_dict({"image": cells}, features=datasets.Features({"image": datasets.Image()}))
        columns = rows.data.table
        if label is not None:
            columns = columns.append_column("label", label if isinstance(label, pa.Array) else pa.array(label))
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(columns, path)
        return path


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """The folder `set` of the test, to fill."""
    return Folder(tmp_path / "set")


@pytest.fixture
def png() -> Callable[..., bytes]:
    """A function that gives a PNG file of 4 x 4 pixels of one grey."""
    return _png


@pytest.fixture
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """`datasets` keeps its cache in a folder of the test."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("hf"))


@pytest.fixture
def rules() -> Callable[[str], list[str]]:
    """A function that gives the first cells of the rows of the table under a heading of docs/data.md."""

    def read(heading: str) -> list[str]:
        section = DOCS.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        rows = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| ")]
        return rows[2:] if rows[1:2] == ["---"] else rows[1:]

    return read
