"""Apply a trained operator to a folder of images, or of arrays, and write what it makes of them to another folder."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..catalog.catalog import Catalog, installed
from ..errors import BadInput, Failure
from ..experiment.resolution import resolve
from ..runs.loading import load
from ..runs.run import Run
from .pictures import is_image

__all__ = ["apply"]

_IMAGES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm", ".pbm", ".pnm", ".gif", ".webp", ".tif", ".tiff"})
_ARRAYS = frozenset({".npy"})
_BATCH = 64


@torch.no_grad()
def apply(
    run: Run | str | Path,
    inputs: str | Path,
    outputs: str | Path,
    *,
    times: int = 1,
    catalog: Catalog | None = None,
    message: Callable[[str], None] = lambda text: None,
) -> list[Path]:
    """Project a folder: f^times of every image (or .npy array, for an operator on something else) in it and its subfolders.

    Images are turned upright, converted to the operator's colours (transparency becomes white) and resized to its shape;
    they come out as PNG under the same relative names, arrays as .npy. Everything is checked before anything is written,
    and `outputs` appears whole or not at all.

    Args:
        run: with a trained operator.
        inputs: folder to read; links that lead out of it are refused.
        outputs: folder to make; if it exists it must be empty.
        times: how often f is applied.
        catalog: defaults to the installed plugins.
        message: hears of what was resized or passed over.

    Returns:
        the written files, in the order of their names.

    Raises:
        BadInput: a folder does not fit, there is nothing to read, or a file is damaged; names the file.
        Failure: the weights are damaged, f gives values that are not finite, or `outputs` cannot be written.
    """
    if times < 1:
        raise BadInput(f"f cannot be applied {times} times", expected="a whole number from 1 up", next_step="--times 1")
    run = run if isinstance(run, Run) else Run.open(run)
    catalog = catalog or installed()
    source, target = _folders(Path(inputs), Path(outputs))
    reader: _Reader = _ImageReader(run.shape, run.range) if is_image(run.shape) else _ArrayReader(run.shape)
    files = _files(source, reader.suffixes, message)
    names = _names(files, source, reader.suffix)
    operator = load(run, catalog=catalog)
    for path in files:
        reader.read(path)
    reader.report(source, message)
    dtype: torch.dtype = getattr(torch, resolve(run.experiment_file, catalog=catalog).training.dtype)
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        partial.mkdir(parents=True)
        for start in range(0, len(files), _BATCH):
            rows = slice(start, start + _BATCH)
            points = torch.stack([reader.read(path) for path in files[rows]]).to(dtype)
            for _ in range(times):
                points = operator(points)
            for name, path, point in zip(names[rows], files[rows], points, strict=True):
                if not bool(torch.isfinite(point).all()):
                    raise Failure("the operator gives values that are not finite", where=str(path))
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                reader.write(point, partial / name)
        os.replace(partial, target)
    except OSError as error:
        raise Failure(
            f"the output folder '{outputs}' cannot be written: {error}", next_step="make room, or choose another folder"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return [Path(outputs) / name for name in names]


# -- which files --------------------------------------------------------------------------------------------------------


def _folders(inputs: Path, outputs: Path) -> tuple[Path, Path]:
    """Both folders without links in their paths, checked."""
    if not inputs.is_dir():
        what = "is not a folder" if inputs.exists() else "does not exist"
        raise BadInput(f"the input folder '{inputs}' {what}", expected="a folder of images (or .npy arrays)")
    source, target = inputs.resolve(), outputs.resolve()
    if target == source or source in target.parents:
        raise BadInput(
            f"the output folder '{outputs}' lies in the input folder '{inputs}'",
            expected="a folder outside of it, so that no input is overwritten or read back",
            next_step="choose another output folder",
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        what = "is not empty" if target.is_dir() else "is a file"
        raise BadInput(f"the output folder '{outputs}' {what}", next_step="choose a new folder, or empty this one")
    return source, target


def _files(folder: Path, suffixes: frozenset[str], message: Callable[[str], None]) -> list[Path]:
    """The files with one of the suffixes in and below a folder, by name. Hidden ones are left alone.

    Raises:
        BadInput: if there are none, or a link leads out of the folder.
    """
    found, passed = [], []
    for path in _below(folder):
        if path.suffix.lower() not in suffixes or not path.is_file():
            passed.append(path)
            continue
        found.append(path)
    kind = "arrays" if suffixes == _ARRAYS else "images"
    if not found:
        raise BadInput(
            f"there are no {kind} in '{folder}'",
            expected="files that end in " + ", ".join(sorted(suffixes)),
            next_step="name the folder that holds them",
        )
    if passed:
        message(f"passed over {_some(passed, folder)}: not {kind}")
    return found


def _below(folder: Path) -> Iterator[Path]:
    """Everything in and below a folder that is no folder and not hidden, by name."""

    def refuse(error: OSError) -> None:
        raise BadInput(
            f"cannot be read: {error.strerror}", where=error.filename, next_step="make it readable, or remove it"
        )

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files = sorted(name for name in names if not name.startswith("."))
        for path in (Path(parent, name) for name in [*folders, *files]):
            if path.is_symlink() and not path.resolve().is_relative_to(folder):
                raise BadInput(
                    f"'{path.relative_to(folder)}' is a link that leads out of the input folder",
                    where=str(folder),
                    next_step="copy the file in place of the link, or remove the link",
                )
        yield from (Path(parent, name) for name in files)


def _names(files: list[Path], folder: Path, suffix: str) -> list[Path]:
    """Relative names of the outputs.

    Raises:
        BadInput: if two inputs would be written under one name.
    """
    names = [path.relative_to(folder).with_suffix(suffix) for path in files]
    owners: dict[str, Path] = {}
    for name, path in zip(names, files, strict=True):
        other = owners.setdefault(str(name).casefold(), path)
        if other is not path:
            raise BadInput(
                f"'{other.relative_to(folder)}' and '{path.relative_to(folder)}' would both be written as '{name}'",
                where=str(folder),
                next_step="rename one of them",
            )
    return names


def _some(paths: list[Path], folder: Path) -> str:
    """One path by name, several by their number and the first."""
    first = f"'{paths[0].relative_to(folder)}'"
    return first if len(paths) == 1 else f"{len(paths)} files ({first} and others)"


# -- from files to points and back --------------------------------------------------------------------------------------


@dataclass
class _Reader:
    """Reads and writes samples of one kind.

    Args:
        shape: of a sample.
    """

    shape: tuple[int, ...]
    suffixes = _ARRAYS
    suffix = ".npy"

    def read(self, path: Path) -> Tensor:
        """The sample in a file, [*shape]. Raises BadInput if it holds none."""
        raise NotImplementedError

    def write(self, point: Tensor, path: Path) -> None:
        """Write a sample [*shape] to a file."""
        raise NotImplementedError

    def report(self, folder: Path, message: Callable[[str], None]) -> None:
        """Tell what had to be changed about the files read so far."""


@dataclass
class _ArrayReader(_Reader):
    """NumPy arrays of the operator's shape."""

    def read(self, path: Path) -> Tensor:
        try:
            array = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise BadInput(f"cannot be read as an array: {error}", where=str(path), next_step=_MEND) from error
        if array.shape != self.shape or array.dtype.kind not in "fiub":
            raise BadInput(
                f"an array of shape {list(array.shape)} and type {array.dtype}",
                where=str(path),
                expected=f"one sample of shape {list(self.shape)}, of real numbers",
                next_step=_MEND,
            )
        point = torch.from_numpy(array.astype(np.float64))
        if not bool(torch.isfinite(point).all()):
            raise BadInput("holds values that are not finite", where=str(path), next_step=_MEND)
        return point

    def write(self, point: Tensor, path: Path) -> None:
        np.save(path, point.numpy(), allow_pickle=False)


_MEND = "replace or remove the file"


@dataclass
class _ImageReader(_Reader):
    """Grey or coloured images, in any size.

    Args:
        range: values of black and white; None is (0, 1).
    """

    range: tuple[float, float] | None
    suffixes = _IMAGES
    suffix = ".png"

    def __post_init__(self) -> None:
        self._resized: dict[Path, tuple[int, int]] = {}

    def read(self, path: Path) -> Tensor:
        channels, height, width = self.shape
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(path) as file:
                    image = _upright(file).convert("L" if channels == 1 else "RGB")
        except _DAMAGED as error:
            cause = (
                "no image, or damaged" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
            )
            raise BadInput(f"cannot be read as an image: {cause}", where=str(path), next_step=_MEND) from error
        if image.size != (width, height):
            self._resized[path] = image.size
            image = image.resize((width, height), Image.Resampling.LANCZOS)
        low, high = self.range or (0.0, 1.0)
        pixels = torch.from_numpy(np.array(image)).view(height, width, channels).permute(2, 0, 1)
        return pixels.double() * ((high - low) / 255) + low

    def write(self, point: Tensor, path: Path) -> None:
        low, high = self.range or (0.0, 1.0)
        pixels = ((point.double() - low) * (255 / (high - low))).clamp(0, 255).round().to(torch.uint8)
        channels = pixels.permute(1, 2, 0).numpy()
        Image.fromarray(channels[:, :, 0] if self.shape[0] == 1 else channels).save(path)

    def report(self, folder: Path, message: Callable[[str], None]) -> None:
        if self._resized:
            width, height = next(iter(self._resized.values()))
            message(
                f"resized {_some(list(self._resized), folder)} from {width} x {height} "
                f"to the operator's {self.shape[2]} x {self.shape[1]} pixels"
            )


_DAMAGED = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError, Image.DecompressionBombWarning)
"""What Pillow raises on files that are not whole."""


def _upright(file: Image.Image) -> Image.Image:
    """The image as a viewer shows it: turned as its EXIF data say, 16 bits scaled to 8, on white where transparent."""
    image = ImageOps.exif_transpose(file)
    if image.mode.startswith(("I", "F")):
        values: NDArray[np.float64] = np.asarray(image, dtype=np.float64)
        if image.mode == "F" or values.max() > 65535 or values.min() < 0:
            raise ValueError(f"pixels of mode {image.mode} are not of 8 or 16 bits")
        return Image.fromarray((values / 257).round().astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        coloured = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), coloured)
    return image
