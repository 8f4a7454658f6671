"""Any image data set that Hugging Face `datasets` opens: a name on the hub, a folder of images, Parquet files."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub.constants
import torch
from datasets.exceptions import DatasetNotFoundError
from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES
from torch import Tensor

from idemlab import BadInput, Dataset, Failure, nearest_match

from .images import LazyImages, decoded, fixed_share, in_memory, is_inside, reading

__all__ = ["hub_dataset"]

_TEST_SPLITS = ("test", "validation", "valid", "val")
_LOCAL_SIGNS = ("/", ".", "~")


class HubImages(LazyImages):
    """The images of one column; rows hold encoded bytes, the path of a file, or "zip://FILE::ARCHIVE".

    Args:
        rows: a `datasets.Dataset` whose image column is not decoded by `datasets`.
        column: the image column.
        folders: nothing outside of them is read.
        title: of the set, for messages.
    """

    def __init__(
        self,
        rows: Any,
        column: str,
        folders: list[Path],
        title: str,
        channels: int,
        size: int | None,
        labels: Tensor | None,
    ) -> None:
        self._rows, self._column, self._folders, self._title = rows, column, folders, title
        super().__init__(channels, size, labels)

    def __len__(self) -> int:
        return len(self._rows)

    def name(self, index: int) -> str:
        path = self._rows[index][self._column]["path"]
        return f"{index} of {self._title}" + (f" ({path})" if path else "")

    def image(self, index: int) -> Tensor:
        cell = self._rows[index][self._column]
        with reading(self.name(index)):
            if cell["bytes"] is not None:
                return decoded(io.BytesIO(cell["bytes"]), self.channels, self.size)
            member, _, file = cell["path"].rpartition("::")
            if "://" in file or not any(is_inside(Path(file), folder) for folder in self._folders):
                raise ValueError(f"it lies outside of {', '.join(map(str, self._folders))}")
            image = datasets.Image().decode_example(cell) if member else Path(file)
            return decoded(image, self.channels, self.size)


def hub_dataset(
    path: str,
    *,
    config: str | None = None,
    image: str | None = None,
    label: str | None = None,
    size: int | None = None,
    channels: int = 3,
    offline: str = "a folder of images or a Parquet file can be given as 'path'",
) -> Dataset:
    """A data set of images. Small ones are kept in memory, large ones decoded when asked for.

    The test split is the one of that name, else a validation split, else every tenth image.

    Args:
        path: name on the hub, folder, or Parquet file.
        config: of the set, where it has several.
        image, label: columns; by default the first one of images and the first one of classes.
        size: side of the square to which images are cropped and scaled.
        channels: 1 or 3.
        offline: what can be done without a network.

    Raises:
        BadInput: if there is no such set, configuration, column, or if an image is damaged.
        Failure: if the hub cannot be reached.
    """
    local = Path(path).expanduser()
    is_local = local.exists() or path.startswith(_LOCAL_SIGNS) or local.suffix == ".parquet"
    splits = _load_local(local, config) if is_local else _load_hub(path, config, offline)
    if is_local:
        folders = [local if local.is_dir() else local.parent]
    else:
        folders = [Path(datasets.config.HF_DATASETS_CACHE), Path(huggingface_hub.constants.HF_HUB_CACHE)]
    names = list(splits)
    test_name = next((name for name in _TEST_SPLITS if name in names and len(names) > 1), None)
    train_name = "train" if "train" in names else next(name for name in names if name != test_name)
    image, label = _columns(splits[train_name].features, image, label, path)

    def images(rows: Any, title: str) -> LazyImages:
        rows = rows.cast_column(image, datasets.Image(decode=False))
        labels = None if label is None else torch.as_tensor(rows.with_format("numpy")[label][:]).long()
        return HubImages(rows, image, folders, title, channels, size, labels)

    if test_name is None:
        train_rows, test_rows = (splits[train_name].select(indices) for indices in fixed_share(len(splits[train_name])))
        test_name = train_name
    else:
        train_rows, test_rows = splits[train_name], splits[test_name]
    train, test = images(train_rows, f"{path}, split {train_name}"), images(test_rows, f"{path}, split {test_name}")
    labels = train.labels
    return Dataset(
        train=in_memory(train),
        test=in_memory(test),
        shape=train.shape,
        range=(-1.0, 1.0),
        classes=None if labels is None else _classes(splits[train_name].features[label], labels),
    )


def _load_local(path: Path, config: str | None) -> Any:
    if not path.exists():
        raise BadInput(
            f"there is no file or folder {path}", expected="a folder of images or Parquet files, or a Parquet file"
        )
    _quiet()
    try:
        if path.is_dir():
            return datasets.load_dataset(str(path.resolve()), config)
        return datasets.load_dataset("parquet", config, data_files=str(path.resolve()))
    except Exception as error:  # whatever the readers of some twenty formats raise
        raise BadInput(
            f"{path} cannot be read as a data set: {_reason(error)}",
            expected="a folder of images or Parquet files, or a Parquet file",
            next_step="correct 'path' or 'config', or replace the damaged file",
        ) from error


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
            f"the hub has no data set '{name}' that may be read: {_reason(error)}",
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
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _quiet() -> None:
    """Progress bars on a terminal only."""
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()


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
    if label is not None and label not in features:
        raise BadInput(
            f"{path} has no column '{label}'",
            choices=list(features),
            nearest=nearest_match(label, features),
            next_step="correct 'label', or leave it out",
        )
    classes = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    return image or images[0], label or next(iter(classes), None)


def _classes(feature: Any, labels: Tensor) -> int:
    return int(feature.num_classes) if isinstance(feature, datasets.ClassLabel) else int(labels.max()) + 1
