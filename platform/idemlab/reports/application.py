"""Applies a trained operator to a folder of images or arrays, and writes the results to another folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..catalog.catalog import Catalog, or_installed
from ..contracts.orbit import applied
from ..contracts.pixels import IMAGE_SUFFIXES, read_image
from ..errors import BadInput, Failure
from ..experiment.resolution import resolve
from ..runs.loading import load
from ..runs.run import Run
from ..system.files import as_path, unwritten
from ..wording import clipped, counted, listed
from .pictures import is_image

__all__ = ["Applied", "apply"]

_ARRAYS = frozenset({".npy"})
_MOST = 10_000
"""Largest number of applications; more is taken for a typing error."""
_BATCH = 64
_LISTED = 5
"""Largest number of file names in a message, for each reason to leave files out."""


class Applied(list[Path]):
    """The files that were written, in the order of their names.

    Attributes:
        skipped: file of the input folder -> why it was skipped.
        left_out: other files of the input folder that were not read, by reason.
    """

    def __init__(
        self, written: Iterable[Path], skipped: dict[Path, str], left_out: Mapping[str, list[Path]] | None = None
    ) -> None:
        super().__init__(written)
        self.skipped, self.left_out = skipped, dict(left_out or {})


@torch.no_grad()
def apply(
    run: Run | str | Path,
    inputs: str | Path,
    outputs: str | Path,
    *,
    times: int = 1,
    condition: int | None = None,
    catalog: Catalog | None = None,
    message: Callable[[str], None] = lambda text: None,
) -> Applied:
    """Apply f `times` times to every image in a folder and its subfolders, or to every .npy array if f takes no images.

    Images are read as data sets read them (`read_image`): upright, on white, with the largest centred part scaled to the
    operator's shape. Images are written as PNG and arrays as .npy, under the same relative names. A file that cannot be
    read, or whose output name another file needs, is skipped with its reason. `outputs` appears complete or not at all.

    Args:
        run: the run or its folder, or the name of an operator, as for `idemlab.load`; it must have a trained operator.
        inputs: folder to read; links that lead out of it are refused.
        outputs: folder to make; if it exists, it must be empty.
        times: how often f is applied, at most 10,000.
        condition: the class c, for an operator f(x, c). One that was trained with labels and is used without needs none.
        catalog: defaults to the installed plugins.
        message: called with each remark about files that were resized or left out.

    Returns:
        The files that were written, and those that were skipped or left out.

    Raises:
        BadInput: if a folder or the condition does not fit, or no file can be read; names the first file.
        Failure: if the weights are damaged, f gives values that are not finite, or `outputs` cannot be written.
    """
    if isinstance(times, bool) or not isinstance(times, Integral) or not 1 <= times <= _MOST:
        raise BadInput(
            f"f cannot be applied {times} times", expected=f"a whole number from 1 to {_MOST}", next_step="`times = 1`"
        )
    run = run if isinstance(run, Run) else Run.find(run, catalog=catalog)
    catalog = or_installed(run.catalog if catalog is None else catalog)
    source, target = _folders(as_path(inputs, "inputs"), as_path(outputs, "outputs"))
    _check_condition(condition, run)
    reader: _Reader = _ImageReader(run.shape, run.range) if is_image(run.shape) else _ArrayReader(run.shape)
    files, left_out = _files(source, reader.suffixes, message)
    operator = load(run, catalog=catalog)
    names, skipped = _readable(reader, *_names(files, source, reader.suffix))
    files = list(names)
    reader.report(source, message)
    dtype: torch.dtype = getattr(torch, resolve(run.experiment_file, catalog=catalog).training.dtype)
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        partial.mkdir(parents=True)
        for start in range(0, len(files), _BATCH):
            rows = slice(start, start + _BATCH)
            points = torch.stack([reader.read(path) for path in files[rows]]).to(dtype)
            for _ in range(times):
                points = applied(operator, points, None if condition is None else torch.full((len(points),), condition))
            for path, point in zip(files[rows], points, strict=True):
                if not bool(torch.isfinite(point).all()):
                    raise Failure("the operator gives values that are not finite", where=str(path))
                (partial / names[path]).parent.mkdir(parents=True, exist_ok=True)
                reader.write(point, partial / names[path])
        os.replace(partial, target)
    except OSError as error:
        raise Failure(
            f"the output folder '{outputs}' cannot be written: {error}",
            next_step=f"{unwritten(error)}, or choose another folder",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Applied((Path(outputs) / name for name in names.values()), dict(sorted(skipped.items())), left_out)


def _check_condition(condition: int | None, run: Run) -> None:
    """Refuse a condition that the operator does not have, and a missing one that it needs."""
    classes = run.classes
    if classes is None:
        if condition is not None:
            raise BadInput(
                "this operator takes no condition: it is f(x)", where="condition", next_step="leave `condition` out"
            )
        return
    what = "cluster" if run.experiment.condition == "clusters" else "class"
    known = f"a {what} from 0 to {classes - 1}"
    if condition is None:
        if not run.needs_class:
            return
        raise BadInput(
            "this operator takes a condition, f(x, c)",
            where="condition",
            expected=known,
            next_step="for instance `condition = 0`",
        )
    if not 0 <= condition < classes:
        raise BadInput(f"the operator has no {what} {condition}", where="condition", expected=known)


# -- which files --------------------------------------------------------------------------------------------------------


def _folders(inputs: Path, outputs: Path) -> tuple[Path, Path]:
    """Both folders without links in their paths, checked."""
    if not inputs.is_dir():
        what = "is not a folder" if inputs.exists() else "does not exist"
        raise BadInput(f"the input folder '{inputs}' {what}", expected="a folder of images (or .npy arrays)")
    source, target = inputs.resolve(), outputs.resolve()
    if target == source or source in target.parents:
        raise BadInput(
            f"the output folder '{outputs}' is inside the input folder '{inputs}'",
            expected="a folder outside of it, so that no input is overwritten or read again",
            next_step="choose another output folder",
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        what = "is not empty" if target.is_dir() else "is a file"
        raise BadInput(f"the output folder '{outputs}' {what}", next_step="choose a new folder, or empty this one")
    return source, target


def _files(
    folder: Path, suffixes: frozenset[str], message: Callable[[str], None]
) -> tuple[list[Path], dict[str, list[Path]]]:
    """(files with one of the suffixes in a folder and its subfolders, by name; what else is there, by why it is left out).

    Raises:
        BadInput: if there are none, or a link leads out of the folder.
    """
    kind = "arrays" if suffixes == _ARRAYS else "images"
    found: list[Path] = []
    left_out: dict[str, list[Path]] = {}
    for path in _below(folder):
        reason = _why_not(path, suffixes, kind)
        if reason is None:
            found.append(path)
        elif reason:
            left_out.setdefault(reason, []).append(path)
    for reason, paths in left_out.items():
        message(f"left out, {reason}: {_first_names(paths, folder)}")
    if not found:
        raise BadInput(
            f"there are no {kind} in '{folder}'",
            expected="files that end in " + ", ".join(sorted(suffixes)),
            next_step="name the folder that holds them",
        )
    return found, left_out


def _why_not(path: Path, suffixes: frozenset[str], kind: str) -> str | None:
    """Why something is left out; None for a file to read, "" for a folder whose files are read."""
    if path.name.startswith("."):
        return "hidden"
    if path.is_symlink() and not path.exists():
        return "links that lead nowhere"
    is_named_so = path.suffix.lower() in suffixes
    if path.is_dir():
        if path.is_symlink():
            return "links to folders, which are not followed"
        return f"folders that are named like {kind}; the files in them are read" if is_named_so else ""
    if not path.is_file():
        return "neither files nor folders"
    return None if is_named_so else f"not {kind} by their endings"


def _below(folder: Path) -> Iterator[Path]:
    """Everything in a folder and its subfolders, by name, except in hidden folders."""

    def refuse(error: OSError) -> None:
        raise BadInput(
            f"cannot be read: {error.strerror}", where=error.filename, next_step="make it readable, or remove it"
        )

    for parent, folders, names in os.walk(folder, onerror=refuse):
        for path in (Path(parent, name) for name in sorted([*folders, *names])):
            visible = not path.name.startswith(".")
            if visible and path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(folder):
                raise BadInput(
                    f"'{path.relative_to(folder)}' is a link that leads out of the input folder",
                    where=str(folder),
                    next_step="copy the file in place of the link, or remove the link",
                )
        yield from (Path(parent, name) for name in [*sorted(folders), *sorted(names)])
        folders[:] = sorted(name for name in folders if not name.startswith("."))


def _names(files: list[Path], folder: Path, suffix: str) -> tuple[dict[Path, Path], dict[Path, str]]:
    """(file -> relative name of its output, skipped files). If several files would get one output name, all are skipped,
    since nobody can tell which was meant."""
    names = {path: path.relative_to(folder).with_suffix(suffix) for path in files}
    owners: dict[str, list[Path]] = {}
    for path, name in names.items():
        owners.setdefault(str(name).casefold(), []).append(path)
    skipped: dict[Path, str] = {}
    for same in (same for same in owners.values() if len(same) > 1):
        told = listed([f"'{path.relative_to(folder)}'" for path in same])
        skipped |= dict.fromkeys(
            same, f"{told} would {'both' if len(same) == 2 else 'all'} be written as '{names[same[0]]}'; rename them"
        )
    return {path: name for path, name in names.items() if path not in skipped}, skipped


def _readable(
    reader: _Reader, names: dict[Path, Path], skipped: dict[Path, str]
) -> tuple[dict[Path, Path], dict[Path, str]]:
    """Read every file once, and move the unreadable ones to the skipped files.

    Raises:
        BadInput: if no file can be read.
    """
    first: BadInput | None = None
    for path in list(names):
        try:
            reader.read(path)
        except BadInput as error:
            first = first or error
            skipped[path] = error.what + (f" (expected: {error.expected})" if error.expected else "")
            del names[path]
    if not names:
        path, reason = next(iter(skipped.items()))
        raise (
            first
            if first and len(skipped) == 1
            else BadInput(
                f"none of the {counted(len(skipped), 'file')} can be read; the first: {reason}",
                where=str(path),
                next_step=_MEND,
            )
        )
    return names, skipped


def _first_names(paths: list[Path], folder: Path) -> str:
    """The first names, and the number of the others."""
    names = [f"'{clipped(str(path.relative_to(folder)))}'" for path in paths[:_LISTED]]
    more = len(paths) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _some(paths: list[Path], folder: Path) -> str:
    """One path by its name, several by their number and the first name."""
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
        """The sample in a file, [*shape]. Raises BadInput if the file holds no such sample."""
        raise NotImplementedError

    def write(self, point: Tensor, path: Path) -> None:
        """Write a sample [*shape] to a file."""
        raise NotImplementedError

    def report(self, folder: Path, message: Callable[[str], None]) -> None:
        """Report what had to be changed about the files read so far."""


@dataclass
class _ArrayReader(_Reader):
    """NumPy arrays of the operator's shape."""

    def read(self, path: Path) -> Tensor:
        try:
            with path.open("rb") as file:  # `np.load` also opens archives, and offers to unpickle anything else
                array = np.lib.format.read_array(file, allow_pickle=False)
        except (OSError, ValueError, EOFError, MemoryError) as error:
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
    """Grey or colour images of any size.

    Args:
        range: the values of black and white; None means (0, 1).
    """

    range: tuple[float, float] | None
    suffixes = IMAGE_SUFFIXES
    suffix = ".png"

    def __post_init__(self) -> None:
        self._resized: dict[Path, tuple[int, int]] = {}
        self._changed: dict[str, dict[Path, None]] = {}  # files by what was changed, each once

    def read(self, path: Path) -> Tensor:
        channels, height, width = self.shape
        picture = read_image(path, name=str(path), channels=channels, size=(height, width))
        if picture.size != (width, height):
            self._resized[path] = picture.size
        for change in picture.changes:
            self._changed.setdefault(change, {})[path] = None
        low, high = self.range or (0.0, 1.0)
        return picture.pixels.double() * ((high - low) / 255) + low

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
        for change, paths in self._changed.items():
            message(f"{_some(list(paths), folder)}: {change}")
