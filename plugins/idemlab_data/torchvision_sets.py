"""Any image data set of torchvision, by the name of its class."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from idemlab import BadInput, Dataset, Failure, Picture, nearest_match, read_image

from .images import LazyImages, counted, fixed_share, image_dataset
from .labels import Labels, NoClass, class_key, count_classes
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

    def __init__(
        self, rows: Any, indices: list[int], title: str, channels: int, size: int | None, labels: Tensor | None
    ) -> None:
        self._rows, self._indices, self._title = rows, indices, title
        super().__init__(channels, size, labels)

    def __len__(self) -> int:
        return len(self._indices)

    def name(self, index: int) -> str:
        return f"{self._indices[index]} of {self._title}"

    def picture(self, index: int) -> Picture:
        try:
            row = self._rows[self._indices[index]]
        except Exception as error:  # torchvision opens files itself, and passes on whatever that raises
            raise BadInput(
                f"cannot be read: {type(error).__name__}: {error}",
                where=self.name(index),
                next_step="replace or remove the file",
            ) from error
        picture = row[0] if isinstance(row, tuple) else row
        if not isinstance(picture, Image.Image):
            raise BadInput(
                f"{self._title} gives {type(picture).__name__}, not images",
                next_step="choose a data set of images",
            )
        return read_image(picture, name=self.name(index), channels=self.channels, size=self.size)


def torchvision_dataset(dataset: str, root: str | Path, size: int | None, channels: int, download: bool) -> Dataset:
    """Images of a class of `torchvision.datasets`. Small sets are kept in memory, large ones decoded as needed.

    The test split is the class's own (`train=False`, or the split "test", else "val"), else every tenth image, at least two.

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
    labels, note = _labels(parts)
    train, test = (
        TorchvisionImages(rows, indices, title, channels, size, numbers)
        for (rows, indices), numbers in zip(parts, labels.numbers if labels else (None, None), strict=True)
    )
    own = "of its own test split" if len(splits) > 1 else "(every tenth, at least two)"
    division = f"{counted(len(train), 'image')} of {title} to train on, {len(test)} {own} to test on"
    return image_dataset(train, test, labels, [division, *note])


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


def _labels(parts: list[tuple[Any, list[int]]]) -> tuple[Labels | None, list[str]]:
    """The classes, where the sets keep one for each of their images; else why there are none."""
    keys = []
    for rows, indices in parts:
        kept = [getattr(rows, name) for name in ("targets", "labels", "_labels") if hasattr(rows, name)]
        targets = kept[0].tolist() if kept and hasattr(kept[0], "tolist") else kept[0] if kept else None
        if not isinstance(targets, list | tuple) or len(targets) != len(rows):
            return None, ["no classes: the set keeps no label for each of its images"]
        try:
            keys.append([class_key(targets[index]) for index in indices])
        except NoClass as fault:
            return None, [f"no classes: there is a label that {fault}"]
    return count_classes(keys), []
