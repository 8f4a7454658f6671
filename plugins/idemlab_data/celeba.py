"""CelebA: from a folder of its aligned images, else from the hub."""

from __future__ import annotations

from pathlib import Path

from idemlab import BadInput, Dataset

from .folders import LeftOut, image_files
from .hub import hub_dataset
from .images import FolderImages, counted, image_dataset

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
    left_out = LeftOut(folder)
    paths = image_files(folder, left_out=left_out)
    if len(paths) < 2:
        raise BadInput(f"there is one image in {folder}", expected="two at least: one to train on, one to test on")
    held_out = max(1, len(paths) // 10)
    train, test = FolderImages(paths[:-held_out], 3, size), FolderImages(paths[-held_out:], 3, size)
    division = f"{counted(len(train), 'image')} to train on, {len(test)} (the last tenth by name) to test on"
    return image_dataset(train, test, None, [division, *left_out.sentences])
