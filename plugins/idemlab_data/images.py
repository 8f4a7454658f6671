"""From image files to uint8 tensors, in memory where they fit. Every image goes through `idemlab.read_image`."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from idemlab import BadInput, Batch, Dataset, Picture, TensorRows, read_image

from .labels import Labels, short

__all__ = [
    "IN_MEMORY_BYTES",
    "FolderImages",
    "LazyImages",
    "counted",
    "fixed_share",
    "image_dataset",
    "in_memory",
    "is_inside",
]

IN_MEMORY_BYTES = 256 * 2**20
"""Sets that take no more than this as uint8 are decoded once and kept in memory."""


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path, with its links followed, lies in or below the folder."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # links that lead to each other
        return False


class LazyImages(ABC):
    """A map-style set of images that are decoded as needed.

    Args:
        channels: 1 or 3.
        size: of the square to which images are cropped and scaled; None keeps them, and they must all be alike.
        labels: class numbers, one for each image, or None.
    """

    def __init__(self, channels: int, size: int | None, labels: Tensor | None = None) -> None:
        self.channels, self.labels = channels, labels
        self.size = None if size is None else (size, size)
        self.shape: tuple[int, ...] = (channels, *(self.size or self.picture(0).pixels.shape[1:]))

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, index: int) -> str:
        """What the image is called in messages."""

    @abstractmethod
    def picture(self, index: int) -> Picture:
        """One image, read as `channels` and `size` say. Raises BadInput that names it if it cannot be read."""

    def alike(self, index: int) -> Picture:
        """One image, of the shape that all have."""
        picture = self.picture(index)
        if tuple(picture.pixels.shape) != self.shape:
            raise BadInput(
                f"the image {self.name(index)} has the shape {tuple(picture.pixels.shape)}, the first one {self.shape}",
                expected="images of one size, or an argument 'size' to which they are cropped and scaled",
                next_step="set 'size'",
            )
        return picture

    def __getitem__(self, index: int) -> Tensor:
        return self.alike(index).pixels

    def __getitems__(self, indices: list[int]) -> Batch:
        images = torch.stack([self[index] for index in indices])
        return Batch(images, images, label=None if self.labels is None else self.labels[indices])


class FolderImages(LazyImages):
    """Images that are files."""

    def __init__(self, paths: list[Path], channels: int, size: int | None, labels: Tensor | None = None) -> None:
        self._paths = paths
        super().__init__(channels, size, labels)

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, index: int) -> str:
        return os.fsencode(self._paths[index]).decode(errors="replace")

    def picture(self, index: int) -> Picture:
        return read_image(self._paths[index], name=self.name(index), channels=self.channels, size=self.size)


def in_memory(images: LazyImages, changes: dict[str, list[str]] | None = None) -> LazyImages | TensorRows:
    """The same set as one tensor where it is small (`IN_MEMORY_BYTES`), as it is where it is large.

    Args:
        changes: takes what had to be changed about images, and the names of these.
    """
    if len(images) * int(np.prod(images.shape)) > IN_MEMORY_BYTES:
        return images
    rows = torch.empty((len(images), *images.shape), dtype=torch.uint8)
    for index in range(len(images)):
        picture = images.alike(index)
        rows[index] = picture.pixels
        for change in picture.changes if changes is not None else ():
            changes.setdefault(change, []).append(images.name(index))  # type: ignore[union-attr]
    return TensorRows(rows, label=images.labels)


def image_dataset(
    train: LazyImages, test: LazyImages, labels: Labels | None = None, description: Iterable[str] = ()
) -> Dataset:
    """Two sets of images as a data set in [-1, 1], with notes on how the files were read.

    Args:
        labels: the classes of the rows, if they have any.
        description: sentences that come first.

    Raises:
        BadInput: if the sets differ in shape, or an image of a small set cannot be read.
    """
    if train.shape != test.shape:
        raise BadInput(
            f"the image {test.name(0)} has the shape {test.shape}, {train.name(0)} {train.shape}",
            expected="images of one size, or an argument 'size' to which they are cropped and scaled",
            next_step="set 'size'",
        )
    changes: dict[str, list[str]] = {}
    rows = [in_memory(images, changes) for images in (train, test)]
    sentences = [*description, *([labels.sentence] if labels else [])]
    for change, names in changes.items():
        sentences.append(f"{counted(len(names), 'image')}: {change} ({_first(names)})")
    if any(isinstance(images, LazyImages) for images in rows):
        sentences.append("the images are read when they are needed: a damaged one is found then")
    return Dataset(
        train=rows[0],
        test=rows[1],
        shape=train.shape,
        range=(-1.0, 1.0),
        classes=len(labels.names) if labels else None,
        description=tuple(sentences),
    )


def counted(count: int, noun: str) -> str:
    """A number with its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _first(names: list[str]) -> str:
    return short(names[0]) + (" and others" if len(names) > 1 else "")


def fixed_share(count: int, noun: str = "image") -> tuple[list[int], list[int]]:
    """Training and test indices for a set without a test split: every tenth sample is a test sample, and at least two are,
    because a certificate measures a spread.

    Raises:
        BadInput: if there are fewer than three.
    """
    if count < 3:
        raise BadInput(
            f"the set has {counted(count, noun)}", expected="three at least: one to train on, two to test on"
        )
    test = [count // 2, count - 1] if count < 20 else list(range(9, count, 10))
    held_out = set(test)
    return [index for index in range(count) if index not in held_out], test
