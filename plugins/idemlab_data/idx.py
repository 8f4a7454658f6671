"""The IDX format of MNIST and its relatives, read strictly: messages name the file and its fault.

Format: two zero bytes, the type of the entries (8: unsigned byte), the number of dimensions, each dimension as a big-endian
32-bit number, the entries in C order. http://yann.lecun.com/exdb/mnist
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor

from idemlab import BadInput

from .images import counted, is_inside

__all__ = ["find_idx", "read_idx", "read_split"]

_STEMS = ("train-images", "train-labels", "t10k-images", "t10k-labels")


def read_idx(path: Path, dimensions: int) -> Tensor:
    """The uint8 tensor in a file, plain or gzipped.

    Raises:
        BadInput: if it cannot be unpacked, is no IDX file of bytes with so many dimensions, or is too short or too long.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise _broken(path, f"it cannot be read: {error}") from error
    magic = bytes([0, 0, 8, dimensions])
    header = 4 + 4 * dimensions
    if content[:4] != magic:
        raise _broken(path, f"it starts with the bytes {content[:4].hex(' ') or '(none)'}, not with {magic.hex(' ')}")
    if len(content) < header:
        raise _broken(path, "it ends within its header")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    entries = math.prod(shape)
    if len(content) - header != entries:
        raise _broken(
            path,
            f"its header promises {entries} bytes ({' x '.join(map(str, shape))}), it holds {len(content) - header}",
        )
    if entries == 0:
        raise _broken(path, "it is empty")
    return torch.frombuffer(bytearray(content[header:]), dtype=torch.uint8).view(shape)


def _broken(path: Path, reason: str) -> BadInput:
    return BadInput(
        f"{path} is not a valid IDX file: {reason}",
        expected="a complete IDX file of unsigned bytes, plain or gzipped",
        next_step="fetch it again",
    )


def find_idx(root: Path, folder: Path) -> dict[str, Path] | None:
    """The four files of an MNIST-like set in a folder, by their stems, or None if there is none of them.

    Links that lead out of `root` are ignored.

    Raises:
        BadInput: if only some of them are there.
    """
    found = {stem: path for stem in _STEMS if (path := _file(root, folder, stem))}
    missing = [stem for stem in _STEMS if stem not in found]
    if found and missing:
        raise BadInput(
            f"the file {folder / _names(missing[0])[0]} is missing",
            expected="four IDX files, plain or gzipped: " + ", ".join(_names(stem)[0] for stem in _STEMS),
            next_step="fetch it again",
        )
    return found or None


def _names(stem: str) -> list[str]:
    """The file names under which a part is found in the wild."""
    kind = "idx3" if stem.endswith("images") else "idx1"
    return [f"{stem}{joint}{kind}-ubyte{packed}" for packed in ("", ".gz") for joint in ("-", ".")]


def _file(root: Path, folder: Path, stem: str) -> Path | None:
    paths = [folder / name for name in _names(stem)]
    return next((path for path in paths if path.is_file() and is_inside(path, root)), None)


def read_split(files: dict[str, Path], split: str) -> tuple[Tensor, Tensor]:
    """Images [N, H, W] and labels [N] of one split ("train" or "t10k"), uint8.

    Raises:
        BadInput: if a file is broken or their numbers differ.
    """
    images_path, labels_path = files[f"{split}-images"], files[f"{split}-labels"]
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if len(images) != len(labels):
        raise BadInput(
            f"{images_path} holds {counted(len(images), 'image')}, {labels_path} {counted(len(labels), 'label')}",
            next_step="fetch both again",
        )
    return images, labels
