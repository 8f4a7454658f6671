"""Any image data set of torchvision, by the name of its class."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from idemlab import BadInput, Dataset, Failure, nearest_match

from .images import LazyImages, decoded, fixed_share, in_memory, reading
from .vision import torchvision_datasets

__all__ = ["torchvision_dataset"]

_REFUSED = frozenset({"VisionDataset", "LSUN", "LSUNClass"})
"""The abstract class, and the sets that unpickle whatever file of a certain name lies in the working folder. Those of CIFAR
are pickles, too, but torchvision reads none whose hash is not the published one."""


class TorchvisionImages(LazyImages):
    """Some rows of a torchvision data set.

    Args:
        rows: indexed, gives (image, class) or the like.
        indices: which of them.
        title: of the set, for messages.
    """

    def __init__(self, rows: Any, indices: list[int], title: str, channels: int, size: int | None) -> None:
        self._rows, self._indices, self._title = rows, indices, title
        super().__init__(channels, size, _labels(rows, indices))

    def __len__(self) -> int:
        return len(self._indices)

    def name(self, index: int) -> str:
        return f"{self._indices[index]} of {self._title}"

    def image(self, index: int) -> Tensor:
        with reading(self.name(index)):
            row = self._rows[self._indices[index]]
        picture = row[0] if isinstance(row, tuple) else row
        if not isinstance(picture, Image.Image):
            raise BadInput(
                f"{self._title} gives {type(picture).__name__}, not images",
                next_step="choose a data set of images",
            )
        with reading(self.name(index)):
            return decoded(picture, self.channels, self.size)


def torchvision_dataset(dataset: str, root: str | Path, size: int | None, channels: int, download: bool) -> Dataset:
    """Images of a class of `torchvision.datasets`. Small sets are kept in memory, large ones decoded when asked for.

    The test split is the class's own (`train=False`, or the split "test", else "val"), else every tenth image.

    Raises:
        BadInput: if there is no such class, it holds no images, is not in `root`, or an image is damaged.
        Failure: if it cannot be downloaded.
    """
    title = f"torchvision's {dataset}"
    maker = _maker(dataset)
    accepted = inspect.signature(maker).parameters
    common: dict[str, Any] = {"root": str(Path(root).expanduser())} if "root" in accepted else {}
    if "download" in accepted or "kwargs" in accepted:
        common["download"] = download
    if dataset == "EMNIST":
        common["split"] = "balanced"
    splits = _splits(maker, accepted, common, title)
    if len(splits) == 1:
        first, second = fixed_share(len(splits[0]))
        parts = [(splits[0], first), (splits[0], second)]
    else:
        parts = [(rows, list(range(len(rows)))) for rows in splits]
    train, test = (TorchvisionImages(rows, indices, title, channels, size) for rows, indices in parts)
    return Dataset(
        train=in_memory(train),
        test=in_memory(test),
        shape=train.shape,
        range=(-1.0, 1.0),
        classes=None if train.labels is None else int(train.labels.max()) + 1,
    )


def _maker(name: str) -> Any:
    module = torchvision_datasets()
    classes = [known for known in module.__all__ if inspect.isclass(getattr(module, known)) and known not in _REFUSED]
    if name not in classes:
        raise BadInput(
            f"torchvision has no data set '{name}'",
            choices=sorted(classes),
            nearest=nearest_match(name, classes),
            next_step="correct 'dataset'",
        )
    return getattr(module, name)


def _splits(maker: Any, accepted: Any, common: dict[str, Any], title: str) -> list[Any]:
    """[train, test], or one set without splits."""
    if "train" in accepted or common.get("split"):
        return [_made(maker, common | {"train": flag}, title) for flag in (True, False)]
    if "split" not in accepted:
        return [_made(maker, common, title)]
    train = _made(maker, common | {"split": "train"}, title)
    for name in ("test", "val"):
        try:
            return [train, _made(maker, common | {"split": name}, title)]
        except BadInput as error:
            refusal = error
    raise refusal


def _made(maker: Any, arguments: dict[str, Any], title: str) -> Any:
    try:
        return maker(**arguments)
    except ModuleNotFoundError:
        raise
    except (TypeError, ValueError) as error:
        raise BadInput(
            f"{title} cannot be made: {error}", next_step="choose another data set, or load it with 'hub'"
        ) from error
    except Exception as error:  # RuntimeError for a missing or damaged set, OSError and its kin for the network
        where = arguments.get("root", "its place")
        if arguments.get("download"):
            raise Failure(
                f"{title} cannot be fetched into {where}: {error}",
                next_step="check the network; without it: the data sets 'digits' and 'faces', or IDX files with 'mnist'",
            ) from error
        raise BadInput(
            f"{title} cannot be read from {where}: {error}",
            next_step="correct 'root', or set download = true to fetch it there",
        ) from error


def _labels(rows: Any, indices: list[int]) -> Tensor | None:
    """Class numbers, where the set keeps them for all its images at once."""
    kept = [getattr(rows, name) for name in ("targets", "labels", "_labels") if hasattr(rows, name)]
    try:
        labels = torch.as_tensor(kept[0])
    except (IndexError, RuntimeError, TypeError, ValueError):  # none, or names, boxes, ...
        return None
    is_classes = labels.shape == (len(rows),) and not labels.is_floating_point()
    return labels.long()[indices] if is_classes else None
