"""What lies at a path: a folder of images, of images with a table or in archives, or of Parquet files."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
from datasets.data_files import DataFilesList
from datasets.utils.file_utils import xlistdir

from idemlab import IMAGE_SUFFIXES, BadInput, Dataset

from .folders import SPLITS, LeftOut, Tree, folder_dataset, split_by_folder, walk
from .labels import short

__all__ = ["Opened", "open_local"]

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_ARCHIVES = (".zip",)
_TABLES = {".parquet": "parquet", ".arrow": "arrow"}
_PART_OF_SPLIT = re.compile(rf"({'|'.join(SPLITS)})(-\d{{5}}-of-\d{{5}})?")
"""How a file of one split is named: "test", or as the hub does, "test-00000-of-00002"."""


@dataclass(frozen=True)
class Opened:
    """The result of opening files with `datasets`.

    Args:
        splits: `datasets.Dataset` by name.
        folders: those that images may lie in.
        notes: sentences on what was understood.
    """

    splits: Mapping[str, Any]
    folders: list[Path]
    notes: list[str] = field(default_factory=list)


def open_local(path: Path, config: str | None, size: int | None, channels: int) -> Dataset | Opened:
    """A folder of images as a data set; a table of images as the splits that it has.

    Raises:
        BadInput: if there is nothing to read, or what there is has no one meaning.
        Exception: what `datasets` raises.
    """
    if not path.exists():
        raise BadInput(
            f"there is no file or folder {path}", expected="a folder of images or Parquet files, or a Parquet file"
        )
    if not path.is_dir():
        kind = _TABLES.get(path.suffix.lower(), "parquet")
        _refuse_config(config, path)
        return Opened(_load(kind, {"train": [path]}), [path.parent])
    left_out = LeftOut(path)
    files = walk(path, left_out)
    images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    metadata = [file for file in files if file.name in _METADATA]
    archives = [file for file in files if file.suffix.lower() in _ARCHIVES]
    tables = [file for file in files if file.suffix.lower() in _TABLES and file not in metadata]
    if not images and not archives and tables:
        return _tables(path, config, files, tables, left_out)
    _refuse_config(config, path)
    if images and tables:
        raise BadInput(
            f"{path} holds images ({short(images[0].name)}, ...) and tables ({short(tables[0].name)}, ...)",
            expected="a folder of images, or of Parquet files",
            next_step="give the table as 'path', or move one kind to a folder of its own",
        )
    _check_archives(archives)
    used = {*images, *metadata, *archives}
    left_out.add("no images by their endings", *(file for file in files if file not in used))
    if metadata or archives:
        return _with_metadata(path, sorted(used), bool(metadata), left_out)
    if not images:
        raise BadInput(
            f"there are no images in {path}",
            expected=f"files ending in {', '.join(sorted(IMAGE_SUFFIXES))}, or Parquet files",
            next_step="give the path of a folder with images",
        )
    return folder_dataset(path, images, left_out, size, channels)


def _check_archives(archives: list[Path]) -> None:
    """Raise BadInput that names the first archive whose list of files cannot be read."""
    broken: dict[Path, str] = {}
    for archive in archives:
        try:
            xlistdir(f"zip://::{archive.resolve()}")
        except Exception as error:  # whatever the readers of archives raise
            broken[archive] = f"{type(error).__name__}: {error}"
    if broken:
        first, reason = next(iter(broken.items()))
        others = f"; the same holds for {len(broken) - 1} more" if len(broken) > 1 else ""
        raise BadInput(
            f"the archive cannot be read: {reason}{others}",
            where=str(first),
            expected="zip archives of images: those in a folder are part of the data set",
            next_step="replace it, or move it out of the folder",
        )


def _refuse_config(config: str | None, path: Path) -> None:
    if config is not None:
        raise BadInput(
            f"{path} has no configurations, so there is no '{config}'",
            expected="'config' with a name on the hub, or with a folder whose README.md lists its configurations",
            next_step="leave 'config' out",
        )


def _load(kind: str, splits: Mapping[str, list[Path]]) -> Any:
    """Let `datasets` read files of one format. Each is named, so that it looks for no patterns in their names."""
    files = {
        name: DataFilesList([str(path.resolve()) for path in paths], [_state(path) for path in paths])
        for name, paths in splits.items()
    }
    return datasets.load_dataset(kind, data_files=files)


def _state(path: Path) -> tuple[str, str, str]:
    """What tells a changed file from the one in the cache."""
    found = path.stat()
    return str(path), str(found.st_mtime_ns), str(found.st_size)


def _tables(path: Path, config: str | None, files: list[Path], tables: list[Path], left_out: LeftOut) -> Opened:
    readme = path / "README.md"
    if readme in files and re.search(r"^configs:", readme.read_text(encoding="utf-8", errors="replace"), re.MULTILINE):
        return Opened(
            datasets.load_dataset(os.fspath(path.resolve()), config), [path], ["splits as README.md declares them"]
        )
    _refuse_config(config, path)
    suffix = tables[0].suffix.lower()
    others = [table for table in tables if table.suffix.lower() != suffix]
    left_out.add(f"no {suffix} files", *(file for file in files if file not in tables), *others)
    chosen = [table for table in tables if table not in others]
    tree = split_by_folder(path, chosen, left_out)
    parts = [_PART_OF_SPLIT.fullmatch(table.name.removesuffix(table.suffix)) for table in chosen]
    if "" in tree.splits and all(parts):
        named = [part[1] for part in parts if part]
        splits = {
            name: [table for table, own in zip(chosen, named, strict=True) if own == name]
            for name in SPLITS
            if name in named
        }
        tree = Tree(tree.top, splits, tree.notes)
    return Opened(
        _load(_TABLES[suffix], {name or "train": paths for name, paths in tree.splits.items()}),
        [path],
        [*tree.notes, *left_out.sentences],
    )


def _with_metadata(path: Path, files: list[Path], is_listed: bool, left_out: LeftOut) -> Opened:
    """Images that a metadata file lists with what is known of them, or that lie in archives."""
    tree = split_by_folder(path, files, left_out)
    splits = _load("imagefolder", {name or "train": paths for name, paths in tree.splits.items()})
    if is_listed:
        _tell_unlisted(splits, [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES], left_out)
    return Opened(splits, [path], [*tree.notes, *left_out.sentences])


def _tell_unlisted(splits: Mapping[str, Any], images: list[Path], left_out: LeftOut) -> None:
    """Images that no metadata file names are not used."""
    listed = set()
    for rows in splits.values():
        for name, feature in rows.features.items():
            if isinstance(feature, datasets.Image):
                cells = rows.select_columns([name]).cast_column(name, datasets.Image(decode=False))
                listed |= {cell["path"] for cell in cells[name] if cell is not None}
    left_out.add("listed in no metadata file", *(path for path in images if str(path.resolve()) not in listed))
