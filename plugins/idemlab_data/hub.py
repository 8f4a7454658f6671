"""Any image data set that Hugging Face `datasets` opens: a name on the hub, a folder of images, Parquet files."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub.constants
from datasets.exceptions import DatasetNotFoundError
from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES
from datasets.utils.file_utils import xopen
from torch import Tensor

from idemlab import BadInput, Dataset, Failure, IdemlabError, Picture, nearest_match, read_image

from .folders import division, used_splits
from .images import LazyImages, counted, fixed_share, image_dataset, is_inside
from .labels import Labels, count_classes, short
from .local import Opened, open_local
from .rows import Incomplete, whole_rows

__all__ = ["hub_dataset"]

_LABELS = ("label", "labels", "class", "classes", "category", "target")
"""Columns of these names probably hold the classes."""
_LISTED = 8
"""Up to so many columns are listed."""
_LOCAL_SIGNS = ("/", ".", "~")


class HubImages(LazyImages):
    """The images of one column; cells hold encoded bytes, the path of a file, or "zip://FILE::ARCHIVE".

    Args:
        rows: a `datasets.Dataset` whose image column is not decoded by `datasets`.
        indices: which of its rows.
        column: the image column.
        folders: nothing outside of them is read.
        title: of the set, for messages.
    """

    def __init__(
        self,
        rows: Any,
        indices: list[int],
        column: str,
        folders: list[Path],
        title: str,
        channels: int,
        size: int | None,
        labels: Tensor | None,
    ) -> None:
        self._rows, self._indices, self._column = rows.select_columns([column]), indices, column
        self._folders, self._title = folders, title
        super().__init__(channels, size, labels)

    def __len__(self) -> int:
        return len(self._indices)

    def name(self, index: int) -> str:
        path = self._cell(index)["path"]
        return f"row {self._indices[index]} of {self._title}" + (f" ({path})" if path else "")

    def picture(self, index: int) -> Picture:
        name, cell = self.name(index), self._cell(index)
        if cell["bytes"] is not None:
            return self._read(io.BytesIO(cell["bytes"]), name)
        member, _, file = cell["path"].rpartition("::")
        if "://" in file or not any(is_inside(Path(file), folder) for folder in self._folders):
            raise BadInput(
                f"the image lies outside of {', '.join(map(str, self._folders))}",
                where=name,
                next_step="copy it there, or put the images themselves into the table",
            )
        return self._read(self._member(cell["path"], name) if member else Path(file), name)

    def _cell(self, index: int) -> Any:
        """The cell of the image column; tables that are not whole fail in as many ways as there are formats."""
        try:
            return self._rows[self._indices[index]][self._column]
        except Exception as error:
            raise BadInput(
                f"row {self._indices[index]} cannot be read: {_reason(error)}",
                where=self._title,
                next_step="replace the file",
            ) from error

    def _member(self, path: str, name: str) -> io.BytesIO:
        """The bytes of a file in an archive."""
        try:
            with xopen(path, "rb") as file:
                return io.BytesIO(file.read())
        except Exception as error:  # whatever the readers of archives raise
            raise BadInput(
                f"cannot be read from its archive: {_reason(error)}", where=name, next_step="replace the archive"
            ) from error

    def _read(self, file: Path | io.BytesIO, name: str) -> Picture:
        return read_image(file, name=name, channels=self.channels, size=self.size)


def hub_dataset(
    path: str,
    *,
    config: str | None = None,
    image: str | None = None,
    label: str | None = None,
    size: int | None = None,
    channels: int = 3,
    incomplete: Incomplete = "refuse",
    offline: str = "a folder of images or a Parquet file can be given as 'path'",
) -> Dataset:
    """A data set of images. Small ones are kept in memory, large ones decoded as needed.

    The test split is the one of that name, else a validation split, else every tenth image, at least two.

    Args:
        path: name on the hub, folder, or Parquet file.
        config: of the set, where it has several.
        image, label: columns; by default the first one of images and the first one of classes. No labels if `label` is "".
        size: side of the square to which images are cropped and scaled.
        channels: 1 or 3.
        incomplete: what becomes of rows without an image, or without one class: "refuse" or "leave out".
        offline: what can be done without a network.

    Raises:
        BadInput: if there is no such set, configuration, column, or if an image or a label is damaged or missing.
        Failure: if the hub cannot be reached.
    """
    local = Path(path).expanduser()
    is_local = local.exists() or path.startswith(_LOCAL_SIGNS) or local.suffix == ".parquet"
    if not is_local:
        places = [Path(datasets.config.HF_DATASETS_CACHE), Path(huggingface_hub.constants.HF_HUB_CACHE)]
        opened = Opened(_load_hub(path, config, offline), places)
        return _tabular(opened, path, image, label, size, channels, incomplete)
    _quiet()
    try:
        opened_or_set = open_local(local, config, size, channels)
        if isinstance(opened_or_set, Dataset):
            return opened_or_set
        return _tabular(opened_or_set, path, image, label, size, channels, incomplete)
    except IdemlabError:
        raise
    except Exception as error:  # whatever the readers of some twenty formats raise
        raise BadInput(
            f"{path} cannot be read as a data set: {_reason(error)}",
            expected="a folder of images or Parquet files, or a Parquet file",
            next_step="correct 'path' or 'config', or replace the damaged file",
        ) from error


def _tabular(
    opened: Opened,
    path: str,
    image: str | None,
    label: str | None,
    size: int | None,
    channels: int,
    incomplete: Incomplete,
) -> Dataset:
    """A data set of the splits of a table."""
    splits: Mapping[str, Any] = opened.splits
    train_name, test_name = used_splits(list(splits))
    features = splits[train_name].features
    asked = label
    image, label = _columns(features, image, label, path)
    unused = [name for name in features if name not in (image, label)]
    names = [train_name] if test_name is None else [train_name, test_name]
    rows = {name: splits[name].cast_column(image, datasets.Image(decode=False)) for name in names}
    kept = {name: whole_rows(rows[name], image, label, f"{path}, split {name}", incomplete) for name in names}
    if test_name is None:
        shares = fixed_share(len(kept[train_name].indices))
        parts = [(train_name, kept[train_name].part(share)) for share in shares]
    else:
        parts = [(name, kept[name]) for name in names]
    labels: Labels | None = None
    if label is not None:
        labels = count_classes([part.classes for _, part in parts], kept[train_name].names)
    train, test = (
        HubImages(rows[name], part.indices, image, opened.folders, f"{path}, split {name}", channels, size, numbers)
        for (name, part), numbers in zip(parts, labels.numbers if labels else (None, None), strict=True)
    )
    notes = [division(train_name, len(train), test_name, len(test)), *opened.notes]
    notes += [f"left out: split '{name}', {counted(len(splits[name]), 'row')}" for name in splits if name not in names]
    if unused:
        notes.append(_unused(unused, is_open=label is None and asked is None))
    notes += [sentence for each in kept.values() for sentence in each.left_out]
    return image_dataset(train, test, labels, notes)


def _load_hub(name: str, config: str | None, offline: str) -> Any:
    if name in _PACKAGED_DATASETS_MODULES:  # it would read whatever lies in the working folder, pickles with 'pandas'
        raise BadInput(
            f"'{name}' is a file format, not a data set",
            expected="a name on the hub (owner/name), a folder, or a Parquet file",
            next_step="give the folder that holds the files as 'path'",
        )
    _quiet()
    try:
        return datasets.load_dataset(name, config)
    except DatasetNotFoundError as error:
        raise BadInput(
            f"the hub has no data set '{name}' that you may read: {_reason(error)}",
            expected="a name on the hub (owner/name), a folder, or a Parquet file",
            next_step=f"correct the name, or log in with 'hf auth login' if it is gated; {offline}",
        ) from error
    except ValueError as error:
        raise BadInput(f"the data set '{name}': {_reason(error)}", next_step="correct 'config'") from error
    except (
        Exception
    ) as error:  # the network fails in many ways: ConnectionError, OSError, the errors of the HTTP client
        raise Failure(
            f"the data set '{name}' cannot be fetched from the hub: {_reason(error)}",
            next_step=f"check the network, or {offline}",
        ) from error


def _reason(error: Exception) -> str:
    """An error in one line, cut where it is long."""
    cause: BaseException = error
    while cause.__cause__ is not None:  # `datasets` hides what went wrong under "An error occurred while generating"
        cause = cause.__cause__
    text = " ".join(f"{type(cause).__name__}: {cause}".split())
    return text if len(text) <= 400 else f"{text[:400]}..."


def _quiet() -> None:
    """Progress bars on a terminal only."""
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()


def _unused(columns: list[str], *, is_open: bool) -> str:
    """The sentence on columns that are not used; `is_open` if one of them may hold the classes."""
    named = ", ".join(short(name) for name in columns[:_LISTED])
    more = f" and {len(columns) - _LISTED} more" if len(columns) > _LISTED else ""
    several = "s" if len(columns) > 1 else ""
    sentence = f"not used: the column{several} {named}{more}"
    if not is_open:
        return sentence
    likely = next((name for name in columns if name.lower() in _LABELS), None)
    return sentence + (
        f"; no classes, since 'label' is not set: label = \"{short(likely)}\" takes them from that column"
        if likely
        else "; no classes, since 'label' is not set to the column that holds them"
    )


def _columns(features: Any, image: str | None, label: str | None, path: str) -> tuple[str, str | None]:
    """The columns of images and of classes: as given, else the first of its type."""
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    if not images or image not in (None, *images):
        raise BadInput(
            f"{path} has no column of images" + (f" '{image}'" if images else ""),
            choices=images or list(features),
            nearest=nearest_match(image, images) if image else None,
            next_step="set 'image'" if images else "give a data set of images",
        )
    if label and label not in features:
        raise BadInput(
            f"{path} has no column '{label}'",
            choices=list(features),
            nearest=nearest_match(label, features),
            next_step="correct 'label', or leave it out",
        )
    classes = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    return image or images[0], (None if label == "" else label or next(iter(classes), None))
