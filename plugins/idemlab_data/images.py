"""From image files to uint8 tensors, in memory where they fit, and errors that name the image at fault."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from idemlab import BadInput, Batch, TensorRows

__all__ = [
    "IN_MEMORY_BYTES",
    "FolderImages",
    "LazyImages",
    "decoded",
    "fixed_share",
    "image_files",
    "in_memory",
    "is_inside",
    "reading",
]

IN_MEMORY_BYTES = 256 * 2**20
"""Sets that take no more than this as uint8 are decoded once and kept in memory."""

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_MODES = {1: "L", 3: "RGB"}


def image_files(folder: Path, suffixes: Collection[str] = _SUFFIXES) -> list[Path]:
    """All images in and below the folder, by name.

    Links that lead out of the folder and hidden files are ignored, so that nothing outside it is ever read.

    Raises:
        BadInput: if the folder is missing or holds no image.
    """
    if not folder.is_dir():
        raise BadInput(f"there is no folder {folder}", next_step="give the path of a folder with images")
    found = [
        Path(parent, name)
        for parent, _, names in os.walk(folder)
        for name in names
        if Path(name).suffix.lower() in suffixes and not name.startswith(".")
    ]
    found = [path for path in found if not path.is_symlink() or is_inside(path, folder)]
    if not found:
        raise BadInput(
            f"there are no images in {folder}",
            expected=f"files ending in {', '.join(sorted(suffixes))}; links that lead out of the folder are ignored",
            next_step="give the path of a folder with images",
        )
    return sorted(found)


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path, with its links followed, lies in or below the folder."""
    return path.resolve().is_relative_to(folder.resolve())


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Anything that goes wrong while an image is opened becomes a `BadInput` that names it.

    Pillow raises whatever its decoders stumble on (OSError, SyntaxError, ValueError, struct.error, ...).
    """
    try:
        yield
    except Exception as error:
        raise BadInput(
            f"the image {name} cannot be read: {type(error).__name__}: {error}",
            expected="a complete image file",
            next_step="replace or delete it",
        ) from error


def decoded(file: Path | IO[bytes] | Image.Image, channels: int, size: int | None) -> Tensor:
    """One image as uint8 [channels, height, width].

    Args:
        channels: 1 (grey) or 3 (red, green, blue).
        size: side of the largest centred square, to which it is cropped and scaled; None keeps the image as it is.
    """
    image = file if isinstance(file, Image.Image) else Image.open(file)
    with image:
        upright = ImageOps.exif_transpose(image).convert(_MODES[channels])
        if size is not None:
            upright = ImageOps.fit(upright, (size, size))
        rows = torch.from_numpy(np.array(upright))
    return rows.unsqueeze(0) if channels == 1 else rows.permute(2, 0, 1).contiguous()


class LazyImages(ABC):
    """A map-style set of images that are decoded when asked for.

    Args:
        channels: 1 or 3.
        size: of the square to which images are cropped and scaled; None keeps them, and they must all be alike.
        labels: class numbers, one for each image, or None.
    """

    def __init__(self, channels: int, size: int | None, labels: Tensor | None = None) -> None:
        self.channels, self.size, self.labels = channels, size, labels
        self.shape: tuple[int, ...] = tuple(self.image(0).shape) if size is None else (channels, size, size)

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, index: int) -> str:
        """What the image is called in messages."""

    @abstractmethod
    def image(self, index: int) -> Tensor:
        """One image, uint8 [C, H, W]."""

    def __getitem__(self, index: int) -> Tensor:
        image = self.image(index)
        if tuple(image.shape) != self.shape:
            raise BadInput(
                f"the image {self.name(index)} has the shape {tuple(image.shape)}, the first one {self.shape}",
                expected="images of one size, or an argument 'size' to which they are cropped and scaled",
                next_step="set 'size'",
            )
        return image

    def __getitems__(self, indices: list[int]) -> Batch:
        images = torch.stack([self[index] for index in indices])
        return Batch(images, images, label=None if self.labels is None else self.labels[indices])


class FolderImages(LazyImages):
    """Images that are files; see `image_files`."""

    def __init__(self, paths: list[Path], channels: int, size: int | None, labels: Tensor | None = None) -> None:
        self._paths = paths
        super().__init__(channels, size, labels)

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, index: int) -> str:
        return str(self._paths[index])

    def image(self, index: int) -> Tensor:
        with reading(self.name(index)):
            return decoded(self._paths[index], self.channels, self.size)


def in_memory(images: LazyImages) -> LazyImages | TensorRows:
    """The same set as one tensor where it is small (`IN_MEMORY_BYTES`), as it is where it is large."""
    if len(images) * int(np.prod(images.shape)) > IN_MEMORY_BYTES:
        return images
    rows = torch.empty((len(images), *images.shape), dtype=torch.uint8)
    for index in range(len(images)):
        rows[index] = images[index]
    return TensorRows(rows, label=images.labels)


def fixed_share(count: int) -> tuple[list[int], list[int]]:
    """Indices to train on and to test on where a set has no test split of its own: every tenth is a test one.

    Raises:
        BadInput: if there are fewer than two.
    """
    if count < 2:
        raise BadInput(f"the set has {count} image(s)", expected="two at least: one to train on, one to test on")
    test = range(min(9, count - 1), count, 10)
    return [index for index in range(count) if index not in test], list(test)
