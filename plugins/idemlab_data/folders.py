"""What a folder of images means: its splits, its classes, and what in it is left out. Nothing is guessed from names.

The rules stand in docs/data.md, in a table that the tests read.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from idemlab import IMAGE_SUFFIXES, BadInput, Dataset

from .images import FolderImages, counted, fixed_share, image_dataset, is_inside
from .labels import count_classes, short

__all__ = ["LeftOut", "Tree", "division", "folder_dataset", "image_files", "split_by_folder", "used_splits", "walk"]

SPLITS = ("train", "test", "validation")
"""Names of folders that are splits, if all folders beside them are, too."""
TEST_SPLITS = ("test", "validation", "valid", "val")
"""Splits that a set on the hub may be tested on, the best first."""


@dataclass
class LeftOut:
    """The unused files of a folder, by reason."""

    folder: Path
    files: dict[str, list[Path]] = field(default_factory=dict)

    def add(self, reason: str, *paths: Path) -> None:
        """Leave files or folders out, for a reason such as "hidden"."""
        if paths:
            self.files.setdefault(reason, []).extend(paths)

    @property
    def sentences(self) -> list[str]:
        """One for each reason."""
        return [
            f"left out, {reason}: {short(str(min(paths).relative_to(self.folder)))}"
            + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
            for reason, paths in self.files.items()
        ]


def walk(folder: Path, left_out: LeftOut) -> list[Path]:
    """The regular files in and below a folder, by name.

    Hidden ones, links that lead out of it or to folders, and what is no regular file are left out: nothing outside of the
    folder is ever read, and nothing waits for the other end of a pipe.

    Raises:
        BadInput: if there is no such folder, or one in it cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise BadInput(
            f"the folder cannot be read: {error.strerror}",
            where=str(error.filename),
            next_step="make it readable, or remove it",
        )

    if not folder.is_dir():
        raise BadInput(f"there is no folder {folder}", next_step="give the path of a folder with images")
    found = []
    for place, folders, names in os.walk(folder, onerror=refuse):
        parent = Path(place)
        left_out.add("hidden", *(parent / name for name in sorted([*folders, *names]) if name.startswith(".")))
        left_out.add(
            "links to folders, which are not followed",
            *(parent / name for name in sorted(folders) if (parent / name).is_symlink()),
        )
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (parent / name for name in names if not name.startswith(".")):
            if path.is_symlink() and not path.exists():
                left_out.add("links that lead nowhere", path)
            elif path.is_symlink() and not is_inside(path, folder):
                left_out.add("links that lead out of the folder", path)
            elif not path.is_file():
                left_out.add("neither files nor folders", path)
            else:
                found.append(path)
    return sorted(found)


def image_files(
    folder: Path, suffixes: Collection[str] = IMAGE_SUFFIXES, left_out: LeftOut | None = None
) -> list[Path]:
    """All images in and below the folder, by name; see `walk`.

    Raises:
        BadInput: if the folder is missing or holds no image.
    """
    left_out = left_out or LeftOut(folder)
    files = walk(folder, left_out)
    found = [path for path in files if path.suffix.lower() in suffixes]
    left_out.add("no images by their endings", *sorted(set(files) - set(found)))
    if not found:
        raise BadInput(
            f"there are no images in {folder}",
            expected=f"files ending in {', '.join(sorted(suffixes))}; links that lead out of the folder are ignored",
            next_step="give the path of a folder with images",
        )
    return found


@dataclass(frozen=True)
class Tree:
    """Files by the split that they belong to; the name "" stands for no splits.

    Args:
        top: the folder that the splits or classes lie in.
        notes: sentences about how the folders were taken.
    """

    top: Path
    splits: dict[str, list[Path]]
    notes: tuple[str, ...] = ()


def split_by_folder(folder: Path, files: list[Path], left_out: LeftOut) -> Tree:
    """Splits are the folders at the top, if each that holds files is named train, test or validation.

    A folder that holds nothing but one other folder is entered first.
    """
    top = folder
    while True:
        tops = {parts[0] for path in files if len(parts := path.relative_to(top).parts) > 1}
        beside = [path for path in files if path.parent == top]
        if len(tops) != 1 or beside or tops <= set(SPLITS) or all(path.parent == top / min(tops) for path in files):
            break
        top = top / min(tops)
    notes = [f"all images lie in {short(str(top.relative_to(folder)))}"] if top != folder else []
    if tops and tops <= set(SPLITS):
        left_out.add("beside the folders of the splits", *beside)
        inside = {name: [path for path in files if path.is_relative_to(top / name)] for name in SPLITS if name in tops}
        return Tree(top, inside, tuple(notes))
    if tops & set(SPLITS):
        others = sorted(tops - set(SPLITS))
        notes.append(
            f"{', '.join(sorted(tops & set(SPLITS)))}: no split, since {short(others[0])} beside it is not named "
            + "train, test or validation"
        )
    return Tree(top, {"": files}, tuple(notes))


def folder_dataset(folder: Path, files: list[Path], left_out: LeftOut, size: int | None, channels: int) -> Dataset:
    """A folder of images, as `split_by_folder` divides it. The folders in a split, or at the top, are classes.

    Args:
        files: the images in it.
        left_out: what is not used so far; its sentences end the description.

    Raises:
        BadInput: if there are too few images, or one cannot be read.
    """
    tree = split_by_folder(folder, files, left_out)
    train_name, test_name = used_splits(list(tree.splits))
    for name in set(tree.splits) - {train_name, test_name}:
        left_out.add(f"since '{test_name}' is the split to test on", *tree.splits[name])
    train = tree.splits[train_name]
    if test_name is None:
        parts = [[train[index] for index in indices] for indices in fixed_share(len(train))]
    else:
        parts = [train, tree.splits[test_name]]
    keys = []
    for name, paths in zip((train_name, test_name or train_name), parts, strict=True):
        below = [path.relative_to(tree.top / name).parts for path in paths]
        keys.append([names[0] if len(names) > 1 else "" for names in below])
    notes = [division(train_name, len(parts[0]), test_name, len(parts[1])), *tree.notes]
    images = Counter(key for split in keys for key in split)
    if len(images) > 1 and "" in images:
        notes.append(f"no classes: {counted(images[''], 'image')} beside the folders that would be classes")
    if len(images) == 1 and "" not in images:
        (alone,) = images
        is_top = train_name == ""
        notes.append(
            f"no classes: all images lie in one folder, {short(alone)}"
            + (", which is not a split because it is not named train, test or validation" if is_top else "")
        )
    labels = count_classes(keys) if len(images) > 1 and "" not in images else None
    train_set, test_set = (
        FolderImages(paths, channels, size, numbers)
        for paths, numbers in zip(parts, labels.numbers if labels else (None, None), strict=True)
    )
    return image_dataset(train_set, test_set, labels, [*notes, *left_out.sentences])


def used_splits(names: list[str]) -> tuple[str, str | None]:
    """The split to train on and the one to test on; None if there is no other."""
    test = next((name for name in TEST_SPLITS if name in names and len(names) > 1), None)
    return ("train" if "train" in names else next(name for name in names if name != test)), test


def division(train_name: str, train: int, test_name: str | None, test: int) -> str:
    """The sentence on what is trained and tested on."""
    of = f" of split '{train_name}'" if train_name else ""
    which = f"of split '{test_name}'" if test_name else "(every tenth, at least two)"
    return f"{counted(train, 'image')}{of} to train on, {test} {which} to test on"
