"""CelebA: from a folder of its aligned images, else from the hub."""

from __future__ import annotations

from pathlib import Path

from idemlab import BadInput, Dataset

from .hub import hub_dataset
from .images import FolderImages, image_files, in_memory

__all__ = ["celeba"]


def celeba(root: str | Path | None, size: int) -> Dataset:
    """Faces, cropped to the largest centred square and scaled to [3, size, size].

    In a folder the last tenth of the images by name is the test split: CelebA's files are ordered by its official
    partition, whose test part is the last 9.85 % and shares no person with the first 80 %.

    Raises:
        BadInput: if the folder is missing, has fewer than two images, or an image is damaged.
        Failure: if no folder is given and the hub cannot be reached.
    """
    if root is None:
        offline = "without network: root = FOLDER of the images, or the data set 'faces' (pip install 'idemlab[demo]')"
        return hub_dataset("flwrlabs/celeba", image="image", size=size, offline=offline)
    folder = Path(root).expanduser()
    paths = image_files(folder)
    if len(paths) < 2:
        raise BadInput(f"there is one image in {folder}", expected="two at least: one to train on, one to test on")
    held_out = max(1, len(paths) // 10)
    train, test = FolderImages(paths[:-held_out], 3, size), FolderImages(paths[-held_out:], 3, size)
    return Dataset(train=in_memory(train), test=in_memory(test), shape=(3, size, size), range=(-1.0, 1.0))
